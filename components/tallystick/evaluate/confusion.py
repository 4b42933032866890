"""Counts of a binary classifier's right and wrong answers, and the metrics that follow."""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """The four counts of one set of rows."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @classmethod
    def of(cls, rows: int, positive: int, called: int, hits: int) -> Self:
        """Take the counts from the margins and the rows that are positive and called so."""
        return cls(
            true_positive=hits,
            false_positive=called - hits,
            false_negative=positive - hits,
            true_negative=rows - called - positive + hits,
        )

    @property
    def matrix(self) -> list[list[int]]:
        """Rows: truly negative, truly positive. Columns: called negative, called positive."""
        return [
            [self.true_negative, self.false_positive],
            [self.false_negative, self.true_positive],
        ]

    @property
    def positive(self) -> int:
        """How many rows are truly positive."""
        return self.true_positive + self.false_negative

    @property
    def negative(self) -> int:
        """How many rows are truly negative."""
        return self.true_negative + self.false_positive

    @property
    def called(self) -> int:
        """How many rows are called positive."""
        return self.true_positive + self.false_positive

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.positive + self.negative

    @property
    def recall(self) -> float:
        """The part of the positive rows that are called so."""
        return _ratio(self.true_positive, self.positive)

    @property
    def specificity(self) -> float:
        """The part of the negative rows that are called so."""
        return _ratio(self.true_negative, self.negative)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.true_positive, self.called + self.positive)

    def metrics(self) -> dict[str, float]:
        """Return the metrics; nought where a quotient is not defined, as in scikit-learn."""
        # A class without rows has no part in the balance.
        parts = [
            part
            for part, rows in ((self.recall, self.positive), (self.specificity, self.negative))
            if rows
        ]
        margins = self.called * (self.rows - self.called) * self.positive * self.negative
        determinant = (
            self.true_positive * self.true_negative - self.false_positive * self.false_negative
        )
        return {
            "accuracy": _ratio(self.true_positive + self.true_negative, self.rows),
            "balanced_accuracy": sum(parts) / max(1, len(parts)),
            "precision": _ratio(self.true_positive, self.called),
            "recall": self.recall,
            "specificity": self.specificity,
            "f1": self.f1,
            "mcc": determinant / math.sqrt(margins) if margins else 0.0,
        }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
