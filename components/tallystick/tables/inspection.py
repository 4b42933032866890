"""What a table holds, and what would be done to it: for its owner, before anything is shared.

Nothing here leaves the machine. Values are shown to nobody either; of a category its number of
different values is.
"""

# N = rows.

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallystick.runtime.errors import DataError
from tallystick.tables import appearance, fitting, preparation
from tallystick.tables.dialect import Dialect
from tallystick.tables.preparation import Number, OneHot
from tallystick.tables.rules import Rules
from tallystick.tables.spool import Spool
from tallystick.tables.streaming import Source

FEW_CLASSES = 20
"""A column of at most so many different values may be a label of classes."""
_LABELS = ("y", "label", "target", "class", "outcome", "default", "churn")


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column, as its owner may see it."""

    name: str
    type: str
    """As the file holds or shows it."""
    kind: str
    """number, category, date; id; empty where it holds nothing or cannot be used."""
    missing: int
    different: int
    becomes: str
    """What the rules do to it, or why they leave it out."""
    features: int
    reading: Mapping[str, Any] = field(default_factory=dict)
    """What its owner might declare, for it looks like something else than it was read as."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A table, as its owner may see it."""

    name: str
    rows: int
    columns: tuple[Column, ...]
    ids: tuple[str, ...]
    """Columns that name a row: what was asked for, or else those that look like it."""
    label: str
    """A column that looks like a label; empty without one."""
    label_kind: str

    def better(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the table might be better read, beside what is declared already."""
        hints = [column.reading for column in self.columns if column.reading]
        if not hints:
            return dict(reading)
        types = {name: kind for hint in hints for name, kind in hint.get("types", {}).items()}
        decimal = {"decimal": ","} if any("decimal" in hint for hint in hints) else {}
        more = {"types": {**types, **reading.get("types", {})}} if types else {}
        return {**reading, **decimal, **more}

    def job(self, location: str, given: Mapping[str, Any]) -> str:
        """Return the lines of a job file that fit this table.

        Args:
            location: where the table lies.
            given: its owner's ``reading`` and ``preparation``, as far as there are any.
        """
        drop = [c.name for c in self.columns if not c.kind and c.type != "null"]
        own: dict[str, Any] = {"data": location, **{k: v for k, v in given.items() if v}}
        if better := self.better(given.get("reading", {})):
            own["reading"] = better
        if drop:
            rules = own.get("preparation", {})
            own["preparation"] = {**rules, "drop": [*rules.get("drop", []), *drop]}
        model = "linear_regression" if self.label_kind == "number" else "logistic_regression"
        lines = [
            "session: my-session-1",
            "pipeline: training",
            "parties:",
            f"  me:    {flow(own)}",
            "  other: {data: THE OTHER PARTY'S TABLE}",
            "dealer: notary",
            "params:",
            f"  id_columns: {flow(list(self.ids) or ['THE COLUMNS THAT NAME A ROW'])}",
            f"  label: {flow(self.label or 'A COLUMN THAT ONE PARTY HOLDS')}",
            f"  model: {model}",
        ]
        return "\n".join(lines) + "\n"


def inspect(
    location: str,
    *,
    id_columns: Sequence[str],
    label: str,
    dialect: Dialect,
    rules: Rules,
    folder: Path,
) -> Inspection:
    """Look at a table, and fit the rules to all of its rows.

    Args:
        location: of the table.
        id_columns: the columns that name a row; with none, those are looked for.
        label: the label's column; empty if it is to be looked for.
        dialect: how the table is written.
        rules: what is to be done to its columns.
        folder: where the table is spooled.

    Raises:
        DataError: the table cannot be read.
        ConfigError: a rule does not fit it.
    """
    source = Source(location, id_columns, dialect)
    spool = Spool.fill(source, folder)
    names = spool.schema.names
    chosen = set(rules.chosen([name for name in names if name not in id_columns]))
    hints = _hints(spool, location, id_columns, dialect)
    columns: list[Column] = []
    ids = list(id_columns)
    for name in names:
        column = _column(spool, name, rules, taken=name not in chosen)
        column = replace(column, reading=hints.get(name, {}))
        if not id_columns and _names_rows(column, spool.rows) and not ids:
            ids.append(name)
        if name in ids:
            column = replace(
                column, kind="id", becomes="names a row; it is not shared", features=0, reading={}
            )
        columns.append(column)
    found = label or next((n for n in names if n.lower() in _LABELS and n not in ids), "")
    about = next((c for c in columns if c.name == found), None)
    is_number = about is not None and about.kind == "number" and about.different > FEW_CLASSES
    return Inspection(
        name=source.name,
        rows=spool.rows,
        columns=tuple(columns),
        ids=tuple(ids),
        label=found,
        label_kind="number" if is_number else "classes",
    )


def _column(spool: Spool, name: str, rules: Rules, *, taken: bool) -> Column:
    column = spool.column(name)
    kind, features = "", 0
    missing = column.null_count
    try:
        kind = fitting.kind_of(name, column.type)
        if kind == "number":
            missing = int(np.isnan(preparation.as_numbers(column, name)).sum())
        elif kind == "category":
            missing += int(pc.sum(pc.equal(column, ""), min_count=0).as_py())
        if taken:
            becomes = "is dropped by the rules"
        else:
            rule = rules.of(name, kind or "number")
            fitted = fitting.fit(name, column, rule, np.arange(spool.rows))
            features = sum(len(transform.features) for transform in fitted.transforms)
            told = [_told(transform, missing) for transform in fitted.transforms]
            becomes = "; ".join([*told, *(note.partition("' ")[2] for note in fitted.notes)])
    except DataError as error:
        becomes = f"is refused: {error}"
        kind = ""
    try:
        different = len(column.unique())
    except NotImplementedError:  # Arrow counts no lists
        different = 0
    return Column(
        name=name,
        type=str(column.type),
        kind=kind,
        missing=missing,
        different=different,
        becomes=becomes,
        features=features,
    )


def _hints(
    spool: Spool, location: str, id_columns: Sequence[str], dialect: Dialect
) -> dict[str, dict[str, Any]]:
    """Return what might be declared of each column that nothing is declared of."""
    fields = [
        field
        for field in spool.schema
        if field.name not in dialect.types and field.name not in id_columns
    ]
    # With decimal commas, numbers with a point would be text.
    comma = not any(pa.types.is_floating(field.type) for field in fields)
    texts = [
        f.name for f in fields if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
    ]
    whole = [field.name for field in fields if pa.types.is_integer(field.type)]
    return {
        **{name: appearance.hint(name, spool.column(name), comma=comma) for name in texts},
        **{
            name: {"types": {name: "category"}}
            for name in appearance.codes(location, id_columns, dialect, whole)
        },
    }


def _names_rows(column: Column, rows: int) -> bool:
    """Say whether a column looks like an id: text or whole numbers, all of them different."""
    whole = column.type in ("string", "large_string") or "int" in column.type
    return whole and not column.missing and column.different == rows > 1


def _told(transform: preparation.Transform, missing: int) -> str:
    """Say what a transform does, without a value."""
    match transform:
        case Number():
            steps = ["gaps filled" if missing and transform.fill is not None else ""]
            steps += ["with a column for gaps" if transform.indicator else ""]
            steps += ["clipped" if transform.low is not None else ""]
            steps += ["log1p" if transform.log1p else ""]
            steps += ["scaled" if (transform.shift, transform.scale) != (0.0, 1.0) else ""]
            told = ", ".join(step for step in steps if step) or "as it is"
            return f"{transform.part}: {told}" if transform.part else told
        case OneHot():
            other = " and one for all others" if transform.other else ""
            return f"one-hot: a column for each of {len(transform.categories)} values{other}"
    return f"its place in an order of {len(transform.order)} values"


def flow(value: object) -> str:
    """Write a value as YAML, on one line: JSON is YAML, and plain words need no quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    text = str(value)
    plain = isinstance(value, str) and text.replace("_", "").replace(".", "").isalnum()
    if (
        plain
        and not text[0].isdigit()
        and text.lower() not in ("y", "n", "yes", "no", "true", "false", "null", "on", "off")
    ):
        return text
    return json.dumps(value, ensure_ascii=False)
