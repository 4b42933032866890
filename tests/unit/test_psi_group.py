"""The group is libsodium's ristretto255, and refuses what is no point of it."""

import hashlib
import secrets
import sys

import pysodium
import pytest
from tallystick.psi import group, ring, tasks
from tallystick.psi.tasks import Work

# RFC 9496, appendix A.3, the first test vector of the one-way map.
UNIFORM = bytes.fromhex(
    "5d1be09e3d0c82fc538112490e35701979d99e06ca3e2b5b54bffe8b4dc772c1"
    "4d98b696a1bbfb5ca32c436cc61c16563790306c79eaca7705668b47dffe5bb6"
)
POINT = bytes.fromhex("3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46")
# Appendix A.3's kinds of encodings that must not decode.
NO_POINTS = {
    "neutral": bytes(32),
    "not canonical": b"\xff" * 32,
    "prime of the field": bytes.fromhex("ed" + "ff" * 30 + "7f"),
    "negative": bytes.fromhex("01" + "00" * 31),
    "no square": bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
}


def test_hashing_to_the_group_is_that_of_the_standard() -> None:
    assert group.sodium().crypto_core_ristretto255_from_hash(UNIFORM) == POINT


def test_masks_commute_and_hide() -> None:
    digests, a, b = secrets.token_bytes(32 * 5), group.new_scalar(), group.new_scalar()
    once = group.masked(a, digests, hashed=True)
    both = group.masked(b, once, hashed=False)
    assert both == group.masked(a, group.masked(b, digests, hashed=True), hashed=False)
    assert len({digests, once, both}) == 3
    assert len(both) == 160


def test_a_digest_is_hashed_to_a_point_by_the_library() -> None:
    digest, scalar = secrets.token_bytes(32), group.new_scalar()
    wide = hashlib.blake2b(digest, person=b"tallystick point").digest()
    point = pysodium.crypto_core_ristretto255_from_hash(wide)
    product = pysodium.crypto_scalarmult_ristretto255(scalar, point)
    assert group.masked(scalar, digest, hashed=True) == product


@pytest.mark.parametrize("name", NO_POINTS)
def test_what_is_no_point_is_refused(name: str) -> None:
    points = POINT + NO_POINTS[name]
    with pytest.raises(group.InvalidPoint):
        group.masked(group.new_scalar(), points, hashed=False)
    done = tasks.mask(Work(group.new_scalar() + points, {"hashed": False}))
    assert done == Work(b"", {"valid": False})


def test_secret_numbers_are_fresh() -> None:
    assert len({group.new_scalar() for _ in range(5)}) == 5


def test_the_kept_bytes_have_no_fixed_bit() -> None:
    """Of a point's first byte one bit is always 0; the bytes that are compared lie beside it."""
    digests = secrets.token_bytes(32 * 200)
    points = group.masked(group.new_scalar(), digests, hashed=True)
    kept = [points[start : start + 32][ring._KEPT] for start in range(0, len(points), 32)]
    assert {len(row) for row in kept} == {16}
    ones = [sum(row[i // 8] >> i % 8 & 1 for row in kept) for i in range(128)]
    assert all(50 < count < 150 for count in ones)


def test_a_machine_without_the_library_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pysodium", None)
    with pytest.raises(group.ConfigError, match=r"needs libsodium .*libsodium23"):
        group.new_scalar()
