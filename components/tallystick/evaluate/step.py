"""Measure a model on shared rows; only agreed totals are opened."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallystick import __version__, tracking
from tallystick.evaluate import binary, charts, multiclass, panels, regression
from tallystick.evaluate.curves import RULES
from tallystick.evaluate.outcome import Outcome
from tallystick.evaluate.panel import Panel
from tallystick.evaluate.report import Report, render
from tallystick.models import scoring
from tallystick.models.artifact import SharedModel
from tallystick.models.chosen import Chosen, ModelConfig
from tallystick.models.meaning import has_probabilities
from tallystick.runtime import life
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.session import Session
from tallystick.tables import shares

PARTS = ("test", "validation", "all")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ModelConfig):
    """What the evaluate step is told."""

    shares: Path
    """The artifact of the encode step."""
    trained: Path | None = None
    """The artifact of the train step; None for an earlier one's folder, or a party's own model."""
    trained_folder: str = ""
    """Where the artifact of an earlier train step lies; or empty."""
    rows: str = "test"
    """Which rows to measure on."""
    threshold: float = 0.5
    """A row is called positive if its probability is above it."""
    threshold_rule: str = "youden"
    """How a second threshold is picked from the curve."""
    min_count: int = 10
    """The least number of rows that an opened total may speak of."""
    metrics: object
    """KFP's Metrics artifact."""
    confusion: object
    """KFP's ClassificationMetrics artifact."""
    report: Path
    """Where the page for people is written."""

    LOCAL = ModelConfig.LOCAL | {"trained_folder"}

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        self.require(self.rows in PARTS, "rows", f"one of {', '.join(PARTS)}")
        self.require(0.001 <= self.threshold <= 0.999, "threshold", "from 0.001 to 0.999")
        self.require(self.threshold_rule in RULES, "threshold_rule", f"one of {', '.join(RULES)}")
        self.require(1 <= self.min_count <= 1 << 20, "min_count", "from 1 to 1048576")

    @property
    def share_folder(self) -> str:
        """Where this party's share of the model lies."""
        return str(self.trained or self.trained_folder)


@life.step("evaluate")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows that were measured.
    """
    data = shares.read(config.shares)
    shape = config.feature_shape or tuple(data.manifest.joint["feature_shape"])
    _require_shape(data, shape)
    chosen = Chosen.read(config, shape)
    if chosen.shared is not None:
        _require_fit(config, data, chosen.shared)
    if chosen.network is not None:
        _require_scores(data.manifest.joint["label"], chosen.network[0].outputs)
    rows = _rows(config, data)
    with tracking.run(session=config.session, party=config.party, step="evaluate") as log:
        with Session.join(config, "evaluate") as session:
            session.agree(data.manifest)
            model = chosen.agreed(session, config.model_owner, shape)
            found = _measure(config, session, data, model, rows)
            names = data.manifest.joint["label"].get("names") or ()
            outcome = Outcome.of(found, config.threshold_rule, names)
            drawn = panels.draw(outcome, data.manifest.joint)
            page = render(_report(config, session, data, model, len(rows), outcome, drawn))
            session.output(config.report).write_text(page, encoding="utf-8")
            _show(config, outcome)
            # What was opened is known, even if the parties do not finish together.
            log.json("reveals/evaluate.json", session.ledger.as_json())
            session.result(**outcome.metrics)
        log.metrics(outcome.metrics)
        log.text("report.html", page)
        for panel in drawn:
            if panel.figure:
                log.text(f"figures/{panel.name}.svg", charts.standalone(panel.figure))
    return len(rows)


def _require_shape(data: shares.Shares, shape: tuple[int, ...]) -> None:
    held = data.manifest.joint["feature_shape"]
    if math.prod(shape) != math.prod(held):
        raise ConfigError(
            f"the rows have the shape {list(held)}, and feature_shape is {list(shape)}; a model is "
            "measured on rows with as many values as it takes"
        )


def _require_fit(config: Config, data: shares.Shares, model: SharedModel) -> None:
    ours, its = data.manifest.joint, model.manifest.joint
    for name in ("columns", "label"):
        if name in its and _meant(ours[name]) != _meant(its[name]):
            raise DataError(
                f"the model was trained on other columns than these: {name} differs; evaluate it "
                "on shares with the columns and label that it was trained with"
            )
    # A part of other rows, or of another split, may have trained the model.
    trained = (its.get("row_order"), its.get("split"))
    if config.rows != "all" and any(trained) and (ours["row_order"], ours["split"]) != trained:
        raise DataError(
            "the model was trained on other shares than these: row_order or split differs; "
            "evaluate it on the shares that it was trained with, or on all rows of a new table "
            "with rows: all"
        )
    model.require_prepared(ours["fitted_by"], "the preparation of these rows")


def _meant(known: Any) -> Any:
    """Leave out what the classes are called, which a job may tell or not."""
    return {k: v for k, v in known.items() if k != "names"} if isinstance(known, dict) else known


def _rows(config: Config, data: shares.Shares) -> NDArray[np.int64]:
    parts = {
        "test": data.test_rows,
        "validation": data.validation_rows,
        "all": np.arange(data.manifest.joint["rows"], dtype=np.int64),
    }
    rows = parts[config.rows]
    if len(rows) < config.min_count:
        raise DataError(
            f"{config.rows} has {len(rows)} rows, fewer than min_count ({config.min_count}), so no "
            "total of them may be opened; hold more rows out, or lower min_count"
        )
    return rows


def _measure(
    config: Config,
    session: Session,
    data: shares.Shares,
    model: SharedModel,
    rows: NDArray[np.int64],
) -> binary.Binary | multiclass.Multiclass | regression.Regression:
    engine, ledger = session.engine, session.ledger
    label = data.manifest.joint["label"]
    outputs = scoring.outputs(engine, model, engine.from_share(data.features(rows)))
    if config.model_owner:
        _require_scores(label, outputs.size(1))
        outputs = _as_trained(engine, outputs, label)
    truth = engine.from_share(data.label(rows))
    group = data.group(rows)
    options: dict[str, Any] = {
        "min_count": config.min_count,
        "group_NG": None if group is None else engine.from_share(group),
    }
    match label["kind"]:
        case "binary":
            return binary.evaluate(
                engine,
                ledger,
                outputs.squeeze(1),
                truth,
                threshold=config.threshold,
                probabilities=has_probabilities(model.manifest.joint),
                **options,
            )
        case "classes":
            return multiclass.evaluate(engine, ledger, outputs, truth, **options)
    return regression.evaluate(
        engine,
        ledger,
        outputs.squeeze(1),
        truth,
        float(label["deviation"]),
        mean=float(label["mean"]),
        **options,
    )


def _require_scores(label: dict[str, Any], found: int) -> None:
    """Refuse a party's own model whose scores are not those of a model for this label."""
    kind = label["kind"]
    fits = {"binary": (1, 2), "classes": (label.get("classes"),), "number": (1,)}[kind]
    if found not in fits:
        raise ConfigError(
            f"the model gives {found} scores a row, and the label, of the kind {kind}, takes "
            f"{' or '.join(map(str, fits))}; bring a model for this label, or say by label_kind "
            "what the label is"
        )


def _as_trained(engine: Engine, outputs: Secret, label: dict[str, Any]) -> Secret:
    """Bring the scores of a party's own model to what those of train mean."""
    if label["kind"] == "binary" and outputs.size(1) == 2:
        return outputs[:, 1:] - outputs[:, :1]
    if label["kind"] == "number":
        # It speaks in the label's own units, and errors are measured in its deviations.
        return engine.scaled(outputs - float(label["mean"]), 1 / float(label["deviation"]))
    return outputs


def _show(config: Config, outcome: Outcome) -> None:
    kfp_metrics: Any = config.metrics
    for name, value in outcome.metrics.items():
        kfp_metrics.log_metric(name, value)
    kfp_confusion: Any = config.confusion
    if outcome.matrix:
        kfp_confusion.log_confusion_matrix(outcome.class_names, outcome.matrix)
    if outcome.points:
        kfp_confusion.log_roc_curve(
            [point.false_positive_rate for point in outcome.points],
            [point.confusion.recall for point in outcome.points],
            [point.threshold for point in outcome.points],
        )


def _report(
    config: Config,
    session: Session,
    data: shares.Shares,
    model: SharedModel,
    rows: int,
    outcome: Outcome,
    drawn: list[Panel],
) -> Report:
    joint, ours = model.manifest.joint, data.manifest.joint
    trained_here = joint.get("row_order") == ours["row_order"]
    history = session.history(model.manifest.history)
    owners: dict[str, list[str]] = {party: [] for party in session.parties}
    for column in ours["columns"]:
        # Where parties hold different rows, every one of them has all columns.
        for owner in [column["owner"]] if column["owner"] else session.parties:
            owners[owner].append(column["name"].removeprefix(f"{column['owner']}."))
    return Report(
        session=session.name,
        party=session.party,
        parties=session.parties,
        model=model.name,
        model_owner=config.model_owner,
        measured=config.rows,
        rows_matched=ours["rows"],
        train_rows=ours["split"]["train_rows"] if trained_here else 0,
        test_rows=rows,
        features=owners,
        label=ours["label"]["name"],
        label_owner=ours["label"]["owner"],
        metrics=outcome.metrics,
        panels=drawn,
        loss=joint.get("loss", []),
        reveals=[{"step": past["step"], **entry} for past in history for entry in past["reveals"]],
        history=history,
        version=__version__,
        parameters={
            **joint.get("training", {}),
            "measured_rows": config.rows,
            "threshold": config.threshold,
            "threshold_rule": config.threshold_rule,
            "min_count": config.min_count,
        },
    )
