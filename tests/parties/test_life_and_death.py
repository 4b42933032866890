"""A step ends on all parties or on none, whoever dies, stops, is late or thinks otherwise."""

import dataclasses
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tallystick.runtime.errors import PeerError, PeerMismatch
from tallystick.runtime.manifest import Manifest

from tests import harness
from tests.harness import DEALER, Place
from tests.parties import steps
from tests.parties.steps import WHOLE, Run

FOR_EVER = {"rounds": 10**6}
MEMBERS = ["alice", "bob", "carol", DEALER]


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[tuple[Place, harness.Process]]:
    """Three parties and a dealer of their own, which may be killed."""
    place = harness.make_place(tmp_path, 3)
    with harness.dealer(place) as dealer:
        yield place, dealer


def test_all_parties_publish_and_end_well(pair: Place) -> None:
    runs = steps.run_all(pair)
    assert [run.wait() for run in runs.values()] == [0, 0]
    for run in runs.values():
        assert run.published == WHOLE
        assert (run.out / "result" / "content").read_text() == "the result"
        finished = run.events[-1]
        assert finished["event"] == "finished"
        assert finished["reveals"] == [
            {"what": "sum", "to": ["alice", "bob"], "count": 1, "why": "a test"}
        ]
    pages = {(run.out / "reveals.md").read_text() for run in runs.values()}
    assert len(pages) == 1


# Late or never


def test_a_party_that_never_comes_is_named_within_the_deadline_and_five_seconds(
    trio: tuple[Place, Any],
) -> None:
    place, _ = trio
    start = time.monotonic()
    runs = {name: Run(place, name, join_timeout_s=3) for name in ("alice", "bob")}
    try:
        for run in runs.values():
            assert run.wait(3 + 5) == 4
            assert run.failed["kind"] in ("PeerTimeout", "PeerLost")
            assert run.failed["at_fault"] == "carol"
            assert "party 'carol' (rank 2) did not join session 'test-1'" in run.failed["message"]
        assert time.monotonic() - start < 3 + 5
        assert any(run.failed["kind"] == "PeerTimeout" for run in runs.values())
        steps.clear(runs)
    finally:
        steps.end(runs)


def test_a_dealer_that_never_comes_is_named_within_the_deadline_and_five_seconds(
    tmp_path: Path,
) -> None:
    place = harness.make_place(tmp_path, 2)
    start = time.monotonic()
    runs = steps.run_all(place, lambda _: {"join_timeout_s": 2})
    try:
        assert [run.wait(2 + 5) for run in runs.values()] == [4, 4]
        assert time.monotonic() - start < 2 + 5
        for run in runs.values():
            assert run.failed["at_fault"] == DEALER
            assert "the dealer 'notary' did not join" in run.failed["message"]
        steps.clear(runs)
    finally:
        steps.end(runs)


# Killed and stopped


@pytest.mark.parametrize("victim", MEMBERS)
def test_when_one_is_killed_every_other_ends_by_name_and_all_can_start_again(
    trio: tuple[Place, harness.Process], victim: str
) -> None:
    place, dealer = trio
    runs = steps.run_all(place, lambda _: FOR_EVER)
    try:
        for run in runs.values():
            run.await_progress()
        killed = dealer if victim == DEALER else runs[victim].process
        killed.signal(signal.SIGKILL)
        start = time.monotonic()
        survivors = {name: run for name, run in runs.items() if name != victim}
        for run in survivors.values():
            assert run.wait(5) == 4
            assert run.failed["kind"] == "PeerLost"
            assert run.failed["at_fault"] == victim, run.failed["message"]
        assert time.monotonic() - start < 5
        steps.clear(survivors)
    finally:
        steps.end(runs)
    if victim == DEALER:
        with harness.dealer(place):
            start_again(place)
    else:
        start_again(place)


@pytest.mark.parametrize("victim", MEMBERS)
def test_when_one_is_stopped_every_other_ends_by_name_and_it_does_too_when_it_wakes(
    trio: tuple[Place, harness.Process], victim: str
) -> None:
    place, dealer = trio
    runs = steps.run_all(place, lambda _: FOR_EVER)
    try:
        for run in runs.values():
            run.await_progress()
        stopped = dealer if victim == DEALER else runs[victim].process
        stopped.signal(signal.SIGSTOP)
        start = time.monotonic()
        survivors = {name: run for name, run in runs.items() if name != victim}
        for run in survivors.values():
            assert run.wait(steps.SILENCE_S + 5) == 4
            assert run.failed["kind"] in ("PeerTimeout", "PeerLost")
            assert run.failed["at_fault"] == victim, run.failed["message"]
            assert "silent for 3 s" in run.failed["message"]
        assert time.monotonic() - start < steps.SILENCE_S + 5
        assert any(run.failed["kind"] == "PeerTimeout" for run in survivors.values())
        stopped.signal(signal.SIGCONT)
        if victim != DEALER:
            assert runs[victim].wait(10) == 4
            assert runs[victim].failed["kind"] in ("PeerLost", "PeerTimeout")
        steps.clear(runs)
    finally:
        stopped.signal(signal.SIGCONT)
        steps.end(runs)
    start_again(place)


def start_again(place: Place) -> None:
    runs = steps.run_all(place, lambda _: {"rounds": 5})
    try:
        assert [run.wait(20) for run in runs.values()] == [0] * len(runs)
        assert all(run.published == WHOLE for run in runs.values())
    finally:
        steps.end(runs)


def at_random(place: Place, rng: random.Random, after_s: float, number: int) -> None:
    """Signal one party at a random moment; the others all publish everything, or all nothing."""
    session = f"random-{rng.randrange(10**9)}"
    changes = {"rounds": 12, "session": session, "join_timeout_s": 3}
    runs = steps.run_all(place, lambda _: changes)
    victim = rng.choice(place.parties)
    try:
        time.sleep(rng.random() * after_s)
        runs[victim].process.signal(number)
        survivors = [run for name, run in runs.items() if name != victim]
        codes = [run.wait(15) for run in survivors]
        assert len(set(codes)) == 1, [run.process.log.read_text() for run in survivors]
        for run, code in zip(survivors, codes, strict=True):
            if code == 0:
                assert run.published == WHOLE
            else:
                assert code == 4, run.process.log.read_text()
                assert run.failed["at_fault"] == victim, run.failed["message"]
                assert run.published == set(), run.failed["message"]
    finally:
        steps.end(runs)
        for run in runs.values():
            steps.remove(run.out)


def test_whenever_a_party_is_killed_the_others_publish_all_or_nothing(trio: Any) -> None:
    rng = random.Random(1)
    for _ in range(5):
        at_random(trio[0], rng, 1.0, signal.SIGKILL)
    start_again(trio[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills_and_stops_at_random_moments(trio: Any) -> None:
    rng = random.Random()
    for _ in range(200):
        at_random(trio[0], rng, 1.5, rng.choice((signal.SIGKILL, signal.SIGSTOP)))
    start_again(trio[0])


@pytest.mark.parametrize("moment", ["before publishing", "after publishing"])
def test_a_party_that_dies_while_all_publish_leaves_nothing_published(
    pair: Place, moment: str
) -> None:
    runs = steps.run_all(pair, lambda name: {"fault": f"dies {moment}"} if name == "bob" else {})
    try:
        assert runs["bob"].wait() == -signal.SIGKILL
        assert runs["alice"].wait() == 4
        assert runs["alice"].failed["at_fault"] == "bob"
        assert runs["alice"].published == set()
    finally:
        steps.end(runs)


def test_a_party_that_tells_only_one_that_it_published_leaves_nothing_published(
    trio: tuple[Place, Any],
) -> None:
    """The one who was told is through, as far as it can see; it must hear out the other."""
    place, _ = trio
    runs = steps.run_all(
        place, lambda name: {"fault": "tells one and dies"} if name == "carol" else {}
    )
    try:
        assert runs["carol"].wait() == -signal.SIGKILL
        survivors = {name: run for name, run in runs.items() if name != "carol"}
        for run in survivors.values():
            assert run.wait() == 4
            assert run.failed["at_fault"] == "carol"
        steps.clear(survivors)
    finally:
        steps.end(runs)


def test_what_cannot_be_tidied_up_undoes_nothing(pair: Place) -> None:
    for fault in ("", "cannot tidy up"):
        runs = steps.run_all(pair, lambda name, f=fault: {"fault": f if name == "bob" else ""})
        try:
            assert [run.wait() for run in runs.values()] == [0, 0]
        finally:
            steps.end(runs)
    assert runs["alice"].published == WHOLE
    left = {f".{name}.replaced" for name in WHOLE}
    assert runs["bob"].published == WHOLE | left


def test_what_a_killed_party_left_unfinished_is_gone_after_the_next_run(pair: Place) -> None:
    runs = steps.run_all(pair, lambda _: FOR_EVER)
    try:
        for run in runs.values():
            run.await_progress()
        runs["bob"].process.signal(signal.SIGKILL)
        assert runs["alice"].wait(10) == 4
        assert runs["bob"].wait(10) == -signal.SIGKILL
        assert runs["bob"].published == {".result.unfinished", ".file.unfinished"}
    finally:
        steps.end(runs)
    start_again(pair)


# Failing, and thinking otherwise


def test_a_party_that_fails_before_it_joins_tells_the_others_why_at_once(place: Place) -> None:
    runs = with_fault(place, "data")
    try:
        start = time.monotonic()
        assert runs["bob"].wait(10) == 3
        assert runs["bob"].failed["kind"] == "DataError"
        for name in others(place):
            assert runs[name].wait(10) == 4
            assert runs[name].failed["at_fault"] == "bob"
            assert "'patients.csv' has no column 'id'" in runs[name].failed["message"]
        assert time.monotonic() - start < 10
        steps.clear(runs)
    finally:
        steps.end(runs)


def test_a_party_that_fails_late_tells_the_others_why(place: Place) -> None:
    runs = with_fault(place, "late data")
    try:
        assert runs["bob"].wait(20) == 3
        for name in others(place):
            assert runs[name].wait(10) == 4
            assert runs[name].failed["kind"] == "PeerLost"
            assert runs[name].failed["at_fault"] == "bob"
            assert "the column 'age' holds nothing" in runs[name].failed["message"]
        steps.clear(runs)
    finally:
        steps.end(runs)


@pytest.mark.parametrize("fault", ["unexpected", "late unexpected"])
def test_an_unexpected_error_is_told_by_its_kind_alone(place: Place, fault: str) -> None:
    runs = with_fault(place, fault)
    try:
        assert runs["bob"].wait(20) == 1
        assert "RuntimeError" in runs["bob"].failed["message"]
        assert "4711" not in str(runs["bob"].events)
        for name in others(place):
            assert runs[name].wait(10) == 4
            assert "unexpected" in runs[name].failed["message"]
            assert "4711" not in runs[name].process.log.read_text()
        steps.clear(runs)
    finally:
        steps.end(runs)


def test_ledgers_that_differ_stop_the_step(place: Place) -> None:
    runs = with_fault(place, "ledger")
    try:
        for run in runs.values():
            assert run.wait(20) == 4
            assert "did not run the same step; nothing was published" in run.failed["message"]
        assert any(run.failed["kind"] == "PeerMismatch" for run in runs.values())
        steps.clear(runs)
    finally:
        steps.end(runs)


def test_a_party_that_is_done_while_others_go_on_stops_the_step_at_once(place: Place) -> None:
    runs = with_fault(place, "parted", by="alice")
    try:
        codes = {run.wait(steps.SILENCE_S + 5) for run in runs.values()}
        assert codes <= {4, 5}
        assert 5 in codes
        steps.clear(runs)
    finally:
        steps.end(runs)


def test_another_configuration_is_named_on_every_side(pair: Place) -> None:
    runs = steps.run_all(pair, lambda name: {"size": 1000 if name == "alice" else 2000})
    try:
        for run in runs.values():
            assert run.wait(10) == 4
            assert run.failed["kind"] == "PeerMismatch"
            assert run.failed["message"].startswith("'size' differs: ")
            assert "1000" in run.failed["message"]
            assert "2000" in run.failed["message"]
        steps.clear(runs)
    finally:
        steps.end(runs)


def with_fault(place: Place, fault: str, by: str = "bob") -> dict[str, Run]:
    for name in place.parties:
        steps.remove(place.folder / name / "out")
    return steps.run_all(place, lambda name: {"fault": fault} if name == by else {})


def others(place: Place, than: str = "bob") -> list[str]:
    return [name for name in place.parties if name != than]


def manifest(party: str, rank: int, parties: tuple[str, ...], **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "kind": "shares",
        "session": "credit-1",
        "party": party,
        "rank": rank,
        "parties": parties,
        "joint": {"rows": 3, "row_order": "abc"},
    }
    return Manifest(**{**fields, **changes})


def _agree(session: Any) -> str:
    """Compare one manifest after another; return what was said of those that differ."""
    ours = manifest(session.party, session.rank, session.parties)
    columns = [{"name": f"the column {i}", "owner": "alice"} for i in range(30_000)]
    for joint in (ours.joint, {**ours.joint, "columns": columns}):
        session.agree(dataclasses.replace(ours, joint=joint))
    return _agree_otherwise(session)


def _agree_otherwise(session: Any) -> Any:
    changes: dict[str, Any] = {}
    if session.rank == 1:
        changes = {"joint": {"rows": 4, "row_order": "abc"}, "session": "credit-2"}
    session.agree(manifest(session.party, session.rank, session.parties, **changes))


def _tell_too_much(session: Any) -> None:
    session.exchange({"features": [f"the column {i}" for i in range(90_000)]})


def test_more_columns_than_can_be_told_are_a_named_error(pair: Place) -> None:
    for error in harness.run_parties(pair, _tell_too_much).values():
        assert "features: what " in str(error)
        assert "takes more than 1048576 bytes; bring fewer columns" in str(error)


def test_artifacts_that_do_not_belong_together_are_refused_by_name(place: Place) -> None:
    results = harness.run_parties(place, _agree)
    for error in results.values():
        assert isinstance(error, PeerError)
        assert "the shares artifacts of" in str(error)
        assert "do not belong together: rows, session differs" in str(error)
    assert any(isinstance(error, PeerMismatch) for error in results.values())
