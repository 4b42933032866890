"""The shares artifact: this party's share of every feature and of the label, on disk.

::

    manifest.json       joint: rows, row_order, columns, label, precision_bits, split, standardised
    features.arrow      one int64 column for each feature of all parties, named "owner.column"
    label.arrow         one int64 column
    preparation.json    how this party prepared its own columns (see preparation.py)

The Arrow files are memory-mapped: a batch costs the pages that it touches. Rows stand in the
aligned order; which of them train and which test follows from the manifest's seed and fraction.
"""

# N = rows, F = features of all parties. Shares are int64 modulo 2**64.

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import split

KIND = "shares"
FEATURES = "features.arrow"
LABEL = "label.arrow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """One party's shares, opened for reading."""

    manifest: Manifest
    train_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    _features: tuple[NDArray[np.int64], ...]
    _label: NDArray[np.int64]

    def features(self, rows: NDArray[np.int64]) -> Tensor:
        """Return this party's share of the features of some rows: int64 [len(rows), F]."""
        gathered_FN = np.empty((len(self._features), len(rows)), dtype=np.int64)
        for index, column in enumerate(self._features):
            np.take(column, rows, out=gathered_FN[index])
        return torch.from_numpy(gathered_FN).T.contiguous()

    def label(self, rows: NDArray[np.int64]) -> Tensor:
        """Return this party's share of the label of some rows: int64 [len(rows)]."""
        return torch.from_numpy(self._label[rows])


def write(folder: Path, features_NF: Tensor, label_N: Tensor, manifest: Manifest) -> None:
    """Write the artifact; the manifest comes last and digests every file in the folder.

    Args:
        folder: made if it is not there.
        features_NF: int64 share, columns as in ``manifest.joint["columns"]``.
        label_N: int64 share.
        manifest: of kind "shares".
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [column["name"] for column in manifest.joint["columns"]]
    _write_columns(folder / FEATURES, features_NF.T.contiguous(), names)
    _write_columns(folder / LABEL, label_N[None], [manifest.joint["label"]["name"]])
    manifest.write(folder)


def read(folder: Path) -> Shares:
    """Open the artifact; every file is checked against its digest first.

    Raises:
        DataError: a file is missing, altered, or not what the manifest says.
    """
    manifest = Manifest.read(folder, KIND)
    joint = manifest.joint
    try:
        names = [column["name"] for column in joint["columns"]]
        label, rows, drawn = joint["label"]["name"], joint["rows"], joint["split"]
        train_rows, test_rows = split.train_test(rows, drawn["test_fraction"], drawn["seed"])
        counts = (drawn["train_rows"], drawn["test_rows"])
    except (KeyError, TypeError):
        raise DataError(
            f"{folder.name}: its manifest lacks what a shares artifact needs; run encode again"
        ) from None
    if counts != (len(train_rows), len(test_rows)):
        raise DataError(
            f"{folder.name}: its split does not follow from its seed and fraction; run encode again"
        )
    return Shares(
        manifest=manifest,
        train_rows=train_rows,
        test_rows=test_rows,
        _features=_map_columns(folder / FEATURES, names, rows),
        _label=_map_columns(folder / LABEL, [label], rows)[0],
    )


def _write_columns(path: Path, columns_FN: Tensor, names: list[str]) -> None:
    schema = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in names])
    arrays = [pa.array(column) for column in columns_FN.numpy()]
    # One record batch, so that each column is one contiguous piece of the file.
    batch = pa.record_batch(arrays, schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def _map_columns(path: Path, names: list[str], rows: int) -> tuple[NDArray[np.int64], ...]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
    except (OSError, ValueError, pa.ArrowException):
        raise DataError(f"{path.name} cannot be read as an Arrow file; run encode again") from None
    kinds = {str(kind) for kind in batch.schema.types}
    if batch.schema.names != names or batch.num_rows != rows or kinds != {"int64"}:
        raise DataError(
            f"{path.name} does not hold the columns and rows that its manifest names; "
            "run encode again"
        )
    return tuple(column.to_numpy(zero_copy_only=True) for column in batch.columns)
