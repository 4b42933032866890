"""Data of the same shape as a job's own: columns or pixels, kinds, rows; and none of the values.

Every row has a latent number. It is the sum of the table's numbers by weights of their own, or what
a pattern is added to an image by; the label follows from all parties' together, with noise.
"""

# N = rows, C = channels, H = height, W = width.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from tallystick.job import Job
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import image_files
from tallystick.tables.images import ImageRules, ImageSet

MAX_ROWS = 5_000
"""More rows tell no more of the arithmetic, and take longer."""
_MAX_PIXELS = 1 << 24
_LEVELS = 8
"""The most different texts of a column."""
_GROUPS = 3
_LABEL_NOISE = 0.5
_MOST_CLASSES = 20
"""Whole numbers of more values are measures."""
_STATE = ("checkpoints", "warm_start", "prepared")
_KINDS = {"linear_regression": "number"}
"""Models that learn a number whatever the label looks like."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is taken from a party's data."""

    rows: int
    kinds: Mapping[str, type]
    """Of a table: float for a column of numbers, str for any other, by name and in order."""
    pixels: tuple[int, ...] = ()
    """Of images: C, H, W."""
    is_table: bool = True
    has_label: bool = False
    classes: int = 0
    """How many different values the label has, if this party holds it and it is no number."""


class Copy:
    """A party's synthetic data.

    Args:
        shape: of its own.
        special: names of columns that are no features: ids, the label and the group.
        rows: how many.
        first: the number of the first row.
        seed: of all that is drawn; the same for parties that hold different rows of one table.
    """

    def __init__(
        self, shape: Shape, special: Mapping[str, Sequence[str]], rows: int, first: int, seed: int
    ) -> None:
        weights, values = np.random.default_rng(seed), np.random.default_rng([seed, first])
        self.shape = shape
        self.latent_N = np.zeros(rows)
        self.label_N: NDArray[Any] | None = None
        self.table = pd.DataFrame(_columns(shape.kinds, special, rows, first, values))
        numbers = self.table.drop(columns=[*special["ids"]], errors="ignore")
        numbers = numbers.select_dtypes("number")
        if numbers.shape[1]:
            weights_F = weights.normal(size=numbers.shape[1]) / np.sqrt(numbers.shape[1])
            self.latent_N = numbers.to_numpy() @ weights_F
        self.images: NDArray[np.uint8] | None = None
        if shape.pixels:
            self.latent_N = values.normal(size=rows)
            pattern = weights.normal(size=shape.pixels)
            noise = values.normal(size=(rows, *shape.pixels))
            pixels = 128 + 20 * (self.latent_N[:, None, None, None] * pattern + noise)
            self.images = np.moveaxis(pixels, 1, 3).clip(0, 255).astype(np.uint8)

    def write(self, folder: Path, party: str, label: str, *, shuffled: bool) -> str:
        """Write it, and return the file's name."""
        if self.images is not None:
            labels: dict[str, Any] = {} if self.label_N is None else {"labels": self.label_N}
            np.savez(folder / f"{party}.npz", images=self.images, **labels)
            return f"{party}.npz"
        if not self.shape.is_table:
            assert self.label_N is not None
            np.save(folder / f"{party}.npy", self.label_N)
            return f"{party}.npy"
        table = self.table if self.label_N is None else self.table.assign(**{label: self.label_N})
        if shuffled:
            table = table.sample(frac=1, random_state=len(party))
        table.to_csv(folder / f"{party}.csv", index=False)
        return f"{party}.csv"


def write_job(job: Job, folder: Path, rows: int | None) -> Path:
    """Write synthetic data and a job file for them.

    Args:
        job: whose data are on this machine.
        folder: for all of it.
        rows: of each party; as many as the smallest has by default, at most 5000.

    Returns:
        The job file.

    Raises:
        ConfigError: the job does not train, or its images are named by a column.
        DataError: a party's data cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    label = job.params.get("label")
    if "train" not in job.package.steps or not isinstance(label, str):
        raise ConfigError(
            "parity compares jobs that train, such as those of training and direct; of the "
            f"pipeline {job.package.name!r} there is nothing to repeat in plaintext"
        )
    shapes = {party: _shape(job.arguments(party), party, label) for party in job.parties}
    count = rows or min(MAX_ROWS, *(shape.rows for shape in shapes.values()))
    count = min(count, *(_MAX_PIXELS // math.prod(shape.pixels) for shape in shapes.values()))
    is_horizontal = job.params.get("layout") == "horizontal"
    owners = [party for party, shape in shapes.items() if shape.has_label]
    if len(owners) != (len(shapes) if is_horizontal else 1):
        wanted = "every party" if is_horizontal else "exactly one party"
        raise ConfigError(f"{wanted} must hold the label {label!r}, not {len(owners)}")
    ids = job.params.get("id_columns")
    special = {
        "ids": [*map(str, ids)] if isinstance(ids, list) else [],
        "label": [label],
        "group": [str(job.params.get("group", ""))],
    }
    copies = {
        party: Copy(
            shape, special, count, is_horizontal * place * count, (not is_horizontal) * place
        )
        for place, (party, shape) in enumerate(shapes.items())
    }
    everybody: NDArray[Any] = np.sum([copy.latent_N for copy in copies.values()], axis=0)
    for place, party in enumerate(owners):
        latent_N = copies[party].latent_N if is_horizontal else everybody
        noise_N = np.random.default_rng([7, place]).normal(size=count)
        copies[party].label_N = _label(job, latent_N + _LABEL_NOISE * noise_N, shapes[party])
    files = {
        party: copy.write(folder, party, label, shuffled="psi" in job.package.steps)
        for party, copy in copies.items()
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(_job(job, files), sort_keys=False), encoding="utf-8")
    return path


def _job(job: Job, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "session": job.session,
        "pipeline": str(job.package.path),
        "parties": {
            party: {**_of_any_data(own), "data": files[party]} for party, own in job.parties.items()
        },
        "dealer": job.dealer,
        "params": _of_any_data(job.params),
    }


def _of_any_data(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is of the job's own data: earlier parameters, and where other files lie."""
    found = {name: value for name, value in parameters.items() if name not in _STATE}
    if isinstance(images := found.get("images"), dict):
        own = ("labels", "folder", "size")
        found["images"] = {key: value for key, value in images.items() if key not in own}
    return found


def _shape(arguments: Mapping[str, Any], party: str, label: str) -> Shape:
    path, rules = Path(str(arguments.get("data"))), ImageRules.parse(arguments.get("images") or {})
    if rules.column:
        raise ConfigError(
            f"parity makes no images that a column names, as {party!r} has them; give data as a "
            "folder or an array of images for it"
        )
    if path.exists() and image_files.holds_images(str(path)):
        found = image_files.open_set(str(path), rules)
        labels = found.labels if isinstance(found, ImageSet) else found
        classes = 0 if labels is None else _classes(pd.Series(labels.to_pylist()))
        rows, pixels = (
            (found.rows, found.shape) if isinstance(found, ImageSet) else (len(found), ())
        )
        return Shape(rows, {}, pixels, False, labels is not None, classes)
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the data of {party!r}, {path}, cannot be read ({type(error).__name__}); parity "
            "needs every party's own, or some of the same columns, on this machine"
        ) from None
    kinds = {
        str(name): float if pd.api.types.is_numeric_dtype(column) else str
        for name, column in table.items()
    }
    has_label = label in table
    classes = _classes(table[label]) if has_label else 0
    return Shape(len(table), kinds, has_label=has_label, classes=classes)


def _classes(column: "pd.Series[Any]") -> int:
    """Return the number of classes, or 0 for a column of numbers that measure something."""
    different = column.dropna().unique()
    is_measure = pd.api.types.is_numeric_dtype(column) and (
        len(different) > _MOST_CLASSES or bool((different % 1 != 0).any())
    )
    return 0 if is_measure else len(different)


def _columns(
    kinds: Mapping[str, type],
    special: Mapping[str, Sequence[str]],
    rows: int,
    first: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    texts = np.array([f"text-{number}" for number in range(_LEVELS)])
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name in special["ids"]:
            columns[name] = np.arange(first, first + rows) + 100_000
        elif name in special["group"]:
            columns[name] = texts[rng.integers(0, _GROUPS, rows)]
        elif name in special["label"]:
            continue
        elif kind is float:
            columns[name] = rng.normal(size=rows).round(6)
        else:
            columns[name] = texts[rng.integers(0, _LEVELS, rows)]
    return columns


def _label(job: Job, noisy_N: NDArray[np.float64], shape: Shape) -> NDArray[Any]:
    params = job.params
    number = "number" in (params.get("label_kind"), _KINDS.get(str(params.get("model"))))
    if number or not shape.classes:
        return (noisy_N * 10 + 50).round(6)
    names = params.get("label_classes") or [*range(shape.classes)]
    assert isinstance(names, list)
    edges = np.quantile(noisy_N, np.linspace(0, 1, len(names) + 1)[1:-1])
    return np.array(names)[np.searchsorted(edges, noisy_N)]
