"""``tallystick doctor`` between two parties and a dealer."""

import subprocess
import sys
from pathlib import Path

import pytest
from tallystick.runtime import doctor as doctors
from tallystick.runtime import hello

from tests.harness import Place, make_place

COMMAND = [sys.executable, "-m", "tallystick.cli", "doctor"]


@pytest.fixture
def place_without_dealer(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def start(place: Place, party: str, timeout_s: float) -> "subprocess.Popen[str]":
    options = ["--party", party, "--consortium", str(place.consortium)]
    options += ["--identity", str(place.identity(party)), "--timeout-s", str(timeout_s)]
    return subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True)


def test_parties_that_can_meet_are_told_so_on_both_sides(pair: Place):
    doctors = {party: start(pair, party, 60) for party in pair.parties}
    for party, doctor in doctors.items():
        text, _ = doctor.communicate(timeout=90)
        assert doctor.returncode == 0, text
        assert "FIX" not in text
        for peer in {*pair.parties, "notary"} - {party}:
            for what in ("certificate", "name", "link", "speed", "clock"):
                assert any(line.split()[1:3] == [peer, what] for line in text.splitlines())


def test_whoever_is_missing_is_named_with_what_to_do(place_without_dealer: Place):
    doctor = start(place_without_dealer, "alice", 2)
    text, _ = doctor.communicate(timeout=60)
    assert doctor.returncode == 4
    lines = [line for line in text.splitlines() if line.startswith("FIX")]
    assert [line.split()[1:3] for line in lines] == [["bob", "link"], ["notary", "link"]]
    assert all("check that" in line for line in lines)


def test_a_key_that_others_can_read_is_named(place_without_dealer: Place):
    key = place_without_dealer.identity("alice") / "tls.key"
    key.chmod(0o644)
    text, _ = start(place_without_dealer, "alice", 1).communicate(timeout=60)
    assert any(line.split()[:3] == ["FIX", "alice", "key"] for line in text.splitlines())


def test_a_key_in_a_mounted_secret_is_the_pods_alone(place_without_dealer: Place):
    identity = place_without_dealer.identity("alice")
    (identity / "tls.key").chmod(0o644)
    identity.rename(identity.parent / "..first")
    identity.mkdir()
    (identity / "..data").symlink_to("../..first")
    for file in ("tls.key", "tls.crt"):
        (identity / file).symlink_to(f"..data/{file}")
    text, _ = start(place_without_dealer, "alice", 1).communicate(timeout=60)
    assert any(line.split()[:3] == ["ok", "alice", "key"] for line in text.splitlines())


def test_a_member_of_another_version_is_named(pair: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hello, "__version__", "9.0")
    found = [*doctors.examine(pair.load(), "alice", pair.identity("alice"), 5)]
    (finding,) = [f for f in found if not f.well]
    assert "'notary' runs package version" in finding.text
    assert "we run '9.0'; every member must run the same version" in finding.text
