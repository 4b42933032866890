import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tallystick import tracking
from tallystick.runtime import life
from tallystick.runtime.errors import PeerTimeout


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "empty.db"
    tracking.connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a store in it, and no word about MLflow in the environment."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("MLFLOW")]:
            del os.environ[name]
        yield tmp_path


def step(name: str, party: str = "alice") -> Any:
    return tracking.run(session="credit-1", party=party, step=name)


def client() -> Any:
    return tracking.connect(tracking.store())


def runs() -> list[Any]:
    """All runs of the experiment, oldest first."""
    experiment = client().get_experiment_by_name(tracking.EXPERIMENT)
    found = client().search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    return list(found)


def only_run() -> Any:
    (run,) = runs()
    return run


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_steps_of_a_session_share_one_run(folder: Path) -> None:
    with step("train") as run:
        run.parameters({"epochs": 2, "model": "linear_svm"})
        run.metric("loss", 0.5, 1)
        run.metric("loss", 0.25, 2)
    with step("evaluate") as run:
        run.metrics({"auc": 0.99, "accuracy": 0.9})
        run.text("report.html", "<p>fine</p>")
        run.json("reveals.json", [{"what": "loss"}])

    logged = only_run()
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["tallystick.session"] == "credit-1"
    assert logged.data.tags["tallystick.party"] == "alice"
    assert logged.data.params == {"epochs": "2", "model": "linear_svm"}
    assert logged.data.metrics == {"loss": 0.25, "auc": 0.99, "accuracy": 0.9}
    curve = client().get_metric_history(logged.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.25)]
    stored = folder / "mlartifacts" / logged.info.run_id / "artifacts"
    assert (stored / "report.html").read_text() == "<p>fine</p>"
    assert json.loads((stored / "reveals.json").read_text()) == [{"what": "loss"}]
    assert not (folder / "mlruns").exists()


def test_each_party_has_a_run_of_its_own(folder: Path) -> None:
    for party in ("alice", "bob"):
        with step("psi", party):
            pass

    assert [run.data.tags["tallystick.party"] for run in runs()] == ["alice", "bob"]


def test_a_step_in_a_fresh_process_and_store_is_silent(folder: Path) -> None:
    (folder / "mlflow.db").unlink()
    program = (
        "import sys; from tallystick import tracking; assert 'mlflow' not in sys.modules\n"
        "with tracking.run(session='credit-1', party='alice', step='psi') as run:\n"
        "    run.metrics({'rows_matched': 364})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with step("encode"):
        pass
    assert only_run().data.metrics == {"rows_matched": 364.0}
    assert not (folder / "mlruns").exists()


def test_a_failed_step_leaves_the_class_of_its_error_and_no_text_of_it(folder: Path) -> None:
    with pytest.raises(ValueError, match="planted"), step("encode"):
        raise ValueError("planted 1234567 in row 8")

    assert only_run().info.status == "FAILED"
    assert only_run().data.tags[tracking.ERROR_TAG] == "ValueError"
    assert b"1234567" not in (folder / "mlflow.db").read_bytes()


def test_an_error_meant_for_the_user_is_kept_whole(folder: Path) -> None:
    with pytest.raises(PeerTimeout), step("train"):
        raise PeerTimeout("party 'bob' did not join")

    assert only_run().data.tags[tracking.ERROR_TAG] == "PeerTimeout: party 'bob' did not join"


def test_a_retried_step_continues_the_failed_run(folder: Path) -> None:
    with pytest.raises(RuntimeError), step("train"):
        raise RuntimeError
    with step("train"):
        assert only_run().info.status == "RUNNING"

    assert only_run().info.status == "FINISHED"
    assert tracking.ERROR_TAG not in only_run().data.tags


def test_a_session_executed_once_more_begins_a_new_run(folder: Path) -> None:
    for name in ("psi", "train", "psi", "train"):
        with step(name) as run:
            run.metrics({name: 1.0})

    assert [run.data.metrics for run in runs()] == [{"psi": 1.0, "train": 1.0}] * 2


def test_numbers_that_are_not_finite_are_left_out(folder: Path) -> None:
    with step("evaluate") as run:
        run.metrics({"auc": float("nan"), "accuracy": 0.5})
        run.metric("loss", float("inf"), 1)

    assert only_run().data.metrics == {"accuracy": 0.5}


def test_a_parameter_that_changes_gets_the_prefix_of_its_step(folder: Path) -> None:
    with step("encode") as run:
        run.parameters({"seed": 0, "label": "y"})
    with step("train") as run:
        run.parameters({"seed": 7, "label": "y"})
        run.parameters({"seed": 8})

    assert only_run().data.params == {"seed": "0", "label": "y", "train.seed": "7"}


def plugin_run(tags: dict[str, str]) -> Any:
    """A run as Kubeflow's plugin makes it, in an experiment of its own."""
    known = client().get_experiment_by_name("KFP-Default")
    experiment = known.experiment_id if known else client().create_experiment("KFP-Default")
    return client().create_run(experiment, tags=tags)


def test_under_the_plugin_the_run_is_a_child_of_the_tasks_run(folder: Path) -> None:
    task = plugin_run({})
    os.environ["MLFLOW_RUN_ID"] = task.info.run_id
    with step("psi") as run:
        run.metrics({"rows_matched": 364})

    after = client().get_run(task.info.run_id)
    assert (after.data.metrics, after.info.status) == ({}, "RUNNING")
    found = client().search_runs([task.info.experiment_id], "metrics.rows_matched = 364")
    assert [run.data.tags[tracking.PARENT_TAG] for run in found] == [task.info.run_id]


def test_under_the_plugin_the_tasks_of_one_pipeline_run_share_the_child(folder: Path) -> None:
    pipeline = plugin_run({})
    for name in ("psi", "train"):
        task = plugin_run({tracking.PARENT_TAG: pipeline.info.run_id})
        os.environ["MLFLOW_RUN_ID"] = task.info.run_id
        with step(name) as run:
            run.metrics({name: 1.0})

    found = client().search_runs([pipeline.info.experiment_id], "tags.`tallystick.party` = 'alice'")
    assert [run.data.metrics for run in found] == [{"psi": 1.0, "train": 1.0}]
    assert found[0].data.tags[tracking.PARENT_TAG] == pipeline.info.run_id


def test_a_parent_that_this_store_does_not_know_is_named_all_the_same(folder: Path) -> None:
    os.environ["MLFLOW_RUN_ID"] = "0" * 32
    with step("psi"):
        pass

    assert only_run().data.tags[tracking.PARENT_TAG] == "0" * 32


def test_an_unreachable_server_costs_one_warning_and_seconds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = "http://alice:hunter2@127.0.0.1:9"
    started = time.monotonic()
    with step("train") as run:
        run.parameters({"epochs": 2})
        run.metric("loss", 0.5, 1)
        run.text("report.html", "")

    assert time.monotonic() - started < 10
    (warning,) = events(capsys)
    assert warning["event"] == "warning"
    assert "http://127.0.0.1:9 failed (ConnectionRefusedError)" in warning["message"]
    assert "hunter2" not in warning["message"]


def test_the_steps_own_error_passes_when_the_server_is_unreachable(folder: Path) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    with pytest.raises(PeerTimeout), step("train"):
        raise PeerTimeout("party 'bob' did not join")


def test_a_store_that_cannot_be_written_costs_one_warning_and_no_wait(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/file/mlflow.db"
    started = time.monotonic()
    with step("train") as run:
        run.metric("loss", 0.5, 1)

    assert time.monotonic() - started < 5
    assert [event["event"] for event in events(capsys)] == ["warning"]


def test_a_store_that_breaks_on_the_way_costs_one_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with step("train") as run:
        run.metric("loss", 0.5, 1)
        with sqlite3.connect(folder / "mlflow.db") as store:
            store.execute("drop table metrics")
        run.metric("loss", 0.25, 2)
        run.metric("loss", 0.125, 3)

    assert [event["event"] for event in events(capsys)] == ["warning"]


def model(folder: Path) -> Path:
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text("a model")
    return folder / "model"


@pytest.mark.parametrize("name", ["bob's model", "credit"])
def test_a_model_is_registered_once_more_under_its_name(folder: Path, name: str) -> None:
    written = model(folder)
    for _ in range(2):
        with step("export") as run:
            run.model(written, name)

    versions = client().search_model_versions()
    assert [(found.name, int(found.version)) for found in versions] == [(name, 2), (name, 1)]


def test_what_the_store_refuses_is_warned_of_and_the_rest_is_logged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with step("export") as run:
        run.model(model(folder), "a name / that MLflow refuses")
        run.metrics({"auc": 0.99})

    (warning,) = events(capsys)
    assert "failed (INVALID_PARAMETER_VALUE) at the model" in warning["message"]
    assert warning["message"].endswith("goes on without it; the rest is logged")
    assert only_run().data.metrics == {"auc": 0.99}
    assert only_run().info.status == "FINISHED"


def test_a_store_that_was_away_for_a_while_learns_how_the_step_ended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with step("train") as run:
        with mock.patch.object(run._client, "log_batch", side_effect=ConnectionError) as away:
            run.metric("loss", 0.5, 1)
            run.metric("loss", 0.25, 2)
        assert away.call_count == 1, "an absent store is waited for once"

    assert [event["event"] for event in events(capsys)] == ["warning"]
    assert only_run().info.status == "FINISHED"


def test_a_run_with_a_failed_step_stays_failed_until_that_step_succeeds(folder: Path) -> None:
    with step("export"):
        with pytest.raises(PeerTimeout), step("evaluate"):
            raise PeerTimeout("party 'bob' did not join")
    with step("predict"):
        pass
    assert only_run().info.status == "FAILED"
    assert only_run().data.tags[tracking.ERROR_TAG] == "PeerTimeout: party 'bob' did not join"
    with step("evaluate"):
        pass

    assert only_run().info.status == "FINISHED"
    assert tracking.ERROR_TAG not in only_run().data.tags


def test_a_store_that_breaks_while_a_step_fails_is_named_for_itself_and_quotes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        with step("train"):
            with sqlite3.connect(folder / "mlflow.db") as store:
                store.execute("drop table tags")
            raise ValueError("planted 1234567 in row 8")

    with pytest.raises(ValueError, match="planted"):
        fail()
    (warning,) = events(capsys)
    assert "(OperationalError)" in warning["message"]
    assert "1234567" not in caplog.text


def test_what_the_user_set_is_left_alone(folder: Path) -> None:
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"
    with step("psi"):
        pass

    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


def test_the_links_counters_are_system_metrics(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with step("train"):
        monkeypatch.setattr(life.outcome, "traffic", {"sent_bytes": 4096, "rounds": 12})
    (logged,) = runs()
    assert logged.data.metrics == {"system/train/sent_bytes": 4096, "system/train/rounds": 12}
