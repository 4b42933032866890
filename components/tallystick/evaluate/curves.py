"""Curves in plaintext, from the opened buckets: ROC, precision and recall, gain, lift, calibration.

Each end of a bucket is a point: the rows above it are called positive.
"""

from dataclasses import dataclass
from itertools import accumulate

from tallystick.evaluate.buckets import Buckets
from tallystick.evaluate.confusion import Confusion

RULES = ("youden", "f1")


@dataclass(frozen=True, slots=True)
class Point:
    """A place between two buckets, and what follows if the rows above it are called positive."""

    threshold: float
    """Halfway between the mean scores of the buckets above and below."""
    confusion: Confusion

    @property
    def false_positive_rate(self) -> float:
        """The part of the negative rows that are called positive."""
        return 1 - self.confusion.specificity

    @property
    def called_part(self) -> float:
        """The part of all rows that are called positive."""
        return self.confusion.called / self.confusion.rows

    @property
    def precision(self) -> float:
        """The part of those called positive that are; 1 where nobody is called."""
        called = self.confusion.called
        return self.confusion.true_positive / called if called else 1.0

    @property
    def lift(self) -> float:
        """How many times as many positive rows stand above as chance would put there."""
        return self.confusion.recall / self.called_part


def points(buckets: Buckets) -> list[Point]:
    """Return the curve's points from nobody called positive to all rows."""
    above = [(0, 0)]
    above += zip(accumulate(buckets.rows), accumulate(buckets.positives), strict=True)
    rows, positive = above[-1]
    between = [(a + b) / 2 for a, b in zip(buckets.means, buckets.means[1:], strict=False)]
    first, last = (buckets.means[0], buckets.means[-1]) if buckets.means else (0.0, 0.0)
    return [
        Point(threshold, Confusion.of(rows, positive, called, hits))
        for threshold, (called, hits) in zip([first, *between, last], above, strict=True)
    ]


def choose(curve: list[Point], rule: str) -> Point:
    """Return the point that an agreed rule picks: the first of the best ones.

    Args:
        curve: of a model with rows of both classes.
        rule: youden for the greatest recall + specificity, f1 for the greatest F1.
    """
    if rule == "f1":
        return max(curve, key=lambda point: point.confusion.f1)
    return max(curve, key=lambda point: point.confusion.recall - point.false_positive_rate)


def tenths(curve: list[Point]) -> list[Point]:
    """Return the points nearest to a tenth, two tenths... of all rows, each point once."""
    found: list[Point] = []
    for tenth in range(1, 11):
        point = min(curve[1:], key=lambda p: abs(p.called_part - tenth / 10))
        if abs(point.called_part - tenth / 10) < 0.05 and point not in found:
            found.append(point)
    return found
