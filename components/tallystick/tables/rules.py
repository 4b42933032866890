"""What an owner wants done to its columns: the ``preparation`` of a job, checked.

.. code-block:: yaml

    preparation:
      keep: [age, income, "lab_*"]        # names or patterns; all columns by default
      drop: ["*_comment"]
      numbers: {fill: mean, scale: standard}                  # what holds for all numbers,
      categories: {encode: one_hot, rare: 0.01, most: 32}     # for all categories,
      dates: {parts: [year, month, day, weekday]}             # and for all dates
      columns:                                                # and for some, by name or pattern
        income: {fill: median, indicator: true, clip: [0.01, 0.99], log1p: true, scale: robust}
        grade: {encode: ordinal, order: [low, middle, high]}
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

from tallystick.runtime.errors import ConfigError

FILLS = ("mean", "median", "refuse")
SCALES = ("standard", "minmax", "robust", "none")
ENCODINGS = ("one_hot", "ordinal")
PARTS = ("year", "month", "day", "weekday", "hour", "minute", "days")
MOST_CATEGORIES = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberRule:
    """What is done to a number: fill, clip, log1p, scale, in this order."""

    fill: str | float = "mean"
    """In place of a missing value: mean or median of the others, a constant; or refuse."""
    indicator: bool = False
    """Whether one more column says where values were missing."""
    clip: tuple[float, float] | None = None
    """Quantiles beyond which values are cut off, such as 0.01 and 0.99."""
    log1p: bool = False
    """Whether log(1 + x) stands for x, which must be above -1."""
    scale: str = "standard"
    """standard: mean 0, deviation 1. minmax: from 0 to 1. robust: median 0, quartiles 1 apart."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(
            self.fill in FILLS or _is_number(self.fill), "fill", f"{', '.join(FILLS)} or a number"
        )
        _require(isinstance(self.indicator, bool), "indicator", "true or false")
        _require(isinstance(self.log1p, bool), "log1p", "true or false")
        _require(self.scale in SCALES, "scale", f"one of {', '.join(SCALES)}")
        good = self.clip is None or (
            len(self.clip) == 2
            and all(_is_number(bound) for bound in self.clip)
            and 0 <= self.clip[0] < self.clip[1] <= 1
        )
        _require(good, "clip", "two quantiles from 0 to 1, the lower one first")


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryRule:
    """What is done to a category. A missing value is a category like others."""

    encode: str = "one_hot"
    """one_hot: a column of noughts and ones for each. ordinal: its place in an order."""
    order: tuple[str, ...] = ()
    """All categories, in their order. An ordinal encoding needs it."""
    rare: float = 0.01
    """Categories of a smaller part of the rows share one column; so do unknown ones later on."""
    most: int = 32
    """No more than so many columns; the rarest categories share one then."""
    announce: bool = False
    """Between parties with different rows: whether the names of common categories are told."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(self.encode in ENCODINGS, "encode", f"one of {', '.join(ENCODINGS)}")
        _require(
            all(isinstance(name, str) for name in self.order)
            and len(set(self.order)) == len(self.order),
            "order",
            "a list of different texts",
        )
        _require(bool(self.order) or self.encode != "ordinal", "order", "given for encode: ordinal")
        _require(_is_number(self.rare) and 0 <= self.rare < 1, "rare", "from 0 to below 1")
        whole = _is_number(self.most) and self.most == int(self.most)
        _require(
            whole and 2 <= self.most <= MOST_CATEGORIES, "most", f"from 2 to {MOST_CATEGORIES}"
        )
        _require(isinstance(self.announce, bool), "announce", "true or false")


@dataclass(frozen=True, kw_only=True, slots=True)
class DateRule:
    """What is done to a date: it becomes numbers, each of them filled and scaled."""

    parts: tuple[str, ...] = ("year", "month", "day", "weekday")
    """Which numbers; days is the number of days since 1970, with fractions."""
    fill: str | float = "mean"
    indicator: bool = False
    scale: str = "standard"

    def __post_init__(self) -> None:
        """Check ranges."""
        good = bool(self.parts) and all(part in PARTS for part in self.parts)
        _require(
            good and len(set(self.parts)) == len(self.parts), "parts", f"some of {', '.join(PARTS)}"
        )
        self.number()

    def number(self) -> NumberRule:
        """Return what is done to each of the numbers."""
        return NumberRule(fill=self.fill, indicator=self.indicator, scale=self.scale)


Rule = NumberRule | CategoryRule | DateRule
_KINDS: Mapping[str, tuple[str, type[NumberRule] | type[CategoryRule] | type[DateRule]]] = {
    "number": ("numbers", NumberRule),
    "category": ("categories", CategoryRule),
    "date": ("dates", DateRule),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is done to a whole table."""

    keep: tuple[str, ...] = ("*",)
    drop: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    categories: Mapping[str, Any] = field(default_factory=dict)
    dates: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, Any], *, standardise: bool = True) -> Self:
        """Take them from the parameter of a job.

        Args:
            given: as in this module's example.
            standardise: false if numbers are left as they are unless a rule says otherwise.

        Raises:
            ConfigError: names the key, and what is allowed.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for key in given:
            if key not in known:
                raise ConfigError(
                    f"preparation has no key {key!r}; it knows {', '.join(sorted(known))}"
                )
        for key in ("keep", "drop"):
            names = given.get(key, [])
            if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
                raise ConfigError(f"preparation.{key} must be a list of names or patterns")
        for key in ("numbers", "categories", "dates", "columns"):
            if not isinstance(given.get(key, {}), Mapping):
                raise ConfigError(f"preparation.{key} must be a mapping")
        for name, wanted in given.get("columns", {}).items():
            if not isinstance(wanted, Mapping):
                raise ConfigError(f"preparation.columns.{name} must be a mapping")
        scale = {} if standardise else {"scale": "none"}
        rules = cls(
            keep=tuple(given.get("keep", ("*",))),
            drop=tuple(given.get("drop", ())),
            numbers={**scale, **given.get("numbers", {})},
            categories=dict(given.get("categories", {})),
            dates={**scale, **given.get("dates", {})},
            columns={name: dict(wanted) for name, wanted in given.get("columns", {}).items()},
        )
        for kind in _KINDS:
            rules.of("", kind)
        for name, wanted in rules.columns.items():
            if not any(_fits(wanted, rule) for _, rule in _KINDS.values()):
                raise ConfigError(
                    f"preparation.columns.{name}: no kind of column knows all of "
                    f"{', '.join(map(repr, wanted))}; {_what_there_is()}"
                )
        return rules

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return the names that are kept and not dropped, in their order.

        Raises:
            ConfigError: a name or a pattern is of no column.
        """
        for key, patterns in (("keep", self.keep), ("drop", self.drop), ("columns", self.columns)):
            for pattern in patterns:
                if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                    raise ConfigError(
                        f"preparation.{key}: no column is called {pattern!r} or matches it"
                    )
        return [
            name
            for name in names
            if any(fnmatchcase(name, pattern) for pattern in self.keep)
            and not any(fnmatchcase(name, pattern) for pattern in self.drop)
        ]

    def of(self, name: str, kind: str) -> Rule:
        """Return what is done to a column: what is said of its kind, then of it.

        Raises:
            ConfigError: what is said is not meant for a column of this kind, or out of range.
        """
        where, rule = _KINDS[kind]
        wanted = dict(getattr(self, where))
        place = f"preparation.{where}"
        if not _fits(wanted, rule):
            raise ConfigError(f"{place} holds an unknown key; {_what_there_is()}")
        for pattern, more in self.columns.items():
            if name and fnmatchcase(name, pattern):
                place = f"preparation.columns.{pattern}"
                if not _fits(more, rule):
                    raise ConfigError(
                        f"{place} says {', '.join(map(repr, more))}, but column {name!r} is a "
                        f"{kind}; {_what_there_is()}, and reading.types can declare another kind"
                    )
                wanted |= more
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in wanted.items()
        }
        try:
            return rule(**fields)
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{place}: {error}") from None


def _fits(wanted: Mapping[str, Any], rule: type) -> bool:
    return wanted.keys() <= {entry.name for entry in dataclasses.fields(rule)}


def _what_there_is() -> str:
    return "; ".join(
        f"a {kind} takes {', '.join(entry.name for entry in dataclasses.fields(rule))}"
        for kind, (_, rule) in _KINDS.items()
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, key: str, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{key} must be {allowed}")
