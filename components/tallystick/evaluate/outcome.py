"""What an evaluation found, in one form for every kind of model: for KFP, MLflow and people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tallystick.evaluate import curves
from tallystick.evaluate.binary import Binary
from tallystick.evaluate.curves import Point
from tallystick.evaluate.multiclass import Multiclass
from tallystick.evaluate.regression import Regression


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Opened totals, and what follows from them."""

    found: Binary | Multiclass | Regression
    metrics: dict[str, float]
    matrix: list[list[int]] | None = None
    """Confusion counts of the shown classes. Rows: the truth."""
    class_names: list[str]
    points: Sequence[Point] = ()
    """The curve of a binary classifier."""
    chosen: Point | None = None
    """The point of the curve that the agreed rule picks."""
    rule: str

    @classmethod
    def of(
        cls,
        found: Binary | Multiclass | Regression,
        rule: str,
        names: Sequence[object] = (),
    ) -> Self:
        """Derive all that follows from what was opened.

        Args:
            found: what was opened.
            rule: picks a threshold from the curve.
            names: of the label's classes, if all parties may know them.
        """
        metrics = dict(found.metrics)
        match found:
            case Binary():
                points = curves.points(found.buckets) if found.buckets else []
                chosen = curves.choose(points, rule) if points else None
                if chosen:
                    metrics["chosen_threshold"] = chosen.threshold
                return cls(
                    found=found,
                    metrics=metrics,
                    matrix=found.confusion.matrix if found.confusion else None,
                    class_names=[*map(str, names)] or ["negative", "positive"],
                    points=points,
                    chosen=chosen,
                    rule=rule,
                )
            case Multiclass():
                return cls(
                    found=found,
                    metrics=metrics,
                    matrix=[[row[name] for name in found.shown] for row in found.matrix],
                    class_names=[
                        str(names[name]) if names else f"class {name + 1}" for name in found.shown
                    ],
                    rule=rule,
                )
        return cls(found=found, metrics=metrics, class_names=[], rule=rule)
