"""Whole jobs that cannot succeed: how they end, what they say, and what they leave."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import patients, running

pytestmark = pytest.mark.timeout(300)
SOON_S = 45
"""On a busy machine too; the parties would wait 300 s for each other."""


def job(folder: Path, tables: patients.Tables, **params: Any) -> Path:
    tables.write(folder)
    return running.write_job(folder, params={"model": "logistic_regression", **params})


def assert_over(ended: running.Ended, *, artifacts: set[str]) -> None:
    """No process is left, and no artifact but those of the steps that all parties finished."""
    assert running.processes(str(ended.out)) == []
    assert running.leftovers(ended.out) == []
    assert running.artifacts(ended.out) == artifacts
    for party in ended.parties:
        left = {path.name for path in (ended.out / party).iterdir()}
        assert left <= {"logs", "pipeline", "reveals.json", "mlflow.db", "mlartifacts"}


def test_duplicate_ids_end_the_whole_job(tmp_path: Path) -> None:
    tables = patients.tables(5, planted=False)
    bob = tables.of["bob"]
    bob.iloc[7, 0] = bob.iloc[3, 0]
    ended = running.run(job(tmp_path, tables), tmp_path / "out")
    assert ended.exit_code == 3
    assert ended.summary["status"] == "failed"
    assert ended.summary["metrics"] == {}
    assert ended.summary["rows_matched"] is None
    error = ended.summary["error"]
    assert (error["party"], error["step"], error["kind"]) == ("bob", "psi", "DataError")
    assert "repeat the id" in error["message"]
    assert "keep one row for each id" in error["message"]
    # The last words are for a person: the error, and where to read more.
    assert "DataError" in ended.stderr
    assert error["message"] in ended.stderr
    assert f"{ended.out}/*/logs" in ended.stderr
    # Each party tells its own side.
    assert "failed: DataError: " in ended.stdout
    (own,) = ended.events("bob", "failed")
    assert (own["kind"], own["exit_code"]) == ("DataError", 3)
    (told,) = ended.events("alice", "failed")
    assert (told["kind"], told["exit_code"], told["at_fault"]) == ("PeerLost", 4, "bob")
    assert "repeat the id" in told["message"]
    assert_over(ended, artifacts=set())


def test_an_unknown_model_ends_the_whole_job(tmp_path: Path) -> None:
    tables = patients.tables(6, planted=False)
    ended = running.run(job(tmp_path, tables, model="random_forest"), tmp_path / "out")
    assert ended.exit_code == 2
    error = ended.summary["error"] if (tmp_path / "out").exists() else {"message": ended.stderr}
    assert re.search("model must be one of .*logistic_regression", error["message"])
    assert "random_forest" in ended.stderr
    if (tmp_path / "out").exists():
        assert (error["step"], error["kind"]) == ("encode", "ConfigError")
        # What psi had finished at both stays.
        assert_over(ended, artifacts={"alice/aligned", "bob/aligned"})


def test_an_unknown_parameter_is_refused_before_anything_starts(tmp_path: Path) -> None:
    tables = patients.tables(6, planted=False)
    ended = running.run(job(tmp_path, tables, learning_rat=0.1), tmp_path / "out")
    assert ended.exit_code == 2
    assert "ConfigError" in ended.stderr
    assert "no parameter 'learning_rat'; did you mean 'learning_rate'?" in ended.stderr
    assert ended.stdout == ""
    assert not ended.out.exists()


def test_a_party_killed_half_way_through_training_ends_the_whole_job(tmp_path: Path) -> None:
    tables = patients.tables(7, planted=False)
    path, out = job(tmp_path, tables, epochs=5000, batch_size=32), tmp_path / "out"
    with running.started(path, out) as process:
        log = out / "alice" / "logs" / "pipeline.log"
        while not running.has_trained(log, epochs=3):
            assert process.poll() is None, "the job ended by itself"
            time.sleep(0.1)
        running.kill(running.step(out, "alice", "train"))
        killed = time.monotonic()
        ended = running.finished(process, path, out)
        seconds = time.monotonic() - killed
    assert seconds < SOON_S
    assert ended.exit_code == 4
    error = ended.summary["error"]
    assert (error["party"], error["step"], error["kind"]) == ("alice", "train", "PeerLost")
    assert "killed by signal 9 (SIGKILL)" in error["message"]
    assert error["message"] in ended.stderr
    assert ended.summary["rows_matched"] == len(tables.both)
    (told,) = ended.events("bob", "failed")
    assert (told["step"], told["kind"], told["at_fault"]) == ("train", "PeerLost", "alice")
    assert "'alice'" in told["message"]
    finished = {f"{party}/{name}" for party in ended.parties for name in ("aligned", "shares")}
    assert_over(ended, artifacts=finished)
