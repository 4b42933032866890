"""The page that a party keeps of an evaluation: agreed totals only, no row of anybody's.

One self-contained file, for the Kubeflow UI's sandboxed frame, for MLflow and for a mail: it loads
nothing and runs no script. The same report gives the same bytes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from tallystick.evaluate import charts, tables
from tallystick.evaluate.charts import Axis, Line
from tallystick.evaluate.panel import Panel

MAX_NAMES = 40
"""Feature names shown at once for each party; the rest unfolds."""

_MEASURED = {
    "test": "tested it",
    "validation": "were kept for validation and measure it here",
    "all": "measure it here",
}
_TITLES = {
    "auc": ("AUC", "1 is perfect, 0.5 is guessing"),
    "auc_ovr": ("AUC", "mean of each class against the rest"),
    "accuracy": ("Accuracy", "share of rows it gets right"),
    "balanced_accuracy": ("Balanced accuracy", "mean recall of the classes"),
    "specificity": ("Specificity", "share of the negative that it spares"),
    "mcc": ("MCC", "correlation of call and truth"),
    "average_precision": ("Average precision", "area below precision and recall"),
    "ks": ("KS", "widest distance of the classes"),
    "log_loss": ("Log loss", "smaller is better"),
    "brier": ("Brier score", "squared error of the probability"),
    "chosen_threshold": ("Chosen threshold", "by the agreed rule, about"),
    "f1_macro": ("F1, macro", "mean of the classes"),
    "f1_micro": ("F1, micro", "of all rows together"),
    "f1_weighted": ("F1, weighted", "mean by rows of a class"),
    "top_2_accuracy": ("Top 2", "true class among the highest 2"),
    "top_3_accuracy": ("Top 3", "true class among the highest 3"),
    "top_5_accuracy": ("Top 5", "true class among the highest 5"),
    "mape": ("MAPE", "mean error as a part of the truth"),
    "explained_variance": ("Explained variance", "R² but for a constant error"),
    "precision": ("Precision", "share of those called positive that are"),
    "recall": ("Recall", "share of the positive that it finds"),
    "f1": ("F1", "balance of precision and recall"),
    "rmse": ("RMSE", "typical error, in the label's unit"),
    "mae": ("MAE", "mean error, in the label's unit"),
    "r2": ("R²", "share of the variance explained"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the page tells."""

    session: str
    party: str
    """The party whose copy this is."""
    parties: Sequence[str]
    """All parties, in rank order."""
    model: str
    model_owner: str
    """The party that owns the model; empty for one that the parties trained together."""
    measured: str
    """Which rows were measured on: test, validation or all."""
    rows_matched: int
    train_rows: int
    """How many of them trained the model; 0 where it was trained on others."""
    test_rows: int
    """How many rows were measured on."""
    features: Mapping[str, Sequence[str]]
    """Feature names, by owner."""
    label: str
    label_owner: str
    metrics: Mapping[str, float]
    """By short name, such as auc; the most telling first."""
    panels: Sequence[Panel]
    """Charts and tables, in the order of the page."""
    loss: Sequence[float]
    """The opened loss of each epoch."""
    reveals: Sequence[Mapping[str, object]]
    """Every opening of all steps so far: step, what, to, count, why."""
    history: Sequence[Mapping[str, object]]
    """The steps so far, oldest first: step, session."""
    version: str
    """Of this package."""
    parameters: Mapping[str, object]


def render(report: Report) -> str:
    """Return the report as one HTML page."""
    page = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return page.substitute(
        session=escape(report.session),
        model=escape(_words(report.model)),
        lead=_lead(report),
        rows=_rows(report),
        cards="".join(_card(name, value) for name, value in report.metrics.items()),
        chart_style=charts.STYLE,
        panels="".join(map(_panel, report.panels)),
        loss=_loss([value for value in report.loss if math.isfinite(value)]),
        features=_features(report),
        reveals=_reveals(report.reveals),
        made=_made(report),
        limits=_limits(report),
    )


def _lead(report: Report) -> str:
    names = [f"<b>{escape(name)}</b>" for name in report.parties]
    together = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
    copy = f"This is {escape(report.party)}'s copy."
    if report.model_owner:
        owner = escape(report.model_owner)
        return f"A model of {owner}'s own, measured jointly by {together}. {copy}"
    return f"{escape(_words(report.model)).capitalize()}, trained jointly by {together}. {copy}"


def _rows(report: Report) -> str:
    trained = f"{report.train_rows:,} trained the model"
    if not report.train_rows:
        trained = "none of them is known to have trained the model"
    return (
        f"{report.rows_matched:,} rows are held by every party: {trained}, "
        f"{report.test_rows:,} {_MEASURED[report.measured]}."
    )


def _card(name: str, value: float) -> str:
    title, gloss = _TITLES.get(name, (_words(name).capitalize(), ""))
    return (
        f'<div class="card"><h3>{escape(title)}</h3><b>{tables.number(value)}</b>'
        f'<span class="soft">{escape(gloss)}</span></div>'
    )


def _panel(panel: Panel) -> str:
    note = f'<p class="soft">{escape(panel.note)}</p>' if panel.note else ""
    return (
        f'<section class="panel{" wide" if panel.wide else ""}"><h2>{escape(panel.title)}</h2>'
        f"{panel.figure}{panel.body}{note}</section>"
    )


def _loss(losses: Sequence[float]) -> str:
    if not losses:
        return '<p class="soft">No loss was opened.</p>'
    count, step = len(losses), math.ceil(len(losses) / 8)
    return charts.line_chart(
        Axis("epoch", range(0, count + step, step)),
        Axis("loss", charts.ticks(min(0.0, *losses), max(0.0, *losses))),
        [Line([(float(epoch), loss) for epoch, loss in enumerate(losses, 1)])],
        said=f"Loss {losses[0]:.4g} after the first epoch, {losses[-1]:.4g} after {count}",
    )


def _features(report: Report) -> str:
    rows = []
    for party in report.parties:
        names = list(report.features.get(party, ()))
        shown = ", ".join(escape(name) for name in names[:MAX_NAMES]) or "none"
        if rest := names[MAX_NAMES:]:
            hidden = ", ".join(escape(name) for name in rest)
            shown += f"<details><summary>and {len(rest):,} more</summary>{hidden}</details>"
        if party == report.label_owner:
            shown += f"<div>and the label, <b>{escape(report.label)}</b></div>"
        rows.append([f"<b>{escape(party)}</b>", f"{len(names):,}", shown])
    return tables.table(
        [("party", ""), ("features", "number"), ("names", "names")],
        rows,
    )


def _reveals(reveals: Iterable[Mapping[str, object]]) -> str:
    """Make the table; openings that differ only in their count share a row."""
    grouped: dict[tuple[str, ...], list[int]] = {}
    for entry in reveals:
        key = tuple(escape(_value(entry.get(name, ""))) for name in ("step", "what", "to", "why"))
        grouped.setdefault(key, []).append(int(str(entry.get("count", 0))))
    if not grouped:
        return "<p>Nothing was opened.</p>"
    rows = [
        [f"<b>{what}</b>", to or "nobody", f"{sum(counts):,}", why, step]
        for (step, what, to, why), counts in grouped.items()
    ]
    columns = [("what", ""), ("to", ""), ("values", "number"), ("why", ""), ("step", "")]
    return "<p>These values were opened, and no others.</p>" + tables.table(columns, rows)


def _made(report: Report) -> str:
    facts = {"package": f"tallystick {report.version}", "model": _words(report.model)}
    facts |= {_words(name): _value(value) for name, value in report.parameters.items()}
    pairs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    steps = ""
    for entry in report.history:
        step, session = _value(entry.get("step", "")), _value(entry.get("session", ""))
        origin = "" if session == report.session else f" in session {session}"
        steps += f'<li><b>{escape(step)}</b><span class="soft">{escape(origin)}</span></li>'
    return f"<dl>{pairs}</dl><ol>{steps}</ol>"


def _limits(report: Report) -> str:
    return (
        f"<p>What is revealed above tells every party something about the joined rows, and figures "
        f"from {report.test_rows:,} test rows move by chance, so a small difference between two "
        "models means little.</p>"
        "<p>All else stays hidden only if every party and the dealer follow the protocol and the "
        "dealer takes no party's side: the dealer together with any one party could reconstruct "
        "everything, and a party that deviates could spoil these figures.</p>"
    )


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
