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

MAX_NAMES = 40
"""Feature names shown at once for each party; the rest unfolds."""

_TITLES = {
    "auc": ("AUC", "1 is perfect, 0.5 is guessing"),
    "accuracy": ("Accuracy", "share of rows it gets right"),
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
    rows_matched: int
    train_rows: int
    test_rows: int
    features: Mapping[str, Sequence[str]]
    """Feature names, by owner."""
    label: str
    label_owner: str
    metrics: Mapping[str, float]
    """By short name, such as auc; the most telling first."""
    confusion: Sequence[Sequence[int]] | None
    """Rows: truly negative, truly positive. Columns: called negative, called positive. None for a
    regression."""
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
        rows=(
            f"{report.rows_matched:,} rows are held by every party: {report.train_rows:,} trained "
            f"the model, {report.test_rows:,} tested it."
        ),
        cards="".join(_card(name, value) for name, value in report.metrics.items()),
        confusion=_confusion(report.confusion) if report.confusion else "",
        loss=_curve([value for value in report.loss if math.isfinite(value)]),
        features=_features(report),
        reveals=_reveals(report.reveals),
        made=_made(report),
        limits=_limits(report),
    )


def _lead(report: Report) -> str:
    names = [f"<b>{escape(name)}</b>" for name in report.parties]
    together = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
    model = escape(_words(report.model)).capitalize()
    return f"{model}, trained jointly by {together}. This is {escape(report.party)}'s copy."


def _card(name: str, value: float) -> str:
    title, gloss = _TITLES.get(name, (_words(name).capitalize(), ""))
    return (
        f'<div class="card"><h3>{escape(title)}</h3><b>{_number(value)}</b>'
        f'<span class="soft">{escape(gloss)}</span></div>'
    )


def _confusion(matrix: Sequence[Sequence[int]]) -> str:
    rows = ""
    for actual, counts in enumerate(matrix):
        total = sum(counts)
        cells = "".join(
            f'<td class="{"hit" if called == actual else "miss"}" '
            f'style="--share:{count / max(total, 1):.3f}"><b>{count:,}</b>'
            f"<span>{count / max(total, 1):.1%}</span></td>"
            for called, count in enumerate(counts)
        )
        rows += f'<tr><th scope="row">truly {("negative", "positive")[actual]}</th>{cells}</tr>'
    return (
        '<section><h2>Confusion matrix</h2><table class="confusion"><thead><tr><td></td>'
        '<th scope="col">called negative</th><th scope="col">called positive</th></tr>'
        f'</thead><tbody>{rows}</tbody></table><p class="soft">Per cent of each line.</p>'
        "</section>"
    )


def _curve(loss: Sequence[float]) -> str:
    """Draw the loss by hand: a plotting library's picture is ten times as long and has no theme."""
    if not loss:
        return '<p class="soft">No loss was opened.</p>'
    left, right, top, bottom = 46.0, 380.0, 14.0, 190.0
    ticks = _ticks(min(0.0, *loss), max(0.0, *loss))
    low, high = ticks[0], ticks[-1]
    step = (right - left) / max(len(loss) - 1, 1)
    first = left if len(loss) > 1 else (left + right) / 2
    points = [
        (first + step * epoch, bottom - (value - low) / (high - low) * (bottom - top))
        for epoch, value in enumerate(loss)
    ]
    parts = []
    for tick in ticks:
        y = bottom - (tick - low) / (high - low) * (bottom - top)
        parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    every = max(1, math.ceil(len(loss) / 10))
    for epoch in range(0, len(loss), every):
        x = first + step * epoch
        parts.append(f'<text x="{x:.1f}" y="207" text-anchor="middle">{epoch + 1}</text>')
    parts.append('<text x="213" y="224" text-anchor="middle">epoch</text>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(f'<polyline class="curve" points="{line}"/>')
    if len(loss) <= 60:
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>epoch {epoch}: {value:.4g}</title>'
            "</circle>"
            for epoch, ((x, y), value) in enumerate(zip(points, loss, strict=True), 1)
        ]
    x, y = points[-1]
    y += -8 if y > top + 20 else 16
    parts.append(
        f'<text class="last" x="{x:.1f}" y="{y:.1f}" text-anchor="end">{loss[-1]:.4g}</text>'
    )
    said = f"Loss {loss[0]:.4g} after the first epoch, {loss[-1]:.4g} after {len(loss)}"
    return f'<svg viewBox="0 0 400 230" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values that enclose ``low`` and ``high``."""
    spread = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(spread / 4))
    size *= next(factor for factor in (1, 2, 5, 10) if spread / (size * factor) <= 5)
    first, last = math.floor(low / size), math.ceil(high / size)
    return [float(f"{index * size:.12g}") for index in range(first, max(last, first + 1) + 1)]


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
    return _table(
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
    return "<p>These values were opened, and no others.</p>" + _table(columns, rows)


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


def _table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Make a table that a narrow screen shows as blocks; cells are HTML already."""
    head = "".join(f'<th scope="col">{name}</th>' for name, _ in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}"' + (f' data-name="{name}:"' if index else "") + f">{cell}</td>"
            for index, ((name, kind), cell) in enumerate(zip(columns, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size == 0 or 0.001 <= size < 10:
        return f"{value:.3f}"
    return f"{value:,.1f}" if 10 <= size < 1e7 else f"{value:.3g}"


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
