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


@dataclass(slots=True)
class _Fit:
    """A number on its way: what this party has of it, and what is known of it so far."""

    transform: Number
    rule: NumberRule
    values_T: Floats
    values_N: Floats


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
    categories: list[tuple[str, pa.ChunkedArray, CategoryRule]] = []
    for name, kind in columns.kinds.items():
        column, rule = columns.spool.column(name), columns.rules.of(name, kind or "number")
        if not kind:
            _left_out(name, "has no values")
        elif isinstance(rule, CategoryRule):
            categories.append((name, preparation.as_categories(column), rule))
        else:
            numbers += _numbers(name, column, rule, train_rows)
    for one in _fit_numbers(session, numbers, total):
        found[one.column].append(one)
    for transform in _fit_categories(session, categories, train_rows, total):
        found[transform.column].append(transform)
    columns.transforms = tuple(one for transforms in found.values() for one in transforms)


def _numbers(
    name: str, column: pa.ChunkedArray, rule: Rule, train_rows: NDArray[np.int64]
) -> list[_Fit]:
    """Return the numbers that a column becomes: itself, or a date's parts."""
    parts: Sequence[str] = rule.parts if isinstance(rule, DateRule) else ("",)
    number = rule.number() if isinstance(rule, DateRule) else rule
    assert isinstance(number, NumberRule)
    found = []
    for part in parts:
        values_N = _values(name, column, part)
        missing = int(np.isnan(values_N).sum())
        if number.fill == "refuse" and missing:
            raise preparation.missing_values(name, missing, len(values_N))
        constant = number.fill if isinstance(number.fill, int | float) else None
        transform = Number(
            column=name,
            part=part,
            fill=None if constant is None else float(constant),
            log1p=number.log1p,
        )
        found.append(_Fit(transform, number, values_N[train_rows], values_N))
    return found


def _values(name: str, column: pa.ChunkedArray, part: str) -> Floats:
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    return preparation.date_part(column, part) if part else preparation.as_numbers(column, name)


def _fit_numbers(session: Session, numbers: list[_Fit], total: int) -> list[Number]:
    if not numbers:
        return []
    present = [one.values_T[~np.isnan(one.values_T)] for one in numbers]
    parts = [[len(values) / total, values.sum() / total] for values in present]
    opened = sums.joint(
        session,
        np.array(parts).ravel(),
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
    prepared = [one.transform.scaled(one.values_T) for one in known]
    means = sums.joint(
        session,
        np.array([values.sum() / total for values in prepared]),
        "mean of each number, filled and transformed",
        "numbers are brought to mean 0",
    )
    deviations = [
        ((values - mean) ** 2).sum() / total for values, mean in zip(prepared, means, strict=True)
    ]
    variances = sums.joint(
        session,
        np.array(deviations),
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
        fitting.require_room(transform, one.values_N)
        fitted.append(transform)
    return fitted


def _fit_categories(
    session: Session,
    categories: Sequence[tuple[str, pa.ChunkedArray, CategoryRule]],
    train_rows: NDArray[np.int64],
    total: int,
) -> list[Transform]:
    if not categories:
        return []
    counts = [_counts(column, train_rows) for _, column, _ in categories]
    for (name, _, rule), found in zip(categories, counts, strict=True):
        unknown = [category for category in found if category not in rule.order]
        if rule.encode == "ordinal" and unknown:
            raise DataError(
                f"column {name!r} holds {len(unknown)} values that are not in its order; add them "
                "(a missing value is '')"
            )
    names = _announced(session, categories, counts, len(train_rows))
    asked = [
        (number, category)
        for number, (_, _, rule) in enumerate(categories)
        if not rule.order
        for category in names[number]
    ]
    needed = [math.ceil(categories[number][2].rare * total) for number, _ in asked]
    common = dict(
        zip(
            asked,
            sums.reached(
                session,
                [counts[number].get(category, 0) for number, category in asked],
                [max(1, count) for count in needed],
                "whether each category is common",
            ),
            strict=True,
        )
    )
    kept = [
        rule.order or tuple(c for c in names[number] if common[number, c])
        for number, (_, _, rule) in enumerate(categories)
    ]
    others = sums.reached(
        session,
        [
            sum(count for category, count in found.items() if category not in own)
            for found, own in zip(counts, kept, strict=True)
        ],
        [1] * len(categories),
        "whether each column has other categories",
    )
    fitted: list[Transform] = []
    for (name, _, rule), own, other in zip(categories, kept, others, strict=True):
        if rule.encode == "ordinal":
            fitted.append(Ordinal(column=name, order=rule.order))
            continue
        transform = OneHot(column=name, categories=own, other=other)
        if len(transform.features) > rule.most and not rule.order:
            raise DataError(
                f"column {name!r} has more than {rule.most} common categories; raise rare or most"
            )
        if len(transform.features) < 2:
            _left_out(name, "has one category alone, or no common one")
        else:
            fitted.append(transform)
    return fitted


def _counts(column: pa.ChunkedArray, train_rows: NDArray[np.int64]) -> dict[str, int]:
    counted = pc.value_counts(column.take(pa.array(train_rows)))
    return {str(entry["values"]): int(entry["counts"].as_py()) for entry in counted}


def _announced(
    session: Session,
    categories: Sequence[tuple[str, pa.ChunkedArray, CategoryRule]],
    counts: Sequence[Mapping[str, int]],
    rows: int,
) -> list[tuple[str, ...]]:
    """Tell each other the categories that are common at oneself, where the job says so."""
    told = [
        sorted(c for c, count in found.items() if count >= max(1, rule.rare * rows))
        if not rule.order
        else []
        for (_, _, rule), found in zip(categories, counts, strict=True)
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
