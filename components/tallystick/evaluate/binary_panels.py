"""What the page shows of a binary classifier."""

from collections.abc import Sequence

from tallystick.evaluate import charts, curves, tables
from tallystick.evaluate.binary import Binary
from tallystick.evaluate.charts import UNIT, Axis, Line, Ring
from tallystick.evaluate.curves import Point
from tallystick.evaluate.outcome import Outcome
from tallystick.evaluate.panel import ROWS, Panel

_RULES = {
    "youden": "the greatest recall + specificity",
    "f1": "the greatest F1",
}
_CALIBRATION = 12
"""Buckets of the calibration: with more of them chance drowns what is to be seen."""
_BINS = 20


def draw(outcome: Outcome, found: Binary) -> list[Panel]:
    """Return the panels in the order of the page, of what was not withheld."""
    panels = []
    if outcome.matrix:
        panels.append(
            Panel(
                name="confusion",
                title="Confusion matrix",
                body=tables.confusion(outcome.matrix, outcome.class_names),
                note="At the agreed threshold. Per cent of each line.",
            )
        )
    if outcome.chosen:
        panels.append(_chosen(outcome, outcome.chosen))
    if outcome.points:
        here = _at(found, outcome.points)
        panels += [
            _roc(outcome, here),
            _precision_recall(outcome, here),
            _ks(outcome),
            _gain(outcome.points),
            _lift(outcome.points),
            *_scores(found),
            _tenths(outcome.points),
        ]
    return panels


def _chosen(outcome: Outcome, chosen: Point) -> Panel:
    counts = chosen.confusion
    return Panel(
        name="confusion_chosen",
        title="At the chosen threshold",
        body=tables.confusion(counts.matrix, outcome.class_names),
        note=f"At the point of the curve with {_RULES[outcome.rule]}, which calls the highest "
        f"{chosen.called_part:.1%} of the rows positive: scores above about "
        f"{tables.number(chosen.threshold)}. F1 {counts.f1:.3f}, precision "
        f"{chosen.precision:.3f}, recall {counts.recall:.3f}.",
    )


def _at(found: Binary, points: Sequence[Point]) -> Point | None:
    """Return the point of the agreed threshold."""
    return next((point for point in points if point.confusion == found.confusion), None)


def _roc(outcome: Outcome, here: Point | None) -> Panel:
    points = [(p.false_positive_rate, p.confusion.recall) for p in outcome.points]
    return Panel(
        name="roc",
        title="ROC curve",
        figure=charts.line_chart(
            Axis("false positive rate", UNIT),
            Axis("recall", UNIT),
            [Line(points)],
            said=f"ROC curve, area {outcome.metrics['auc']:.3f}",
            guide=((0, 0), (1, 1)),
            rings=[_ring(here.false_positive_rate, here.confusion.recall)] if here else [],
        ),
        note=f"AUC {outcome.metrics['auc']:.3f}, from all rows; dashed: guessing.",
    )


def _precision_recall(outcome: Outcome, here: Point | None) -> Panel:
    base = outcome.points[0].confusion
    rate = base.positive / base.rows
    points = [(p.confusion.recall, p.precision) for p in outcome.points[1:]]
    average = outcome.metrics["average_precision"]
    return Panel(
        name="precision_recall",
        title="Precision and recall",
        figure=charts.line_chart(
            Axis("recall", UNIT),
            Axis("precision", UNIT),
            [Line(points)],
            said=f"Precision over recall, average precision {average:.3f}",
            guide=((0, rate), (1, rate)),
            rings=[_ring(here.confusion.recall, here.precision, above=True)] if here else [],
        ),
        note=f"Average precision {average:.3f}, from all rows; dashed: the part of positive rows, "
        f"{rate:.1%}.",
    )


def _ks(outcome: Outcome) -> Panel:
    points = outcome.points
    widest = max(points, key=lambda p: abs(p.confusion.recall - p.false_positive_rate))
    x = widest.called_part
    return Panel(
        name="ks",
        title="Separation (KS)",
        figure=charts.line_chart(
            Axis("rows, highest score first", UNIT, per_cent=True),
            Axis("found", UNIT, per_cent=True),
            [
                Line([(p.called_part, p.confusion.recall) for p in points], "positive", "a"),
                Line([(p.called_part, p.false_positive_rate) for p in points], "negative", "b"),
            ],
            said=f"Part of the positive and negative rows found, KS {outcome.metrics['ks']:.3f}",
            guide=((x, widest.false_positive_rate), (x, widest.confusion.recall)),
        ),
        note=f"KS {outcome.metrics['ks']:.3f}, the widest distance of all rows; dashed: the widest "
        "of the points drawn.",
    )


def _gain(points: Sequence[Point]) -> Panel:
    return Panel(
        name="gain",
        title="Cumulative gain",
        figure=charts.line_chart(
            Axis("rows, highest score first", UNIT, per_cent=True),
            Axis("positive rows found", UNIT, per_cent=True),
            [Line([(p.called_part, p.confusion.recall) for p in points])],
            said="Part of the positive rows among the highest scores",
            guide=((0, 0), (1, 1)),
        ),
        note="How many of the positive rows one finds by looking at the highest scores first.",
    )


def _lift(points: Sequence[Point]) -> Panel:
    tenths = curves.tenths(list(points))
    before = [points[0], *tenths]
    bars = [
        (a.called_part, b.called_part, [_rate_between(a, b)])
        for a, b in zip(before, tenths, strict=False)
    ]
    highest = max(height for _, _, (height,) in bars)
    return Panel(
        name="lift",
        title="Lift by tenths",
        figure=charts.bar_chart(
            Axis("rows, highest score first", UNIT, per_cent=True),
            Axis("lift", charts.ticks(0, highest)),
            bars,
            said="Lift of each tenth of the rows",
            guide=1.0,
        ),
        note="How many times as many positive rows a tenth holds as all rows do; dashed: 1.",
    )


def _rate_between(a: Point, b: Point) -> float:
    """Return the lift of the rows between two points."""
    counts = b.confusion
    rows = counts.called - a.confusion.called
    hits = counts.true_positive - a.confusion.true_positive
    return hits / rows * counts.rows / counts.positive


def _scores(found: Binary) -> list[Panel]:
    """Calibration and distribution, which need the buckets' mean scores."""
    buckets = found.buckets
    assert buckets is not None
    low, high = min(0.0, *buckets.means), max(1.0, *buckets.means)
    probabilities = "brier" in found.metrics
    edges = Axis("mean probability" if probabilities else "mean score", UNIT)
    if not probabilities:
        edges = Axis(edges.name, charts.ticks(low, high))
    first, last = edges.ticks[0], edges.ticks[-1]
    heights = [[0.0, 0.0] for _ in range(_BINS)]
    for rows, positives, mean in zip(buckets.rows, buckets.positives, buckets.means, strict=True):
        place = min(_BINS - 1, max(0, int((mean - first) / (last - first) * _BINS)))
        heights[place][0] += positives
        heights[place][1] += rows - positives
    width = (last - first) / _BINS
    distribution = Panel(
        name="distribution",
        title="Distribution of scores",
        figure=charts.bar_chart(
            edges,
            Axis("rows", charts.ticks(0, max(map(sum, heights)))),
            [(first + i * width, first + (i + 1) * width, h) for i, h in enumerate(heights)],
            said="Number of positive and negative rows by score",
            names=("positive", "negative"),
        ),
        note=f"Each of {len(buckets.rows)} buckets of rows stands at its mean score.",
    )
    if not probabilities:
        return [distribution]
    points = _joined(list(zip(buckets.rows, buckets.positives, buckets.means, strict=True)))
    return [
        Panel(
            name="calibration",
            title="Calibration",
            figure=charts.line_chart(
                edges,
                Axis("part that is positive", UNIT),
                [Line(points)],
                said="Part of positive rows over mean probability",
                guide=((0, 0), (1, 1)),
            ),
            note=f"Dashed: probabilities that come true. Brier score "
            f"{found.metrics['brier']:.3f}, log loss {found.metrics['log_loss']:.3f}.",
        ),
        distribution,
    ]


def _joined(buckets: list[tuple[int, int, float]]) -> list[tuple[float, float]]:
    """Join neighbouring buckets; return mean score and part of positive rows, in rising order."""
    each = -(-len(buckets) // _CALIBRATION)
    points = []
    for begin in range(0, len(buckets), each):
        part = buckets[begin : begin + each]
        rows = sum(count for count, _, _ in part)
        mean = sum(count * mean for count, _, mean in part) / rows
        points.append((mean, sum(positives for _, positives, _ in part) / rows))
    return points[::-1]


def _tenths(points: Sequence[Point]) -> Panel:
    tenths = curves.tenths(list(points))
    rows = []
    for before, point in zip([points[0], *tenths], tenths, strict=False):
        here, above = point.confusion, before.confusion
        count, hits = here.called - above.called, here.true_positive - above.true_positive
        rows.append(
            [
                f"highest {point.called_part:.0%}",
                f"{count:,}",
                f"{hits:,}",
                f"{hits / count:.1%}",
                f"{here.recall:.1%}",
                f"{point.lift:.2f}",
                tables.number(point.threshold),
            ]
        )
    columns = [("scores", ""), ROWS, ("positive", "number"), ("rate", "number")]
    columns += [("gain", "number"), ("cumulative lift", "number"), ("down to about", "number")]
    return Panel(
        name="tenths",
        title="Gain and lift by tenths",
        body=tables.table(columns, rows),
        note="Equal scores stay together, so a tenth may hold a little more or less. A threshold "
        "is told as halfway between the mean scores on both sides of it.",
        wide=True,
    )


def _ring(x: float, y: float, *, above: bool = False) -> Ring:
    return Ring(x, y, "agreed threshold", above)
