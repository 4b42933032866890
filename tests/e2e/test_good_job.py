"""One whole job, started as a user starts it, and everything that it leaves behind."""

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from tallystick import tracking
from tallystick.tables import split

from tests.e2e import patients, plaintext, running

pytestmark = pytest.mark.timeout(300)
PARTIES = ("alice", "bob")
STEPS = ("psi", "encode", "train", "evaluate", "export")


@pytest.fixture(scope="module")
def joined(good_job: running.Ended) -> pd.DataFrame:
    """Both aligned tables side by side, which in earnest nobody has."""
    alice, bob = (good_job.aligned(party) for party in PARTIES)
    assert list(alice[patients.ID]) == list(bob[patients.ID])
    return alice.join(bob.drop(columns=patients.ID)).set_index(patients.ID)


class Plain:
    """Features and label of the joined rows, as the owners prepare them."""

    def __init__(self, joined: pd.DataFrame, drawn: split.Split, owners: dict[str, str]) -> None:
        self.owners = owners
        self.label = joined[patients.LABEL].to_numpy(np.float64)
        self.names = [name for name in joined.columns if name != patients.LABEL]
        self.train, self.test = drawn.train_rows, drawn.test_rows
        values = joined[self.names].to_numpy(np.float64)
        self.features = plaintext.standardised(values, self.train)


@pytest.fixture(scope="module")
def plain(joined: pd.DataFrame, good_job: running.Ended) -> Plain:
    owners = {name: party for party in PARTIES for name in good_job.aligned(party).columns}
    drawn = split.Split.read(good_job.task("bob", "encode") / "shares", len(joined))
    return Plain(joined, drawn, owners)


def test_it_succeeds(good_job: running.Ended) -> None:
    assert good_job.exit_code == 0, good_job.stdout + good_job.stderr
    assert good_job.summary["status"] == "succeeded"
    assert good_job.summary["error"] is None
    assert good_job.summary["session"] == "e2e-1"
    assert good_job.stderr == ""


def test_the_matching_rows_are_exactly_the_intersection(
    good_job: running.Ended, tables: patients.Tables, joined: pd.DataFrame
) -> None:
    assert good_job.summary["rows_matched"] == len(tables.both)
    assert set(joined.index) == tables.both
    for party in PARTIES:
        aligned = good_job.aligned(party).set_index(patients.ID)
        own = tables.of[party].set_index(patients.ID)
        pd.testing.assert_frame_equal(aligned, own.loc[aligned.index])


def test_the_common_order_is_neither_partys_own(
    joined: pd.DataFrame, tables: patients.Tables
) -> None:
    for table in tables.of.values():
        own = [name for name in table[patients.ID] if name in tables.both]
        assert list(joined.index) != own


def test_every_step_is_timed(good_job: running.Ended) -> None:
    seconds = good_job.summary["seconds"]
    assert tuple(seconds) == STEPS
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize("party", PARTIES)
def test_each_party_has_its_results(good_job: running.Ended, party: str) -> None:
    folder = good_job.out / party
    for name in ("metrics.json", "reveals.json", "report.html", "mlflow.db"):
        assert (folder / name).is_file(), name
    assert {path.name for path in (folder / "logs").iterdir()} == {"pipeline.log"}
    assert (folder / "model" / "manifest.json").is_file()
    assert not (folder / ".tmp").exists()


def test_nothing_unfinished_is_left(good_job: running.Ended) -> None:
    assert running.leftovers(good_job.out) == []
    assert running.processes(str(good_job.out)) == []


def test_metrics_agree_wherever_they_stand(good_job: running.Ended) -> None:
    metrics = good_job.summary["metrics"]
    assert set(metrics) == {
        *("auc", "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1"),
        *("mcc", "average_precision", "ks", "log_loss", "brier", "chosen_threshold"),
    }
    for party in PARTIES:
        assert good_job.json(party, "metrics.json") == metrics
        (finished,) = (e for e in good_job.events(party, "finished") if e["step"] == "evaluate")
        assert finished["results"] == metrics
        kfp = json.loads((good_job.task(party, "evaluate") / "executor_output.json").read_text())
        (shown,) = kfp["artifacts"]["metrics"]["artifacts"]
        assert shown["metadata"] == metrics
        page = (good_job.out / party / "report.html").read_text()
        assert f"{metrics['accuracy']:.3f}" in page
        assert f"{party}'s copy" in page


def test_the_confusion_matrix_counts_the_test_rows(good_job: running.Ended, plain: Plain) -> None:
    for party in PARTIES:
        kfp = json.loads((good_job.task(party, "evaluate") / "executor_output.json").read_text())
        (shown,) = kfp["artifacts"]["confusion"]["artifacts"]
        points = shown["metadata"]["confidenceMetrics"]
        assert (points[0]["recall"], points[-1]["recall"]) == (0, 1)
        assert np.isfinite([list(point.values()) for point in points]).all()
        (negative, positive) = (row["row"] for row in shown["metadata"]["confusionMatrix"]["rows"])
        assert sum(negative) == (plain.label[plain.test] == 0).sum()
        assert sum(positive) == (plain.label[plain.test] == 1).sum()


def test_the_table_at_the_end_shows_the_metrics(good_job: running.Ended) -> None:
    shown = re.sub(r"\s+", " ", good_job.stdout)
    assert f"rows matched {good_job.summary['rows_matched']}" in shown
    for name, value in good_job.summary["metrics"].items():
        assert f"{name} {value:.4g}" in shown


def coefficients(good_job: running.Ended, party: str) -> dict[str, float]:
    return dict(good_job.json(party, "model/coefficients.json")["coefficients"])


def test_it_ranks_as_well_as_scikit_learn(good_job: running.Ended, plain: Plain) -> None:
    l2 = good_job.job["params"]["l2"]
    model = LogisticRegression(C=1 / (l2 * len(plain.train)))
    model.fit(plain.features[plain.train], plain.label[plain.train])
    scores = model.decision_function(plain.features[plain.test])
    auc = roc_auc_score(plain.label[plain.test], scores)
    assert good_job.summary["metrics"]["auc"] == pytest.approx(auc, abs=0.01)


def test_the_opened_coefficients_are_those_of_plaintext_training(
    good_job: running.Ended, plain: Plain
) -> None:
    keys = ("model", "epochs", "batch_size", "learning_rate", "momentum", "l2", "seed")
    descent = plaintext.Descent(**{key: good_job.job["params"][key] for key in keys})
    weights, intercept = plaintext.sgd(
        descent, plain.features[plain.train], plain.label[plain.train]
    )
    opened = coefficients(good_job, "alice")
    # Each party's columns stand in its file's order, behind its name.
    assert list(opened) == [*(f"{plain.owners[name]}.{name}" for name in plain.names), "intercept"]
    expected = [*weights, intercept]
    np.testing.assert_allclose(list(opened.values()), expected, rtol=0, atol=0.05)
    # Fixed point with 16 fraction bits comes far closer than what is promised.
    assert np.abs(np.array([*opened.values()]) - expected).max() < 0.005


def test_the_opened_model_gives_the_metrics_that_were_opened(
    good_job: running.Ended, plain: Plain
) -> None:
    opened = coefficients(good_job, "alice")
    *weights, intercept = opened.values()
    scores = plain.features[plain.test] @ np.array(weights) + intercept
    label = plain.label[plain.test]
    metrics = good_job.summary["metrics"]
    # One row may stand so near the border, or two so near each other, that rounding decides.
    row = 1.01 / len(label)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(label, scores > 0), abs=row)
    assert metrics["f1"] == pytest.approx(f1_score(label, scores > 0), abs=0.02)
    assert metrics["auc"] == pytest.approx(roc_auc_score(label, scores), abs=1e-3)


def test_both_forms_of_the_model_are_the_same_at_both_parties(good_job: running.Ended) -> None:
    assert coefficients(good_job, "alice") == coefficients(good_job, "bob")
    for party in PARTIES:
        state = torch.load(good_job.out / party / "model" / "state_dict.pt", weights_only=True)
        *weights, intercept = coefficients(good_job, party).values()
        np.testing.assert_allclose(state["weight"].numpy(), [weights], atol=1e-6)
        np.testing.assert_allclose(state["bias"].numpy(), [intercept], atol=1e-6)


def test_every_opening_is_listed_and_nothing_else(good_job: running.Ended, plain: Plain) -> None:
    epochs = good_job.job["params"]["epochs"]
    rows = good_job.summary["rows_matched"]
    expected = Counter(
        {
            ("psi", "rows matched", 1): 1,
            ("psi", "each party's own rows that match", rows): 1,
            ("train", "training loss", 1): epochs,
            ("train", "whether all parameters are in range", 1): epochs,
            ("evaluate", "which classes and decisions hold too few rows", 4): 1,
            ("evaluate", "confusion counts", 3): 1,
            ("evaluate", "sums of the log loss and of the squared error", 2): 1,
            ("evaluate", "pairs ranked rightly", 1): 1,
            ("evaluate", "sum of precisions", 1): 1,
            ("evaluate", "largest distance between the classes", 1): 1,
            ("export", "parameters of the model", len(plain.names) + 1): 1,
        }
    )
    for party in PARTIES:
        reveals = good_job.json(party, "reveals.json")
        buckets = [r for r in reveals if "buckets" in r["what"]]
        rest = [r for r in reveals if r not in buckets]
        assert Counter((r["step"], r["what"], r["count"]) for r in rest) == expected
        # One bit for each cut; of each bucket that is kept rows, positive rows and a sum.
        *decisions, counts, sums = buckets
        assert {r["what"] for r in decisions} == {"which buckets of scores hold too few rows"}
        assert {r["count"] for r in decisions} == {1}
        assert counts["count"] == 2 * sums["count"] <= 2 * len(decisions)
        assert all(r["to"] == list(PARTIES) and r["why"] for r in reveals)
    assert good_job.json("alice", "reveals.json") == good_job.json("bob", "reveals.json")


@pytest.mark.parametrize("step", STEPS)
def test_each_step_shows_its_openings_in_kubeflow(good_job: running.Ended, step: str) -> None:
    pages = {(good_job.task(party, step) / "reveals").read_text() for party in PARTIES}
    (page,) = pages
    whats = {r["what"] for r in good_job.json("alice", "reveals.json") if r["step"] == step}
    assert all(f"| {what} |" in page for what in whats)
    assert whats or "Nothing was opened." in page


def test_parties_share_no_share(good_job: running.Ended) -> None:
    for step, path in (
        ("encode", "shares/shares.arrow"),
        ("train", "trained/parameters.safetensors"),
    ):
        alice, bob = (good_job.task(party, step) / path for party in PARTIES)
        assert alice.read_bytes() != bob.read_bytes()


class Stores:
    """Each party's MLflow store, opened as a user's script would."""

    def __init__(self, good_job: running.Ended) -> None:
        self.clients: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        for party in PARTIES:
            client = tracking.connect(f"sqlite:///{good_job.out / party / 'mlflow.db'}")
            (experiment,) = (
                e for e in client.search_experiments() if e.name == tracking.EXPERIMENT
            )
            (self.runs[party],) = client.search_runs([experiment.experiment_id])
            self.clients[party] = client


@pytest.fixture(scope="module")
def stores(good_job: running.Ended) -> Stores:
    return Stores(good_job)


@pytest.mark.parametrize("party", PARTIES)
def test_mlflow_has_one_finished_run_with_all_parameters(
    good_job: running.Ended, stores: Stores, party: str
) -> None:
    run = stores.runs[party]
    assert run.info.status == "FINISHED"
    params = good_job.job["params"]
    for name in ("model", "epochs", "batch_size", "learning_rate", "momentum", "l2", "seed"):
        assert run.data.params[name] == str(params[name])


@pytest.mark.parametrize("party", PARTIES)
def test_mlflow_has_the_loss_curve_and_the_metrics(
    good_job: running.Ended, stores: Stores, party: str
) -> None:
    run, client = stores.runs[party], stores.clients[party]
    curve = client.get_metric_history(run.info.run_id, "loss")
    told = [e["loss"] for e in good_job.events(party, "progress") if "loss" in e]
    epochs = good_job.job["params"]["epochs"]
    assert [(p.step, p.value) for p in curve] == list(zip(range(1, epochs + 1), told, strict=True))
    assert told[-1] < told[0] < np.log(2)
    for name, value in good_job.summary["metrics"].items():
        assert run.data.metrics[name] == pytest.approx(value)


@pytest.mark.parametrize("party", PARTIES)
def test_mlflow_has_every_steps_traffic_as_system_metrics(
    good_job: running.Ended, stores: Stores, party: str
) -> None:
    logged = stores.runs[party].data.metrics
    for event in good_job.events(party, "finished"):
        for name, count in event["traffic"].items():
            found = logged[f"system/{event['step']}/{name}"]
            # Of steps without a run of their own train tells, less what they said when they wrote
            # their artifact: its description, and farewell. Memory is in bytes.
            slack = 10_000 if event["step"] in ("psi", "encode") else 0
            slack *= 1000 if name == "peak_bytes" else 1
            assert count - slack <= found <= count, (event["step"], name)
        assert logged[f"system/{event['step']}/sent_bytes"] > 0


@pytest.mark.parametrize("party", PARTIES)
def test_mlflow_has_the_report_and_the_openings(
    good_job: running.Ended, stores: Stores, party: str
) -> None:
    files = good_job.out / party / "mlartifacts" / stores.runs[party].info.run_id / "artifacts"
    page = (good_job.out / party / "report.html").read_text()
    assert (files / "report.html").read_text() == page
    listed = {"train": [], "evaluate": [], "export": []}
    for reveal in good_job.json(party, "reveals.json"):
        if reveal["step"] in listed:
            listed[reveal.pop("step")].append(reveal)
    for step, reveals in listed.items():
        assert json.loads((files / "reveals" / f"{step}.json").read_text()) == reveals
