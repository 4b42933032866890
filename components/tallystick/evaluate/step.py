"""Measure the model on the rows that were held out; only agreed totals are opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick import __version__, tracking
from tallystick.evaluate import binary, regression
from tallystick.evaluate.report import Report, render
from tallystick.evaluate.scores import linear_scores
from tallystick.models import artifact
from tallystick.models.linear import CLASSIFIERS
from tallystick.runtime import life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session
from tallystick.tables import shares


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the evaluate step is told."""

    shares: Path
    """The artifact of the encode step."""
    trained: Path
    """The artifact of the train step."""
    metrics: object
    """KFP's Metrics artifact."""
    confusion: object
    """KFP's ClassificationMetrics artifact."""
    report: Path
    """Where the page for people is written."""


@life.step("evaluate")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of test rows.
    """
    data, model = shares.read(config.shares), artifact.read(config.trained)
    _require_fit(data, model)
    with (
        tracking.run(session=config.session, party=config.party, step="evaluate") as log,
        Session.join(config, "evaluate") as session,
    ):
        session.agree(data.manifest)
        session.agree(model.manifest)
        metrics, confusion = _measure(session, data, model)
        page = render(_report(session, data, model, metrics, confusion))
        session.output(config.report).write_text(page, encoding="utf-8")
        _show(config, metrics, confusion)
        log.metrics(metrics)
        log.text("report.html", page)
        log.json("reveals/evaluate.json", session.ledger.as_json())
        session.result(**metrics)
    return len(data.test_rows)


def _require_fit(data: shares.Shares, model: artifact.SharedModel) -> None:
    for name in ("columns", "label", "row_order", "split"):
        if data.manifest.joint[name] != model.manifest.joint[name]:
            raise DataError(
                f"the model was trained on other shares than these: {name} differs; evaluate it on "
                "the shares that it was trained with"
            )


def _measure(
    session: Session, data: shares.Shares, model: artifact.SharedModel
) -> tuple[dict[str, float], binary.Confusion | None]:
    engine, ledger = session.engine, session.ledger
    features_NF = engine.from_share(data.features(data.test_rows))
    label_N = engine.from_share(data.label(data.test_rows))
    scores_N = linear_scores(engine, model, features_NF)
    if model.name in CLASSIFIERS:
        return binary.evaluate(engine, ledger, scores_N, label_N)
    deviation = float(data.manifest.joint["label"]["deviation"])
    return regression.evaluate(engine, ledger, scores_N, label_N, deviation), None


def _show(config: Config, metrics: dict[str, float], confusion: binary.Confusion | None) -> None:
    kfp_metrics: Any = config.metrics
    for name, value in metrics.items():
        kfp_metrics.log_metric(name, value)
    if confusion is not None:
        kfp_confusion: Any = config.confusion
        kfp_confusion.log_confusion_matrix(["negative", "positive"], confusion.matrix)


def _report(
    session: Session,
    data: shares.Shares,
    model: artifact.SharedModel,
    metrics: dict[str, float],
    confusion: binary.Confusion | None,
) -> Report:
    joint = model.manifest.joint
    history = session.history(model.manifest.history)
    owners: dict[str, list[str]] = {party: [] for party in session.parties}
    for column in joint["columns"]:
        owners[column["owner"]].append(column["name"].removeprefix(f"{column['owner']}."))
    return Report(
        session=session.name,
        party=session.party,
        parties=session.parties,
        model=model.name,
        rows_matched=joint["rows"],
        train_rows=len(data.train_rows),
        test_rows=len(data.test_rows),
        features=owners,
        label=joint["label"]["name"],
        label_owner=joint["label"]["owner"],
        metrics=metrics,
        confusion=None if confusion is None else confusion.matrix,
        loss=joint["loss"],
        reveals=[{"step": past["step"], **entry} for past in history for entry in past["reveals"]],
        history=history,
        version=__version__,
        parameters=joint["training"],
    )
