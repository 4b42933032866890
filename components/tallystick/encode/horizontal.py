"""Different rows of the same columns: one preparation for all, fitted by secure sums.

Roles: each of P parties holds T_p training rows of the same columns; T = sum T_p is public.

By sums over all rows, each divided by T (:mod:`tallystick.encode.sums`), for each number x:

=================  =============================================================================
opened             what follows
=================  =============================================================================
sum 1, sum x       the part of the rows that have the value; the mean, which fills the others
sum z              where x became z, filled and perhaps taken log1p of: its mean
sum (z - mean)**2  its deviation
=================  =============================================================================

For a category only bits are opened: with n_c the joint count of category c, whether n_c reaches the
``rare`` part of T, and whether any row has a category that does not. Names come from the job
(``order``), or, where the job says ``announce``, from the parties: each tells the names that reach
the ``rare`` part of its own rows. A category that reaches it jointly does so at some party, so no
other name needs to be told.

Rounds: 2 messages, 3 openings of sums and 2 of comparisons, whatever the number of columns.
Learnt: by every party the values of the table above, which with two parties tell each the other's
sums; the bits and names of categories; which columns the others have, and their kinds.
Adversary: semi-honest, as everywhere.
"""

# T = training rows of this party, N = all of its rows.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallystick.encode import sums
from tallystick.encode.own import Columns
from tallystick.runtime import events
from tallystick.runtime.errors import DataError, ProtocolViolation
from tallystick.runtime.session import Session
from tallystick.tables import fitting, preparation
from tallystick.tables.fitting import Floats
from tallystick.tables.preparation import Number, OneHot, Ordinal, Transform
from tallystick.tables.rules import CategoryRule, DateRule, NumberRule, Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    """A number on its way, as far as it is known. Its values are read anew for each sum."""

    transform: Number
    rule: NumberRule
    ends: Floats
    """The least and the greatest of this party's values; none where it has none."""


class _Values:
    """This party's numbers, one column in memory at a time."""

    def __init__(self, columns: Columns, train_rows: NDArray[np.int64]) -> None:
        self._columns = columns
        self._train_rows = train_rows

    def of(self, transform: Number) -> Floats:
        """Return all values, NaN where one is missing."""
        name, part = transform.column, transform.part
        column = self._columns.spool.column(name)
        if pa.types.is_null(column.type):
            return np.full(len(column), np.nan)
        if part:
            return preparation.date_part(column, part)
        return preparation.as_numbers(column, name)

    def trained_on(self, transform: Number) -> Floats:
        """Return the values of the training rows."""
        found: Floats = self.of(transform)[self._train_rows]
        return found


def fit(session: Session, columns: Columns, train_rows: NDArray[np.int64], total: int) -> None:
    """Fit one preparation together, and keep it in ``columns``.

    Args:
        session: the joined session.
        columns: this party's, in the joint order.
        train_rows: which of this party's rows train.
        total: how many rows train at all parties.

    Raises:
        DataError: a column does not allow what is wanted.
    """
    found: dict[str, list[Transform]] = {name: [] for name in columns.kinds}
    numbers: list[_Fit] = []
    values = _Values(columns, train_rows)
    categories: list[_Category] = []
    for name, kind in columns.kinds.items():
        rule = columns.rules.of(name, kind or "number")
        if not kind:
            _left_out(name, "has no values")
        elif isinstance(rule, CategoryRule):
            texts = preparation.as_categories(columns.spool.column(name))
            for note in fitting.doubts(name, texts, rule):
                events.emit("warning", message=note)
            categories.append(_Category(name, rule, _counts(texts, train_rows)))
        else:
            numbers += _numbers(name, rule, values)
    for one in _fit_numbers(session, numbers, values, total):
        found[one.column].append(one)
    for transform in _fit_categories(session, categories, len(train_rows), total):
        found[transform.column].append(transform)
    columns.transforms = tuple(one for transforms in found.values() for one in transforms)


def _numbers(name: str, rule: Rule, values: _Values) -> list[_Fit]:
    """Return the numbers that a column becomes: itself, or a date's parts."""
    parts: Sequence[str] = rule.parts if isinstance(rule, DateRule) else ("",)
    number = rule.number() if isinstance(rule, DateRule) else rule
    assert isinstance(number, NumberRule)
    constant = number.fill if isinstance(number.fill, int | float) else None
    fill = None if constant is None else float(constant)
    found = []
    for part in parts:
        transform = Number(column=name, part=part, fill=fill, log1p=number.log1p)
        values_N = values.of(transform)
        present = values_N[~np.isnan(values_N)]
        if number.fill == "refuse" and len(present) < len(values_N):
            raise preparation.missing_values(name, len(values_N) - len(present), len(values_N))
        ends = np.array([present.min(), present.max()]) if len(present) else np.empty(0)
        found.append(_Fit(transform=transform, rule=number, ends=ends))
    return found


def _fit_numbers(
    session: Session, numbers: Sequence[_Fit], values: _Values, total: int
) -> list[Number]:
    if not numbers:
        return []

    def having_and_sum(one: _Fit) -> tuple[float, float]:
        values_T = values.trained_on(one.transform)
        present = values_T[~np.isnan(values_T)]
        return len(present) / total, present.sum() / total

    opened = sums.joint(
        session,
        np.array([having_and_sum(one) for one in numbers]).ravel(),
        "parts of the rows that have a value, and sums of the values, of each number",
        "missing values are filled by the joint mean",
    ).reshape(-1, 2)
    known: list[_Fit] = []
    for one, (having, summed) in zip(numbers, opened, strict=True):
        if having < 0.5 / total:
            _left_out(one.transform.column, "has no values to learn from")
            continue
        lacking = bool(having < 1 - 0.5 / total)
        transform = replace(one.transform, indicator=one.rule.indicator and lacking)
        if transform.fill is None and one.rule.fill != "refuse":
            transform = replace(transform, fill=float(summed / having))
        known.append(replace(one, transform=transform))

    def prepared(one: _Fit) -> Floats:
        return one.transform.scaled(values.trained_on(one.transform))

    means = sums.joint(
        session,
        np.array([prepared(one).sum() / total for one in known]),
        "mean of each number, filled and transformed",
        "numbers are brought to mean 0",
    )
    variances = sums.joint(
        session,
        np.array(
            [
                ((prepared(one) - mean) ** 2).sum() / total
                for one, mean in zip(known, means, strict=True)
            ]
        ),
        "variance of each number, filled and transformed",
        "numbers are brought to deviation 1",
    )
    fitted = []
    for one, mean, variance in zip(known, means, variances, strict=True):
        constant = sums.is_constant(mean, variance)
        transform = one.transform
        if constant and not transform.indicator:
            if not transform.part:
                _left_out(transform.column, "is constant")
            continue
        if one.rule.scale == "standard":
            scale = 1.0 if constant else math.sqrt(variance)
            transform = replace(transform, shift=float(mean), scale=scale)
        fitting.require_room(transform, one.ends)
        fitted.append(transform)
    return fitted


@dataclass(frozen=True, slots=True)
class _Category:
    """A category on its way."""

    name: str
    rule: CategoryRule
    counts: Mapping[str, int]
    """How many of this party's training rows each value has."""


def _fit_categories(
    session: Session, categories: Sequence[_Category], rows: int, total: int
) -> list[Transform]:
    if not categories:
        return []
    for one in categories:
        unknown = [category for category in one.counts if category not in one.rule.order]
        if one.rule.encode == "ordinal" and unknown:
            raise DataError(
                f"column {one.name!r} holds {len(unknown)} values that are not in its order; add "
                "them (a missing value is '')"
            )
    names = _announced(session, categories, rows)
    asked = [
        (number, category)
        for number, one in enumerate(categories)
        if not one.rule.order
        for category in names[number]
    ]
    common = sums.reached(
        session,
        [categories[number].counts.get(category, 0) for number, category in asked],
        [max(1, math.ceil(categories[number].rule.rare * total)) for number, _ in asked],
        "whether each category is common",
    )
    is_common = dict(zip(asked, common, strict=True))
    kept = [
        one.rule.order or tuple(c for c in names[number] if is_common[number, c])
        for number, one in enumerate(categories)
    ]
    others = sums.reached(
        session,
        [
            sum(count for category, count in one.counts.items() if category not in own)
            for one, own in zip(categories, kept, strict=True)
        ],
        [1] * len(categories),
        "whether each column has other categories",
    )
    fitted: list[Transform] = []
    for one, own, other in zip(categories, kept, others, strict=True):
        if one.rule.encode == "ordinal":
            fitted.append(Ordinal(column=one.name, order=one.rule.order))
            continue
        transform = OneHot(column=one.name, categories=own, other=other)
        if len(transform.features) > one.rule.most and not one.rule.order:
            raise DataError(
                f"column {one.name!r} has more than {one.rule.most} common categories; raise rare "
                "or most"
            )
        if len(transform.features) < 2:
            _left_out(one.name, "has one category alone, or no common one")
        else:
            fitted.append(transform)
    return fitted


def _counts(column: pa.ChunkedArray, train_rows: NDArray[np.int64]) -> dict[str, int]:
    counted = pc.value_counts(column.take(pa.array(train_rows)))
    return {str(entry["values"]): int(entry["counts"].as_py()) for entry in counted}


def _announced(
    session: Session, categories: Sequence[_Category], rows: int
) -> list[tuple[str, ...]]:
    """Tell each other the categories that are common at oneself, where the job says so."""
    told = [
        sorted(c for c, n in one.counts.items() if n >= max(1, one.rule.rare * rows))
        if not one.rule.order
        else []
        for one in categories
    ]
    answers = session.exchange({"categories": told})
    joint: list[set[str]] = [set() for _ in categories]
    for party, answer in zip(session.parties, answers, strict=True):
        theirs = answer.get("categories")
        good = isinstance(theirs, list) and len(theirs) == len(categories)
        good = good and all(
            isinstance(one, list) and all(isinstance(text, str) for text in one)
            for one in theirs or []
        )
        if not good:
            raise ProtocolViolation(
                f"party {party!r} did not send its categories in the agreed form; check that it "
                "runs the same version of tallystick"
            )
        for known, one in zip(joint, theirs or [], strict=True):
            known.update(one)
    if count := sum(map(len, joint)):
        session.ledger.note(
            "names of categories that are common at a party",
            count=count,
            why="the job says announce for these columns",
        )
    return [tuple(sorted(known)) for known in joint]


def _left_out(name: str, why: str) -> None:
    events.emit("warning", message=f"column {name!r} {why} and is left out")
