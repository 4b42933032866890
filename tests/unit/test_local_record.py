"""From event lines to the state of a run, and from many failures to one cause."""

import pytest
from tallystick.local.failures import Failure, died, root_cause
from tallystick.local.record import Record, parse, progress


def failure(party: str, *, hearsay: bool = False, at_fault: str | None = None) -> Failure:
    return Failure(
        party=party,
        step="train",
        kind="PeerLost" if hearsay else "DataError",
        message="m",
        exit_code=4 if hearsay else 3,
        at_fault=at_fault,
        hearsay=hearsay,
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"event": "started", "step": "psi"}\n',
        '    {"event": "started", "step": "psi"}\n',
        'loading 3 %{"event": "started", "step": "psi"} and more',
    ],
)
def test_an_event_is_found_whatever_stands_around_it(text: str) -> None:
    assert parse(text) == {"event": "started", "step": "psi"}


@pytest.mark.parametrize(
    "text", ["", "hello", "{}", '{"event": 3}', '{"event": "star', '{"a": 1}', "[1]"]
)
def test_other_lines_hold_no_event(text: str) -> None:
    assert parse(text) is None


def test_progress_is_put_into_words() -> None:
    event = {
        "event": "progress",
        "step": "train",
        "party": "a",
        "time": "t",
        "done": 3,
        "total": 10,
    }
    assert progress({**event, "unit": "epoch", "loss": 0.212345}) == "epoch 3/10, loss 0.2123"
    assert progress({**event, "unit": "rows"}) == "rows 3/10"
    assert progress({**event, "unit": "rows", "left_s": 12.3}) == "rows 3/10, 12 s left"


def test_a_profile_of_ids_is_put_into_words() -> None:
    event = {"event": "profile", "rows": 4, "distinct": 3, "shapes": {"99-AA": 0.75, "a": 0.25}}
    assert Record(["alice"], ["psi"]).take("alice", event) == (
        "4 rows, 3 different ids, they look like 99-AA (75%), a (25%)"
    )


def test_what_a_training_expects_and_where_it_goes_on_is_put_into_words() -> None:
    record = Record(["alice"], ["train"])
    cost = {"rounds": 12345.0, "sent_bytes": 2.5e6, "dealer_bytes": 1e9}
    assert record.take("alice", {"event": "estimate", **cost}) == (
        "expects 12,345 rounds, 2.5 MB to the others, 1,000.0 MB from the dealer"
    )
    resumed = {"event": "resumed", "epoch": 3, "batch": 0}
    assert record.take("alice", resumed) == "goes on from epoch 3, batch 0"


def test_a_step_goes_from_waiting_to_done() -> None:
    record = Record(["alice"], ["psi", "train"])
    assert record.current("alice") == "psi"
    record.take("alice", {"event": "launched", "step": "psi"})
    assert record.steps["alice"]["psi"].status == "running"
    finished = {"event": "finished", "step": "psi", "seconds": 1.5, "results": {"rows_matched": 3}}
    assert record.take("alice", finished) == "done in 1.5 s"
    step = record.steps["alice"]["psi"]
    assert (step.status, step.seconds, step.results) == ("done", 1.5, {"rows_matched": 3})
    record.take("alice", {"event": "exited", "step": "psi", "code": 0})
    assert record.current("alice") == "train"
    assert not record.failures


def test_a_failed_steps_exit_adds_no_second_failure() -> None:
    record = Record(["alice"], ["psi"])
    record.take("alice", {"event": "launched", "step": "psi"})
    record.take("alice", {"event": "failed", "kind": "DataError", "exit_code": 3, "message": "why"})
    record.take("alice", {"event": "exited", "step": "psi", "code": 3})
    record.ended("alice", "psi", 1)
    (only,) = record.failures
    assert (only.kind, only.step, only.exit_code, only.hearsay) == ("DataError", "psi", 3, False)
    assert record.steps["alice"]["psi"].status == "failed"


def test_underscores_and_hyphens_name_the_same_step() -> None:
    record = Record(["alice"], ["my-step"])
    record.take("alice", {"event": "launched", "step": "my_step"})
    assert list(record.steps["alice"]) == ["my-step"]


def test_what_runs_at_the_end_was_stopped() -> None:
    record = Record(["alice"], ["psi", "train"])
    record.take("alice", {"event": "launched", "step": "psi"})
    record.stop()
    assert [step.status for step in record.steps["alice"].values()] == ["stopped", "waiting"]


@pytest.mark.parametrize(
    "event", ["finished", "failed", "progress", "profile", "exited", "warning", "unknown"]
)
def test_an_event_without_its_fields_does_no_harm(event: str) -> None:
    Record(["alice"], ["psi"]).take("alice", {"event": event, "results": 3, "seconds": "x"})


def test_a_failure_of_ones_own_explains_what_others_heard() -> None:
    own = failure("bob")
    assert root_cause([failure("alice", hearsay=True, at_fault="bob"), own]) is own


def test_the_first_of_several_own_failures_is_the_cause() -> None:
    first = failure("bob")
    assert root_cause([first, failure("alice")]) is first


def test_where_all_blame_others_the_blamed_partys_word_counts() -> None:
    blamed = failure("bob", hearsay=True)
    assert root_cause([failure("alice", hearsay=True, at_fault="bob"), blamed]) is blamed


def test_a_failure_that_names_somebody_says_more_than_one_that_does_not() -> None:
    naming = failure("bob", hearsay=True, at_fault="carol")
    assert root_cause([failure("alice", hearsay=True), naming]) is naming


def test_else_the_earliest_is_the_cause() -> None:
    first = failure("alice", hearsay=True)
    assert root_cause([first, failure("bob", hearsay=True)]) is first
    assert root_cause([]) is None


@pytest.mark.parametrize("code", [-9, 137])
def test_a_killed_process_is_a_lost_party(code: int) -> None:
    found = died("bob", "train", code, "bob/logs/pipeline.log")
    assert (found.kind, found.exit_code, found.hearsay) == ("PeerLost", 4, False)
    assert "'bob' was lost in step 'train'" in found.message
    assert "signal 9 (SIGKILL)" in found.message


def test_any_other_silent_end_is_unexpected() -> None:
    found = died("bob", "train", 1, "bob/logs/pipeline.log")
    assert (found.kind, found.exit_code) == ("UnexpectedExit", 1)
    assert "exit code 1" in found.message
