"""Submitting to a stand-in for Kubeflow Pipelines: what it is sent, and what a user is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tallystick import submit as submission
from tallystick import tracking
from tallystick.cli import app
from typer.testing import CliRunner

from pipelines import build
from pipelines import submit as example
from tests.pipelines.kubeflow import Kubeflow, serving

JOB: dict[str, Any] = {
    "session": "credit-1",
    "pipeline": "training",
    "parties": {
        "alice": {"data": "guest.csv", "data_claim": "tables"},
        "bob": {},  # bob's own affair
    },
    "dealer": "notary",
    "params": {"id_columns": ["id", "country"], "label": "y", "epochs": 3, "learning_rate": 0.25},
}
runner = CliRunner()


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubeflow]:
    follow = submission.Submission.follow
    monkeypatch.setattr(
        submission.Submission, "follow", lambda self, run, tasks: follow(self, run, tasks, 0.01)
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # KFP keeps a context of the user's there.
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "none"))
    with serving() as stand_in:
        yield stand_in


def submit(folder: Path, host: str, *options: str, **changes: Any) -> Any:
    (folder / "job.yaml").write_text(yaml.safe_dump({**JOB, **changes}, sort_keys=False))
    command = ["submit", str(folder / "job.yaml"), "--host", host, "--party", "alice", *options]
    return runner.invoke(app, command)


def test_it_carries_exactly_the_parameters_that_the_user_gave(
    tmp_path: Path, kubeflow: Kubeflow
) -> None:
    result = submit(tmp_path, kubeflow.host, "--namespace", "risk")
    assert result.exit_code == 0, result.output
    (run,) = kubeflow.runs
    assert run["runtime_config"]["parameters"] == {
        "party": "alice",
        "session": "credit-1",
        "data": "/data/guest.csv",
        "data_claim": "tables",
        **JOB["params"],
    }
    assert run["display_name"] == "credit-1-alice"
    assert [e["namespace"] for e in kubeflow.experiments] == ["risk"]
    compiled = next(yaml.safe_load_all((build.COMPILED / "training.yaml").read_text()))
    assert run["spec"] == compiled, "what was checked in is what is run"


def test_it_follows_the_run_and_ends_with_its_metrics(tmp_path: Path, kubeflow: Kubeflow) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        for party, auc in (("alice", 0.875), ("bob", 0.125)):
            with tracking.run(session="credit-1", party=party, step="evaluate") as log:
                log.metrics({"auc": auc})
    result = submit(tmp_path, kubeflow.host, "--mlflow", uri)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f"submitted: {kubeflow.host}/#/runs/details/0"
    told = [line for line in lines if line.endswith(": succeeded")]
    assert told[0] == "psi: succeeded"
    assert told[-1] == "run: succeeded"
    assert len(told) == 6
    assert "root-driver" not in result.output
    assert lines[-1].split() == ["auc", "0.875"]


def test_metrics_that_are_nowhere_do_not_make_a_good_run_a_bad_one(
    tmp_path: Path, kubeflow: Kubeflow
) -> None:
    result = submit(tmp_path, kubeflow.host, "--mlflow", "http://127.0.0.1:9")
    assert result.exit_code == 0
    assert "not to be had from MLflow at http://127.0.0.1:9" in result.stderr


def test_a_failed_task_is_told_and_is_the_exit_code(tmp_path: Path, kubeflow: Kubeflow) -> None:
    kubeflow.failing = {"encode": "DataError: no party holds the label"}
    result = submit(tmp_path, kubeflow.host)
    assert result.exit_code == 1
    assert "encode: failed: DataError: no party holds the label" in result.output
    assert result.output.rstrip().endswith("run: failed")


def test_a_token_is_sent_and_one_that_lacks_is_asked_for(
    tmp_path: Path, kubeflow: Kubeflow
) -> None:
    kubeflow.wanted_token = "Bearer sesame"  # noqa: S105
    refused = submit(tmp_path, kubeflow.host)
    assert refused.exit_code == 2
    assert "401: no valid token; give a bearer token with --token-file" in refused.stderr
    (tmp_path / "token").write_text("sesame\n")
    kubeflow.tokens.clear()
    assert submit(tmp_path, kubeflow.host, "--token-file", str(tmp_path / "token")).exit_code == 0
    assert kubeflow.tokens == {"Bearer sesame"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"params": {"label": "y"}}, "party 'alice' lacks the parameter id_columns"),
        ({"params": {**JOB["params"], "epoch": 1}}, "did you mean 'epochs'?"),
        ({"parties": {"carol": {}, "bob": {}}}, "party 'alice' is none of bob, carol"),
    ],
)
def test_a_wrong_job_is_refused_before_anything_is_sent(
    tmp_path: Path, kubeflow: Kubeflow, changes: dict[str, Any], said: str
) -> None:
    result = submit(tmp_path, kubeflow.host, **changes)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not kubeflow.tokens


def test_a_kubeflow_that_refuses_is_quoted(
    tmp_path: Path, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise ValueError("the namespace has no quota left")

    monkeypatch.setattr(kubeflow, "start", refuse)
    result = submit(tmp_path, kubeflow.host)
    assert result.exit_code == 2
    assert "answers 400: the namespace has no quota left" in result.stderr


def test_nobody_at_the_address_is_named(tmp_path: Path) -> None:
    result = submit(tmp_path, "http://127.0.0.1:9", "--namespace", "risk")
    assert result.exit_code == 2
    assert "no Kubeflow Pipelines answers at http://127.0.0.1:9" in result.stderr


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_example_in_python_does_the_same(
    kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfp.client.client.time.sleep", lambda _: None)
    assert example.submit(kubeflow.host, example.PARAMETERS, "risk") == "SUCCEEDED"
    (run,) = kubeflow.runs
    assert run["runtime_config"]["parameters"] == example.PARAMETERS
