"""Models however they came to be, measured by ``tallystick run``."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import patients, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EPOCHS = 12


def resumed(job: Path, out: Path) -> running.Ended:
    """Run a job, and kill one party's training on the way; it is started again."""
    with running.started(job, out, "--retries", "2") as process:
        while not running.has_trained(out / "alice" / "logs" / "pipeline.log", epochs=3):
            assert process.poll() is None, "the job ended by itself"
            time.sleep(0.1)
        running.kill(running.step(out, "bob", "train"))
        return running.finished(process, job, out)


def well(job: Path, out: Path) -> running.Ended:
    ended = running.run(job, out)
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    return ended


def test_a_resumed_an_earlier_and_an_exported_model_measure_alike(tmp_path: Path) -> None:
    tables = patients.tables(3, planted=False)
    tables.write(tmp_path)
    for party, table in tables.of.items():
        rows = table[patients.ID].map(lambda name: name[-1] in "0123456")
        table[rows].to_csv(tmp_path / f"{party}.csv", index=False)
        table[~rows].to_csv(tmp_path / f"{party}-later.csv", index=False)
    training = {"epochs": EPOCHS, "batch_size": 8, "test_fraction": 0.3, "seed": 5}
    training |= {"l2": 0.01, "learning_rate": 0.02, "export_to": ["alice"]}
    trained = resumed(running.write_job(tmp_path, params=training), tmp_path / "resumed")
    assert trained.exit_code == 0, trained.stdout + trained.stderr
    (event,) = trained.events("alice", "resumed")
    assert 2 <= event["epoch"] < EPOCHS
    metrics = trained.summary["metrics"]
    assert metrics["auc"] > 0.97

    def measure(session: str, own: dict[str, dict[str, Any]], **params: Any) -> running.Ended:
        (tmp_path / session).mkdir()
        job = running.write_job(
            tmp_path,
            params={"evaluate_rows": "all", **params},
            session=session,
            pipeline="evaluation",
            parties=own,
        )
        return well(job, tmp_path / session / "out")

    # The model that alice was given, on the rows that tested it: the same split, by ids and seed.
    prepared = {party: {"prepared": f"resumed/{party}/prepared"} for party in tables.of}
    own = {party: {"data": f"{party}.csv", **prepared[party]} for party in tables.of}
    own["alice"]["model_file"] = "resumed/alice/model/model.onnx"
    split = {key: training[key] for key in ("test_fraction", "seed")}
    brought = measure("brought", own, model_owner="alice", evaluate_rows="test", **split)
    assert brought.summary["metrics"] == pytest.approx(metrics, abs=2e-3)
    (architecture,) = [
        one
        for one in brought.json("bob", "reveals.json")
        if one["what"] == "architecture of the model"
    ]
    assert architecture["step"] == "evaluate"

    # On patients that came later, the shared model and alice's copy of it.
    own = {
        party: {
            "data": f"{party}-later.csv",
            "trained": f"resumed/{party}/trained",
            **prepared[party],
        }
        for party in tables.of
    }
    shared = measure("later", own)
    for one in own.values():
        del one["trained"]
    own["alice"]["model_file"] = "resumed/alice/model/model.onnx"
    copied = measure("copied", own, model_owner="alice")
    assert copied.summary["metrics"] == pytest.approx(shared.summary["metrics"], abs=2e-3)
    assert shared.summary["metrics"]["auc"] > 0.95
    page = (shared.out / "bob" / "report.html").read_text()
    assert "none of them is known to have trained the model" in page
