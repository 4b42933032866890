"""A party's own columns, checked and prepared before anybody is dialled."""

# N = aligned rows, F = this party's features.

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tallystick.encode import label as labels
from tallystick.encode.label import Label
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import preparation, reading, split
from tallystick.tables.preparation import Preparation, Standardisation
from tallystick.tables.split import Split

TABLE = "aligned.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnColumns:
    """What this party brings to the joint table."""

    rows: int
    parts: Split
    features_NF: NDArray[np.float64]
    label: Label | None
    """None at a party that does not hold it."""
    preparation: Preparation

    @classmethod
    def prepare(
        cls,
        folder: Path,
        manifest: Manifest,
        *,
        id_columns: Sequence[str],
        label: str,
        label_kind: str,
        test_fraction: float,
        seed: int,
        standardise: bool,
    ) -> Self:
        """Read the aligned table, and check and prepare every column of it.

        Args:
            folder: the aligned artifact.
            manifest: its manifest.
            id_columns: the columns that the rows were matched by.
            label: the label's column, whether this party holds it or not.
            label_kind: "binary" or "number".
            test_fraction: of the split that follows from the seed.
            seed: agreed by the parties.
            standardise: by the mean and deviation of the training rows.

        Raises:
            ConfigError: the id columns are not those that the rows were matched by.
            DataError: a column cannot be used as it is.
        """
        matched_by = manifest.joint.get("id_columns")
        if matched_by != list(id_columns):
            raise ConfigError(
                f"id_columns must be those of the psi step, {matched_by!r}, not "
                f"{list(id_columns)!r}: an id that is left over would be shared as a feature"
            )
        table = reading.read(folder / TABLE, id_columns)
        if table.num_rows != manifest.joint.get("rows"):
            raise DataError(
                f"{TABLE} has not the number of rows that its manifest says; run the psi step again"
            )
        train_rows, test_rows = split.train_test(table.num_rows, test_fraction, seed)

        names = preparation.feature_columns(table.column_names, id_columns=id_columns, label=label)
        features_NF = preparation.numbers(table, names)
        standardisation = None
        if standardise:
            standardisation = Standardisation.fit(features_NF[train_rows], names)
            features_NF = standardisation.apply(features_NF)
        preparation.require_small(features_NF, names, standardised=standardise)

        own_label = None
        if label in table.column_names:
            own_label = labels.prepare(
                table, label, kind=label_kind, train_rows=train_rows, standardise=standardise
            )
        return cls(
            rows=table.num_rows,
            parts=Split.of(table.num_rows, test=test_rows, validation=()),
            features_NF=features_NF,
            label=own_label,
            preparation=Preparation(
                features=tuple(names),
                standardisation=standardisation,
                label_classes=() if own_label is None else own_label.classes,
            ),
        )
