"""Members who want something else are refused, and told in what they differ."""

import dataclasses
import threading
import time
from pathlib import Path

import pytest
from tallystick.runtime.dealer.server import DealerServer
from tallystick.runtime.errors import (
    PeerLost,
    PeerMismatch,
    PeerTimeout,
)
from tallystick.runtime.hello import Hello

from tests import harness
from tests.harness import DEALER, Place
from tests.parties.meeting.room import (
    all_meet,
    meet,
)


def test_another_configuration_stops_both_sides_by_the_field_and_both_values(place: Place) -> None:
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice"),
            "bob": lambda: meet(place, "bob", joint={"epochs": 4}),
        }
    )
    expected = {"alice": "'alice' has 3, 'bob' has 4", "bob": "'bob' has 4, 'alice' has 3"}
    for name, error in results.items():
        assert isinstance(error, PeerMismatch)
        assert f"'epochs' differs: {expected[name]}" in str(error)


def test_a_third_party_learns_at_once_why_two_others_differ(three: Place) -> None:
    start = time.monotonic()
    results = harness.together(
        {
            "alice": lambda: meet(three, "alice"),
            "bob": lambda: meet(three, "bob", joint={"epochs": 4}),
            "carol": lambda: meet(three, "carol"),
        }
    )
    assert time.monotonic() - start < 5
    for error in results.values():
        assert isinstance(error, (PeerMismatch, PeerLost))
        assert "'epochs' differs" in str(error)


def test_another_package_version_stops_both_sides_by_both_versions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Hello.encode

    def older(self: Hello) -> bytes:
        content = encode(self)
        if self.member != "bob":
            return content
        return content.replace(b'"package": "', b'"package": "0.0.1-')

    monkeypatch.setattr(Hello, "encode", older)
    # Bob's process is of this version, and finds nothing wrong with alice; the real one would.
    error = all_meet(place, timeout_s=1.5)["alice"]
    assert isinstance(error, PeerMismatch)
    assert "'bob' runs package version '0.0.1-" in str(error)


def test_a_dealer_of_another_version_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Hello.encode

    def older(self: Hello) -> bytes:
        content = encode(self)
        mine = self.member == DEALER
        return content.replace(b'"package": "', b'"package": "9') if mine else content

    monkeypatch.setattr(Hello, "encode", older)
    with pytest.raises(PeerMismatch, match="'notary' runs package version '9"):
        meet(place, "alice", 3)


def test_a_dealer_of_another_consortium_is_named(tmp_path: Path) -> None:
    """It would take the parties in another order, and deal to the wrong one."""
    place = harness.make_place(tmp_path, 2)
    consortium = place.load()
    turned = dataclasses.replace(consortium, parties=consortium.parties[::-1])
    server = DealerServer(turned, place.identity(DEALER))
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        with pytest.raises(PeerMismatch, match=r"'consortium' differs: 'alice' has .* 'notary'"):
            meet(place, "alice", 5)
    finally:
        server.stop()


@pytest.mark.parametrize(("field", "value"), [("session", "credit-2"), ("step", "evaluate")])
def test_another_session_or_step_is_not_taken_but_told(
    place: Place, field: str, value: str
) -> None:
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice", 4),
            "bob": lambda: meet(place, "bob", 4, **{field: value}),
        }
    )
    for name, error in results.items():
        assert isinstance(error, PeerTimeout)
        other = "bob" if name == "alice" else "alice"
        assert error.at_fault == other
    asked = {"session": "credit-1", "step": "train", field: value}
    said = f"'bob' asked for session {asked['session']!r}, step {asked['step']!r}"
    assert said in str(results["alice"])


def test_a_party_that_cannot_run_the_step_is_named_with_its_reason(place: Place) -> None:
    reason = {"kind": "DataError", "message": "data.csv has no column 'id'", "at_fault": None}
    start = time.monotonic()
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice"),
            "bob": lambda: meet(place, "bob", stopped=reason),
        }
    )
    assert time.monotonic() - start < 5
    assert results["bob"] == ["alice"]
    assert isinstance(results["alice"], PeerLost)
    assert str(results["alice"]) == "'bob' stopped with DataError: data.csv has no column 'id'"
