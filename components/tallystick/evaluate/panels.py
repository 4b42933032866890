"""What the page shows of an outcome: a panel for each chart or table, from opened totals."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tallystick.evaluate import binary_panels, charts, tables
from tallystick.evaluate.binary import Binary
from tallystick.evaluate.charts import Axis
from tallystick.evaluate.multiclass import Multiclass
from tallystick.evaluate.outcome import Outcome
from tallystick.evaluate.panel import ROWS, Panel
from tallystick.evaluate.regression import Regression

_SHORT = {"auc": "AUC", "f1": "F1", "mcc": "MCC", "rmse": "RMSE", "mae": "MAE"}


def draw(outcome: Outcome, joint: Mapping[str, Any]) -> list[Panel]:
    """Return the panels in the order of the page.

    Args:
        outcome: what was found.
        joint: the shares' manifest, for the names of groups.
    """
    match outcome.found:
        case Binary():
            panels = binary_panels.draw(outcome, outcome.found)
        case Multiclass():
            panels = _multiclass(outcome, outcome.found)
        case Regression():
            panels = _regression(outcome.found)
    if outcome.found.groups:
        panels.append(_groups(outcome.found.groups, joint.get("group") or {}))
    return panels


def _multiclass(outcome: Outcome, found: Multiclass) -> list[Panel]:
    assert outcome.matrix is not None
    names = outcome.class_names
    hidden = (
        " Classes with too few rows are left out, and so are averages over the classes."
        if not found.matrix or len(found.shown) < len(found.matrix[0])
        else ""
    )
    rows = [
        [
            f"<b>{escape(name)}</b>",
            f"{one['rows']:,.0f}",
            *(
                tables.number(one[key]) if key in one else "n/a"
                for key in ("precision", "recall", "f1", "auc")
            ),
        ]
        for name, one in zip(names, found.classes, strict=True)
    ]
    columns = [("class", ""), ROWS]
    columns += [(key, "number") for key in ("precision", "recall", "F1", "AUC against the rest")]
    return [
        Panel(
            name="confusion",
            title="Confusion matrix",
            body=tables.confusion(outcome.matrix, names),
            note=f"Per cent of each line.{hidden}",
            wide=True,
        ),
        Panel(name="classes", title="By class", body=tables.table(columns, rows), wide=True),
    ]


def _regression(found: Regression) -> list[Panel]:
    histogram = found.histogram
    if histogram is None or not histogram.edges:
        return []
    inner = list(histogram.edges)
    size = max(abs(edge) for edge in inner) / 6
    edges = [min(inner[0] - size, -7 * size), *inner, max(inner[-1] + size, 7 * size)]
    rows = sum(histogram.counts)
    bars = [
        (a, b, [count / rows / (b - a) * size])
        for a, b, count in zip(edges, edges[1:], histogram.counts, strict=False)
    ]
    return [
        Panel(
            name="residuals",
            title="Residuals",
            figure=charts.bar_chart(
                Axis("predicted less true, in the label's unit", charts.ticks(edges[0], edges[-1])),
                Axis("part of the rows", charts.ticks(0, max(h for _, _, (h,) in bars)), True),
                bars,
                said="Histogram of the residuals",
            ),
            note="Buckets of half an RMSE; those with too few rows are joined and drawn at their "
            "mean height. The outer ones are open.",
        )
    ]


def _groups(groups: Sequence[Mapping[str, float] | None], about: Mapping[str, Any]) -> Panel:
    keys = list(dict.fromkeys(key for one in groups if one for key in one if key != "rows"))
    rows = []
    # What the groups are called stays with the column's owner, who has them in this order.
    for number, one in enumerate(groups, 1):
        cells = [f"<b>group {number}</b>", f"{one['rows']:,.0f}" if one else "withheld"]
        cells += [tables.number(one[key]) if one and key in one else "–" for key in keys]
        rows.append(cells)
    columns = [(escape(str(about.get("name", "group"))), ""), ROWS]
    columns += [(_SHORT.get(key, key.replace("_", " ")), "number") for key in keys]
    return Panel(
        name="groups",
        title="By group",
        body=tables.table(columns, rows),
        note="Withheld: too few rows of the group, of one of its classes or of those called so; or "
        "what is left of the totals would give such a group away.",
        wide=True,
    )
