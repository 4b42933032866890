"""Different rows of the same columns: one preparation for all, fitted by secure sums.

Roles: each of P parties holds T_p training rows of the same columns; T = sum T_p is public.

A sum over all rows of a number s_p that each party has (a sum of its own rows, divided by T) is
shared in two words, and both are opened as sums alone, through the ledger::

    coarse = sum_p round(s_p * 2**8)          |s| < 2**52
    fine   = sum_p round(s_p * 2**48)         modulo 2**64
    s      = (fine + 2**64 k) / 2**48         k = round((coarse * 2**40 - fine) / 2**64)

so s is right to about 2**-38 whatever its size. With it, for each number x (1 where present):

=================  =============================================================================
opened             what follows
=================  =============================================================================
sum 1, sum x       the part of the rows that have the value; the mean, which fills the others
sum z              where x became z = log1p(filled x), or a constant fills: the mean of z
sum (z - mean)**2  the deviation of z
=================  =============================================================================

For a category only bits are opened: with n_c the joint count of category c, whether n_c reaches the
``rare`` part of T, and whether any row has a category that does not. Names come from the job
(``order``), or, where the job says ``announce``, from the parties: each tells the names that reach
the ``rare`` part of its own rows. A category that reaches it jointly does so at some party, so no
other name needs to be told.

Rounds: 2 messages, and 3 openings and at most 2 comparisons, whatever the number of columns.
Learnt: by every party the values of the table above, which with two parties tell each the other's
sums; the bits and names of categories; which columns the others have, and their kinds. Of minimum,
maximum, median and quantiles there is no secure sum: rules that need them are refused.
Adversary: semi-honest, as everywhere.
"""

# T = training rows of this party, V = values to sum, K = categories.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from tallystick.encode.layout import refused_together
from tallystick.encode.own import Columns
from tallystick.runtime import events
from tallystick.runtime.errors import ConfigError, DataError, ProtocolViolation
from tallystick.runtime.session import Session
from tallystick.tables import fitting, preparation
from tallystick.tables.fitting import Floats
from tallystick.tables.preparation import Number, OneHot, Ordinal, Transform
from tallystick.tables.rules import CategoryRule, DateRule, NumberRule, Rule

COARSE_BITS, FINE_BITS = 8, 48
MOST = 2.0**50
"""A party's part of a joint mean is smaller."""
MOST_NAMED = 10
"""So many differences between schemas stand in a message."""
_CONSTANT = 2.0**-30
"""A variance below this is rounding, and so is a deviation of 2**-45 of the mean."""


def require_summable(columns: Columns) -> None:
    """Refuse rules that need more than sums, before anybody is dialled.

    Raises:
        ConfigError: naming the column and what can be done.
    """
    for name, kind in columns.kinds.items():
        rule = columns.rules.of(name, kind or "number")
        if isinstance(rule, CategoryRule):
            if not rule.order and not rule.announce:
                raise ConfigError(
                    f"column {name!r} is a category, and parties with different rows must agree "
                    "on its values: list them as order, or say announce: true so that the names "
                    "of common ones are told; or drop it"
                )
            continue
        number = rule.number() if isinstance(rule, DateRule) else rule
        if number.fill == "median" or number.clip or number.scale in ("minmax", "robust"):
            raise ConfigError(
                f"column {name!r}: median, clip, minmax and robust need more than sums, and are "
                "not to be had between parties with different rows; use fill: mean or a constant, "
                "and scale: standard or none"
            )


def agree_columns(session: Session, columns: Columns) -> None:
    """Compare the schemas of all parties, and bring the columns into the first party's order.

    Raises:
        DataError: they differ, and in what; at every party.
        ProtocolViolation: a party's message has another form.
    """
    answers = session.exchange({"columns": [[n, k] for n, k in columns.kinds.items()]})
    kinds: list[dict[str, str]] = []
    for party, answer in zip(session.parties, answers, strict=True):
        told = answer.get("columns")
        good = isinstance(told, list) and all(
            isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) for text in one)
            for one in told
        )
        if not good:
            raise ProtocolViolation(
                f"party {party!r} did not send its columns in the agreed form; check that it runs "
                "the same version of tallystick"
            )
        kinds.append({name: kind for name, kind in told or []})
    with refused_together(session):
        first, ours = session.parties[0], kinds[0]
        differing = [
            found
            for party, theirs in zip(session.parties, kinds, strict=True)
            for found in _differing(first, ours, party, theirs)
        ]
        if differing:
            raise DataError(
                "parties with different rows must hold the same columns: "
                f"{'; '.join(differing[:MOST_NAMED])}; rename, drop, or declare reading.types"
            )
        if not ours:
            raise ConfigError(
                "no party holds a feature: beside ids and the label there are no columns; "
                "bring a table with features"
            )
    # A column that is empty at one party is there what it is at the others.
    columns.kinds = {name: next((k[name] for k in kinds if k[name]), "") for name in ours}


def _differing(
    first: str, ours: Mapping[str, str], party: str, theirs: Mapping[str, str]
) -> list[str]:
    return [
        *(f"{name!r} is missing at {party!r}" for name in ours if name not in theirs),
        *(f"{name!r} is missing at {first!r}" for name in theirs if name not in ours),
        *(
            f"{name!r} is a {ours[name]} at {first!r} and a {theirs[name]} at {party!r}"
            for name in ours
            if name in theirs and len({ours[name], theirs[name], ""}) > 2
        ),
    ]


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


def joint_sums(session: Session, parts_V: Floats, what: str, why: str) -> Floats:
    """Open the sums of numbers that each party has a part of, as this module's formula says.

    Raises:
        DataError: a number is too large.
    """
    if not np.all(np.abs(parts_V) < MOST):
        raise DataError(
            "a column holds numbers too large for a joint mean; give it in a larger unit"
        )
    words_2V = np.stack(
        [
            np.rint(parts_V * 2.0**COARSE_BITS).astype(np.int64),
            # Python's whole numbers, for a product may exceed 64 bits.
            np.array([_wrapped(round(float(p) * 2**FINE_BITS)) for p in parts_V], dtype=np.int64),
        ]
    )
    engine = session.engine
    shape = words_2V.shape
    total = torch.zeros(shape, dtype=torch.int64)
    for rank in range(session.world_size):
        mine = torch.from_numpy(words_2V) if rank == session.rank else None
        total = total + engine.share_ring(mine, rank, shape)
    opened = session.ledger.reveal(engine.from_share(total, precision_bits=0), what, why=why)
    assert opened is not None
    coarse_V, fine_V = opened.numpy()
    wraps_V = np.rint((coarse_V * 2.0 ** (FINE_BITS - COARSE_BITS) - fine_V) / 2.0**64)
    result: Floats = (fine_V + wraps_V * 2.0**64) / 2.0**FINE_BITS
    return result


def standard(
    session: Session, values_T: Floats, total: int, what: str, why: str
) -> tuple[float, float]:
    """Return the joint mean and deviation of one number that all parties hold."""
    (mean,) = joint_sums(session, np.array([values_T.sum() / total]), f"mean of {what}", why)
    part = np.array([((values_T - mean) ** 2).sum() / total])
    (variance,) = joint_sums(session, part, f"variance of {what}", why)
    return float(mean), math.sqrt(variance) if variance > _CONSTANT else 1.0


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
    sums = joint_sums(
        session,
        np.array(parts).ravel(),
        "parts of the rows that have a value, and sums of the values, of each number",
        "missing values are filled by the joint mean",
    ).reshape(-1, 2)
    known: list[_Fit] = []
    for one, (having, summed) in zip(numbers, sums, strict=True):
        if having < 0.5 / total:
            _left_out(one.transform.column, "has no values to learn from")
            continue
        lacking = bool(having < 1 - 0.5 / total)
        transform = replace(one.transform, indicator=one.rule.indicator and lacking)
        if transform.fill is None and one.rule.fill != "refuse":
            transform = replace(transform, fill=float(summed / having))
        known.append(replace(one, transform=transform))
    prepared = [one.transform.scaled(one.values_T) for one in known]
    means = joint_sums(
        session,
        np.array([values.sum() / total for values in prepared]),
        "mean of each number, filled and transformed",
        "numbers are brought to mean 0",
    )
    deviations = [
        ((values - mean) ** 2).sum() / total for values, mean in zip(prepared, means, strict=True)
    ]
    variances = joint_sums(
        session,
        np.array(deviations),
        "variance of each number, filled and transformed",
        "numbers are brought to deviation 1",
    )
    fitted = []
    for one, mean, variance in zip(known, means, variances, strict=True):
        constant = bool(variance <= _CONSTANT + (mean * 2.0**-45) ** 2)
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
            _reached(
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
    others = _reached(
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


def _reached(
    session: Session, counts_K: Sequence[int], least_K: Sequence[int], what: str
) -> list[bool]:
    """Open whether joint counts reach their thresholds, and not the counts."""
    if not counts_K:
        return []
    engine = session.engine
    shape = (len(counts_K),)
    total = torch.zeros(shape, dtype=torch.int64)
    for rank in range(session.world_size):
        mine = torch.tensor(counts_K, dtype=torch.int64) if rank == session.rank else None
        total = total + engine.share_ring(mine, rank, shape)
    if session.rank == 0:
        total = total - torch.tensor(least_K, dtype=torch.int64)
    short = engine.negative(engine.from_share(total, precision_bits=0))
    opened = session.ledger.reveal(
        short, what, why="rare categories share one column, and their counts stay hidden"
    )
    assert opened is not None
    return [value < 0.5 for value in opened.tolist()]


def _wrapped(value: int) -> int:
    """Return a whole number modulo 2**64, as int64 has it."""
    return (value + 2**63) % 2**64 - 2**63


def _left_out(name: str, why: str) -> None:
    events.emit("warning", message=f"column {name!r} {why} and is left out")
