"""Fit a preparation to one owner's columns, one column after the other.

A column at a time is in memory, whatever the width of the table, so medians and quantiles are
exact. Means, deviations and categories come from the training rows alone; what must hold of every
row is checked on every row.
"""

# N = rows, T = training rows.

import dataclasses
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError
from tallystick.tables import preparation
from tallystick.tables.appearance import Numbers
from tallystick.tables.preparation import Number, OneHot, Ordinal, Preparation, Transform
from tallystick.tables.rules import CategoryRule, DateRule, NumberRule, Rule

_MOST_TOGETHER = 0.5
"""Where more of the training rows share the feature of rare categories, the owner is told."""
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of a column."""

    transforms: tuple[Transform, ...] = ()
    notes: tuple[str, ...] = ()
    """What its owner should know: that it was left out, or hardly tells rows apart, and why."""


def kind_of(name: str, kind: pa.DataType) -> str:
    """Return whether a column holds numbers, categories or dates; empty if it holds nothing.

    Raises:
        DataError: it holds none of these.
    """
    if pa.types.is_null(kind):
        return ""
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    ):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "category"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date"
    raise DataError(
        f"column {name!r} holds values of type {kind}, which are neither numbers, text nor dates; "
        "drop it, or turn it into one of these"
    )


def require_schema(prepared: Preparation, schema: pa.Schema, name: str) -> None:
    """Refuse a table whose columns differ from those that were prepared, naming each.

    Args:
        prepared: how columns were prepared before.
        schema: of the table.
        name: what messages call it.

    Raises:
        DataError: a column is missing, or holds another kind of values.
    """
    wanted = {transform.column: _kind_before(transform) for transform in prepared.transforms}
    missing = [column for column in wanted if column not in schema.names]
    problems = [f"{', '.join(map(repr, missing))} missing"] if missing else []
    for column, before in wanted.items():
        if column in schema.names:
            now = kind_of(column, schema.field(column).type)
            if now not in (before, ""):
                problems.append(f"{column!r} holds a {now} in each row where it held a {before}")
    if problems:
        raise DataError(
            f"{name} has not the columns that the model was trained by: {'; '.join(problems)}"
        )


def _kind_before(transform: Transform) -> str:
    if isinstance(transform, Number):
        return "date" if transform.part else "number"
    return "category"


def fit(name: str, column: pa.ChunkedArray, rule: Rule, train_rows: Rows) -> Fitted:
    """Fit what is done to one column.

    Args:
        name: the column's.
        column: all rows of it.
        rule: what its owner wants.
        train_rows: positions of the training rows.

    Raises:
        DataError: the column does not allow it; the message names it and what would help.
    """
    if column.null_count == len(column):
        return Fitted(notes=(f"column {name!r} has no values and is left out",))
    if isinstance(rule, CategoryRule):
        return _category(name, column, rule, train_rows)
    if isinstance(rule, DateRule):
        found = [
            fit_number(
                name, preparation.date_part(column, part), rule.number(), train_rows, part=part
            )
            for part in rule.parts
        ]
        transforms = tuple(transform for one in found for transform in one.transforms)
        # Dates within one year, or at midnight, have parts that are constant: no cause for a note.
        notes = () if transforms else (f"column {name!r} is constant and is left out",)
        return Fitted(transforms, notes)
    return fit_number(name, preparation.as_numbers(column, name), rule, train_rows)


def fit_number(
    name: str, values_N: Floats, rule: NumberRule, train_rows: Rows, *, part: str = ""
) -> Fitted:
    """Fit what is done to numbers; NaN is a missing value."""
    missing_N = np.isnan(values_N)
    if rule.fill == "refuse" and missing_N.any():
        raise preparation.missing_values(name, int(missing_N.sum()), len(values_N))
    train_T = values_N[train_rows]
    present = train_T[~np.isnan(train_T)]
    if not len(present):
        return Fitted(notes=(f"column {name!r} has no values to learn from and is left out",))
    indicator = rule.indicator and len(present) < len(train_T)
    begun = prefilled(present, rule)
    low, high = None, None
    if rule.clip is not None:
        filled_T = Number(column=name, fill=begun).scaled(train_T)
        low, high = map(float, np.quantile(filled_T, rule.clip))
    unscaled = Number(
        column=name,
        part=part,
        fill=None if rule.fill == "refuse" else begun,
        indicator=indicator,
        low=low,
        high=high,
        log1p=rule.log1p,
    )
    prepared_T = unscaled.scaled(train_T)
    if prepared_T.min() == prepared_T.max() and not indicator:
        return Fitted(notes=(f"column {name!r} is constant and is left out",))
    shift, scale = _scaling(name, prepared_T, rule.scale)
    fitted = dataclasses.replace(unscaled, shift=shift, scale=scale)
    require_room(fitted, values_N)
    return Fitted((fitted,))


def prefilled(present: Floats, rule: NumberRule) -> float:
    """Return what stands for a missing value."""
    match rule.fill:
        case "median":
            return float(np.median(present))
        case "mean" | "refuse":
            with np.errstate(over="ignore", invalid="ignore"):
                return float(present.mean())
        case constant:
            return float(constant)


def require_room(fitted: Number, values_N: Floats) -> None:
    """Refuse a column of which a row, prepared, has no room in fixed point.

    Every transform keeps the order of numbers, so the least and the greatest tell.

    Raises:
        DataError: naming it and the remedy.
    """
    present = values_N[~np.isnan(values_N)]
    ends = np.array([present.min(), present.max()]) if len(present) else np.empty(0)
    preparation.require_small(fitted.scaled(ends)[:, None], fitted.features[:1])


def _scaling(name: str, values_T: Floats, scale: str) -> tuple[float, float]:
    """Return what to subtract and what to divide by."""
    match scale:
        case "standard":
            return _standard(name, values_T)
        case "minmax":
            low, high = float(values_T.min()), float(values_T.max())
            return low, (high - low) or 1.0
        case "robust":
            low, middle, high = map(float, np.quantile(values_T, [0.25, 0.5, 0.75]))
            return middle, (high - low) or 1.0
    return 0.0, 1.0


def _standard(name: str, values_T: Floats) -> tuple[float, float]:
    """Return mean and deviation.

    Numbers are constant when their variance is within rounding error of nought; the bound is
    scikit-learn's (``_is_constant_feature`` in its preprocessing module).
    """
    num_rows, epsilon = len(values_T), np.finfo(np.float64).eps
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = float(values_T.mean()), float(values_T.var())
    if not np.isfinite(mean + variance):
        raise DataError(
            f"column {name!r} holds numbers too large to standardise; give it in a larger unit"
        )
    rounding = num_rows * epsilon * variance + (num_rows * mean * epsilon) ** 2
    return mean, 1.0 if variance <= rounding else float(np.sqrt(variance))


def _category(name: str, column: pa.ChunkedArray, rule: CategoryRule, train_rows: Rows) -> Fitted:
    texts = preparation.as_categories(column)
    if rule.order:
        unknown = int((preparation.places(texts, rule.order) < 0).sum())
        if unknown and rule.encode == "ordinal":
            raise DataError(
                f"column {name!r} holds values that are not in its order, in {unknown} of "
                f"{len(column)} rows; add them to the order (a missing value is '')"
            )
    if rule.encode == "ordinal":
        return Fitted((Ordinal(column=name, order=rule.order),))
    counted = pc.value_counts(texts.take(pa.array(train_rows)))
    counts = {str(entry["values"]): int(entry["counts"].as_py()) for entry in counted}
    fitted = settled(name, counts, len(train_rows), rule)
    doubt = doubts(name, texts, rule)
    # That its texts share a feature follows from what the doubt says.
    kept = () if doubt and fitted.transforms else fitted.notes
    return dataclasses.replace(fitted, notes=kept + doubt)


def settled(name: str, counts: dict[str, int], rows: int, rule: CategoryRule) -> Fitted:
    """Decide which categories have a feature of their own.

    The rule is that of scikit-learn's OneHotEncoder with ``min_frequency`` and ``max_categories``.

    Args:
        name: the column's.
        counts: how many training rows each category has.
        rows: how many training rows there are.
        rule: what its owner wants.
    """
    if rule.order:
        other = any(category not in rule.order for category in counts)
        return Fitted((OneHot(column=name, categories=rule.order, other=other),))
    known = sorted(counts)
    count_K = np.array([counts[category] for category in known])
    rare_K = count_K < rule.rare * rows
    if rule.most < len(known) - rare_K.sum() + 1:
        rare_K[np.argsort(count_K, kind="stable")[: -(int(rule.most) - 1)]] = True
    kept = tuple(category for category, rare in zip(known, rare_K, strict=True) if not rare)
    transform = OneHot(column=name, categories=kept, other=bool(rare_K.any()))
    if len(transform.features) < 2:
        why = "is constant" if kept else f"has no value that {rule.rare:.0%} of the rows share"
        return Fitted(notes=(f"column {name!r} {why} and is left out",))
    together = count_K[rare_K].sum() / rows
    if together <= _MOST_TOGETHER:
        return Fitted((transform,))
    note = (
        f"column {name!r} has so many different texts that {together:.0%} of the training rows "
        f"share the one feature {transform.features[-1]}; map it to fewer, lower rare or raise "
        "most, or drop it"
    )
    return Fitted((transform,), (note,))


def doubts(name: str, texts: pa.ChunkedArray, rule: CategoryRule) -> tuple[str, ...]:
    """Say of a column of categories that it looks like numbers, and what to do; no value of it."""
    numbers = None if rule.order else Numbers.among(texts)
    if numbers is None or not numbers.misread:
        return ()
    return (
        f"column {name!r} looks like numbers, and was read as text, which makes categories of "
        f"them: {numbers.remedy(name)}",
    )
