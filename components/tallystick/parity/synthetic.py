"""Tables of the same shape as a job's own: columns, kinds, rows; and none of their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tallystick.job import Job
from tallystick.runtime.errors import ConfigError, DataError

MAX_ROWS = 5_000
"""More rows tell no more of the arithmetic, and take longer."""
_LEVELS = 8
"""The most different texts of a column."""
_GROUPS = 3
_LABEL_NOISE = 0.5
_MOST_CLASSES = 20
"""Whole numbers of more values are measures."""
_KINDS = {"linear_regression": "number"}
"""Models that learn a number whatever the label looks like."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is taken from a table."""

    kinds: Mapping[str, type]
    """float for a column of numbers, str for any other, by name and in order."""
    rows: int
    classes: int
    """How many different values the label has, if it stands in this table and is no number."""


@dataclass(frozen=True, slots=True)
class _Special:
    """Columns that are no features."""

    ids: list[Any]
    label: str
    group: str


def write_job(job: Job, folder: Path, rows: int | None) -> Path:
    """Write synthetic tables and a job file for them.

    Args:
        job: whose tables are on this machine.
        folder: for all of it.
        rows: of each table; as many as the smallest table has by default, at most 5000.

    Returns:
        The job file.

    Raises:
        ConfigError: the job has no tables and label, as a job that trains has.
        DataError: a table cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids, label = job.params.get("id_columns"), job.params.get("label")
    if not isinstance(ids, list) or not isinstance(label, str):
        raise ConfigError(
            "parity compares jobs that train: the job's params must name id_columns and label"
        )
    shapes = {
        party: _shape(job.arguments(party).get("data"), party, label) for party in job.parties
    }
    count = rows or min(MAX_ROWS, *(shape.rows for shape in shapes.values()))
    rng = np.random.default_rng(0)
    special = _Special(ids=ids, label=label, group=str(job.params.get("group", "")))
    tables = {party: _features(shape, special, count, rng) for party, shape in shapes.items()}
    owners = [party for party, shape in shapes.items() if label in shape.kinds]
    if len(owners) != 1:
        raise ConfigError(f"exactly one table must hold the label {label!r}, not {len(owners)}")
    signal = sum(
        (_signal(table.drop(columns=[*map(str, ids)]), rng) for table in tables.values()),
        np.zeros(count),
    )
    tables[owners[0]][label] = _label(job, signal, shapes[owners[0]], rng)
    for party, table in tables.items():
        table.sample(frac=1, random_state=len(party)).to_csv(folder / f"{party}.csv", index=False)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(_job(job), sort_keys=False), encoding="utf-8")
    return path


def _job(job: Job) -> dict[str, Any]:
    return {
        "session": job.session,
        "pipeline": str(job.package.path),
        "parties": {
            party: {**_without_state(own), "data": f"{party}.csv"}
            for party, own in job.parties.items()
        },
        "dealer": job.dealer,
        "params": _without_state(job.params),
    }


def _without_state(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where the job keeps its checkpoints: they are of its own data."""
    return {name: value for name, value in parameters.items() if name != "checkpoints"}


def _shape(data: object, party: str, label: str) -> Shape:
    path = Path(str(data))
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the table of {party!r}, {path}, cannot be read ({type(error).__name__}); parity "
            "needs every party's table, or one of the same columns, on this machine"
        ) from None
    return Shape(
        kinds={
            str(name): float if pd.api.types.is_numeric_dtype(column) else str
            for name, column in table.items()
        },
        rows=len(table),
        classes=_classes(table[label]) if label in table else 0,
    )


def _classes(column: "pd.Series[Any]") -> int:
    """Return the number of classes, or 0 for a column of numbers that measure something."""
    different = column.dropna().unique()
    is_measure = pd.api.types.is_numeric_dtype(column) and (
        len(different) > _MOST_CLASSES or bool((different % 1 != 0).any())
    )
    return 0 if is_measure else len(different)


def _features(shape: Shape, special: _Special, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    texts = np.array([f"text-{number}" for number in range(_LEVELS)])
    for name, kind in shape.kinds.items():
        if name in special.ids:
            columns[name] = np.arange(rows) + 100_000
        elif name == special.group:
            columns[name] = texts[rng.integers(0, _GROUPS, rows)]
        elif name != special.label and kind is float:
            columns[name] = rng.normal(size=rows).round(6)
        elif name != special.label:
            columns[name] = texts[rng.integers(0, _LEVELS, rows)]
    return pd.DataFrame(columns)


def _signal(features: pd.DataFrame, rng: np.random.Generator) -> Any:
    numbers = features.select_dtypes("number").to_numpy()
    return numbers @ rng.normal(size=numbers.shape[1]) / np.sqrt(max(1, numbers.shape[1]))


def _label(job: Job, signal: Any, shape: Shape, rng: np.random.Generator) -> Any:
    noisy = signal + _LABEL_NOISE * rng.normal(size=len(signal))
    params = job.params
    number = "number" in (params.get("label_kind"), _KINDS.get(str(params.get("model"))))
    if number or not shape.classes:
        return (noisy * 10 + 50).round(6)
    names = params.get("label_classes") or [*range(shape.classes)]
    assert isinstance(names, list)
    edges = np.quantile(noisy, np.linspace(0, 1, len(names) + 1)[1:-1])
    return np.array(names)[np.searchsorted(edges, noisy)]
