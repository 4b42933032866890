"""Progress is told once a second at most, with the time that is left once it can be guessed."""

import json

import pytest
from tallystick.runtime import progress
from tallystick.runtime.progress import Progress


def test_progress_tells_done_total_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    work = Progress("ids", 1000)
    for seconds, count in ((0.5, 50), (0.6, 50), (0.2, 50), (1.0, 50), (3.0, 300)):
        clock[0] += seconds
        work.add(count)
    work.end()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["done"], event["total"], event["unit"]) for event in told] == [
        (100, 1000, "ids"),
        (200, 1000, "ids"),
        (500, 1000, "ids"),
        (1000, 1000, "ids"),
    ]
    # Too early to tell; 2.3 s for 200; 5.3 s for 500; over.
    assert [event.get("left_s") for event in told] == [None, 9.2, 5.3, None]
