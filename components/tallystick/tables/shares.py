"""The shares artifact: this party's share of every feature and of the label, on disk.

::

    manifest.json       joint: rows, row_order, columns, feature_shape, label, group,
                        precision_bits, split, fitted_by (which encoding fitted the preparation)
    shares.arrow        one row for each row of the joint table, all of them int64:
                        features (as many as feature_shape has places), label, group
    split.arrow         for each row whether it trains, validates or tests (see split.py)
    preparation.json    how this party prepared its own columns (see preparation.py)

``shares.arrow`` is written piece by piece as Arrow record batches, and memory-mapped when read: a
batch of rows costs the pages that it touches. A row's features stand side by side, for rows are
what training asks for. Rows stand in the order that all parties share.
"""

# N = rows, F = features of all parties, S = feature_shape, K = classes, G = groups.
# Shares are int64 modulo 2**64.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import split

KIND = "shares"
SHARES = "shares.arrow"
PIECE_BYTES = 32 << 20
"""About this much of the features is written as one record batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """How many int64 values a row has of what; nought of what there is not."""

    features: int
    label: int
    group: int = 0

    @classmethod
    def of(cls, joint: Mapping[str, Any]) -> Self:
        """Take them from a joint manifest."""
        label, group = joint["label"], joint.get("group")
        return cls(
            features=math.prod(joint["feature_shape"]),
            label=label["classes"] if label["kind"] == "classes" else 1,
            group=group["groups"] if group else 0,
        )

    def schema(self) -> pa.Schema:
        """Return the schema of ``shares.arrow``."""
        widths = {"features": self.features, "label": self.label, "group": self.group}
        return pa.schema(
            [
                pa.field(
                    name,
                    pa.list_(pa.field("item", pa.int64(), nullable=False), width),
                    nullable=False,
                )
                for name, width in widths.items()
                if width
            ]
        )


def piece_rows(features: int) -> int:
    """Return how many rows of so many features should be written at once."""
    return max(1, PIECE_BYTES // (8 * max(features, 1)))


class Writer:
    """Takes the rows of ``shares.arrow`` piece by piece, in order.

    Args:
        folder: made if it is not there.
        widths: of a row.
    """

    def __init__(self, folder: Path, widths: Widths) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._schema = widths.schema()
        self._sink = pa.OSFile(str(folder / SHARES), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._sink.close()

    def add(self, features: Tensor, label: Tensor, group: Tensor | None = None) -> None:
        """Write some rows' shares: int64 [n, *S], [n] or [n, K], and [n, G]."""
        given = {"features": features, "label": label, "group": group}
        arrays = []
        for field in self._schema:
            values = given[field.name]
            assert values is not None
            assert values.numel() == len(features) * field.type.list_size
            buffer = pa.py_buffer(np.ascontiguousarray(values.numpy()))
            flat = pa.Array.from_buffers(pa.int64(), values.numel(), [None, buffer])
            arrays.append(
                pa.FixedSizeListArray.from_buffers(
                    field.type, len(features), [None], children=[flat]
                )
            )
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))


class _Rows:
    """One column of ``shares.arrow``, mapped: pieces of int64 [n, width]."""

    def __init__(self, pieces: Sequence[NDArray[np.int64]], shape: tuple[int, ...]) -> None:
        self._pieces = pieces
        self._starts = np.cumsum([0, *(len(piece) for piece in pieces)])
        self._shape = shape

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        width = math.prod(self._shape)
        found = np.empty((len(rows), width), dtype=np.int64)
        piece_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        for index in np.unique(piece_of_row):
            here = np.flatnonzero(piece_of_row == index)
            found[here] = self._pieces[index][rows[here] - self._starts[index]]
        return torch.from_numpy(found).reshape(len(rows), *self._shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """One party's shares, opened for reading."""

    manifest: Manifest
    train_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    """None of them where the job asks for no validation."""
    test_rows: NDArray[np.int64]
    _features: _Rows
    _label: _Rows
    _group: _Rows | None

    def features(self, rows: NDArray[np.int64]) -> Tensor:
        """Return this party's share of the features of some rows: int64 [len(rows), *S]."""
        return self._features.take(rows)

    def label(self, rows: NDArray[np.int64]) -> Tensor:
        """Return this party's share of the label of some rows.

        Returns:
            int64 [len(rows)] for the kinds "binary" and "number"; [len(rows), K], one place for
            each class, for "classes".
        """
        return self._label.take(rows)

    def group(self, rows: NDArray[np.int64]) -> Tensor | None:
        """Return this party's share of which group some rows belong to.

        Returns:
            int64 [len(rows), G], one place for each group; None where the job names no group.
        """
        return None if self._group is None else self._group.take(rows)


def write(
    folder: Path,
    features: Tensor,
    label: Tensor,
    parts: split.Split,
    manifest: Manifest,
    group: Tensor | None = None,
) -> None:
    """Write the whole artifact; the manifest comes last and digests every file in the folder.

    Args:
        folder: made if it is not there.
        features: int64 share [N, *S], columns as in ``manifest.joint["columns"]``.
        label: int64 share [N] or [N, K].
        parts: which rows train, validate and test.
        manifest: of kind "shares".
        group: int64 share [N, G].
    """
    with Writer(folder, Widths.of(manifest.joint)) as writer:
        rows = piece_rows(math.prod(features.shape[1:]))
        for start in range(0, len(features), rows):
            here = slice(start, start + rows)
            writer.add(features[here], label[here], None if group is None else group[here])
    parts.write(folder)
    manifest.write(folder)


def read(folder: Path) -> Shares:
    """Open the artifact; every file is checked against its digest first.

    Raises:
        DataError: a file is missing, altered, or not what the manifest says.
    """
    manifest = Manifest.read(folder, KIND)
    joint = manifest.joint
    try:
        rows, drawn, _ = joint["rows"], joint["split"]["digest"], joint["fitted_by"]
        widths = Widths.of(joint)
        shapes: dict[str, tuple[int, ...]] = {
            "features": tuple(joint["feature_shape"]),
            "label": (widths.label,) if joint["label"]["kind"] == "classes" else (),
            "group": (widths.group,),
        }
    except (KeyError, TypeError, AttributeError):
        raise DataError(
            f"{folder.name}: its manifest lacks what a shares artifact needs, as where an earlier "
            "version wrote it; run encode again"
        ) from None
    parts = split.Split.read(folder, rows)
    if parts.digest() != drawn:
        raise DataError(
            f"{folder.name}: its split is not the one that its manifest names; run encode again"
        )
    columns = _map(folder / SHARES, widths, rows, shapes)
    return Shares(
        manifest=manifest,
        train_rows=parts.train_rows,
        validation_rows=parts.validation_rows,
        test_rows=parts.test_rows,
        _features=columns["features"],
        _label=columns["label"],
        _group=columns.get("group"),
    )


def _map(
    path: Path, widths: Widths, rows: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, _Rows]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (OSError, ValueError, pa.ArrowException):
        raise DataError(f"{path.name} cannot be read as an Arrow file; run encode again") from None
    schema = widths.schema()
    if reader.schema != schema or sum(batch.num_rows for batch in batches) != rows:
        raise DataError(
            f"{path.name} does not hold the columns and rows that its manifest names; "
            "run encode again"
        )
    return {
        field.name: _Rows(
            [
                batch.column(field.name)
                .flatten()
                .to_numpy(zero_copy_only=True)
                .reshape(batch.num_rows, field.type.list_size)
                for batch in batches
            ],
            shapes[field.name],
        )
        for field in schema
    }
