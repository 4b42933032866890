"""What a column looks like beside what it was read as; shapes are looked at, and no value is told.

Arrow takes a column of a CSV file for text as soon as one value is no number, and whole numbers for
numbers also where they are codes, whose leading zeros are lost then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tallystick.tables.dialect import Dialect
from tallystick.tables.streaming import Source

FEW_TEXTS = 20
"""Numbers among at most so many different texts may well be categories, as in 0, 1, 2, 3+."""
SAMPLED_ROWS = 1000
"""So many values are looked at for dates."""
_WHOLE = r"^[+-]?[0-9]+$"
_POINT = r"^[+-]?([0-9]*\.[0-9]+|[0-9]+\.|[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]+)$"
_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
_CODE = r"^0[0-9]+$"
_DATE_FORMS = {
    "%d.%m.%Y": r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}$",
    "%d/%m/%Y": r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$",
    "%m/%d/%Y": r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$",
    "%d-%m-%Y": r"^[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}$",
    "%Y/%m/%d": r"^[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}$",
}
"""Dates beside ISO 8601, which are known anyway; where two forms fit all values, the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """How many of a column's texts are numbers, and of which form."""

    whole: int
    point: int
    comma: int
    others: int
    """Texts that are no numbers; what is empty is none."""
    different: int

    @classmethod
    def among(cls, texts: pa.ChunkedArray) -> "Numbers":
        """Count them in a column of text."""
        counted = pc.value_counts(_present(texts))
        values = pc.utf8_trim_whitespace(counted.field("values"))

        def having(form: str) -> int:
            fits = pc.match_substring_regex(values, form)
            return int(pc.sum(counted.field("counts").filter(fits), min_count=0).as_py())

        whole, point, comma = having(_WHOLE), having(_POINT), having(_COMMA)
        present = int(pc.sum(counted.field("counts"), min_count=0).as_py())
        others = present - whole - point - comma
        return cls(whole=whole, point=point, comma=comma, others=others, different=len(values))

    @property
    def misread(self) -> bool:
        """Whether it is likelier a column of numbers; whole ones alone were declared text."""
        if self.different <= FEW_TEXTS:
            return bool(self.comma and not self.others)
        numbers = self.whole + self.point + self.comma
        return numbers > self.others and bool(self.point or self.comma or self.others)

    def remedy(self, name: str) -> str:
        """Say what lets the column be read as numbers."""
        found = []
        present = self.whole + self.point + self.comma + self.others
        if self.others:
            found.append(
                f"correct the values that are none ({self.others} of {present}), or name what "
                "stands for no value in reading.missing"
            )
        if self.comma and not self.point:
            found.append(
                'declare reading: {decimal: ","} if the whole table is written so, or write them '
                "with a point"
            )
        elif self.comma:
            found.append("write all of them with a point, or all with a comma")
        elif not self.others:
            found.append(f"declare reading: {{types: {{{name}: number}}}}, and no decimal")
        return "; ".join(found)


def hint(name: str, column: pa.ChunkedArray, *, comma: bool) -> dict[str, Any]:
    """Return what to declare of a column of text that holds numbers or dates in another form.

    Args:
        name: the column's.
        column: all of it.
        comma: whether the table may be declared to have decimal commas.
    """
    texts = column.cast(pa.string())
    numbers = Numbers.among(texts)
    if numbers.misread:
        has_commas = numbers.comma and not numbers.point
        if has_commas and not comma:
            return {}
        types = {"types": {name: "number"}} if numbers.others or not has_commas else {}
        return {**({"decimal": ","} if has_commas else {}), **types}
    sample = _present(texts).slice(0, SAMPLED_ROWS)
    for form, pattern in _DATE_FORMS.items():
        if not len(sample) or not pc.all(pc.match_substring_regex(sample, pattern)).as_py():
            continue
        if not pc.strptime(sample, format=form, unit="s", error_is_null=True).null_count:
            return {"types": {name: f"date:{form}"}}
    return {}


def codes(
    location: str, id_columns: Sequence[str], dialect: Dialect, names: Sequence[str]
) -> set[str]:
    """Return which columns of whole numbers are written with leading zeros in the first piece."""
    if not names:
        return set()
    as_text = {**dialect.types, **dict.fromkeys(names, "category")}
    first = next(Source(location, id_columns, replace(dialect, types=as_text)).batches())
    return {
        name
        for name in names
        if pc.any(pc.match_substring_regex(first.column(name), _CODE), min_count=0).as_py()
    }


def _present(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return texts.filter(pc.not_equal(pc.fill_null(texts, ""), ""))
