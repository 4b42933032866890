"""What the encode step is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.encode import label as labels
from tallystick.encode import splitting
from tallystick.encode.layout import HORIZONTAL, LAYOUTS, VERTICAL
from tallystick.models import architectures
from tallystick.runtime.configuration import JSON, StepConfig
from tallystick.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the encode step is told."""

    aligned: Path | None = None
    """The artifact of the psi step; None where rows need no matching."""
    data: str = ""
    """Where this party's table or images lie, where rows need no matching; or empty."""
    layout: str = VERTICAL
    """Whether parties hold different columns of the same rows, or different rows."""
    reading: dict[str, Any] = field(default_factory=dict)
    """How ``data`` is written; see :class:`~tallystick.tables.dialect.Dialect`."""
    prepared: str = ""
    """This party's earlier artifact of encode, by which columns and label are prepared; or empty,
    for a preparation that is fitted to these rows."""
    preparation: dict[str, Any] = field(default_factory=dict)
    """What is done to columns; see :mod:`~tallystick.tables.rules`."""
    images: dict[str, Any] = field(default_factory=dict)
    """What is done to images; see :class:`~tallystick.tables.images.ImageRules`."""
    id_columns: tuple[str, ...] = ()
    """The columns that name a row; they are not shared."""
    label: str
    """The column to learn, held by exactly one party, or by all where rows are different."""
    label_kind: str = labels.AUTO
    """binary, classes or number; auto if the model or the values decide."""
    label_classes: tuple[str, ...] = ()
    """The label's classes, where all parties may know them."""
    model: str
    """What will be trained; it decides what the label must look like. Empty if nothing will."""
    group: str = ""
    """A column that says which group a row belongs to, for evaluation by group; or empty."""
    split_by: str = splitting.SEED
    """seed, time or stratify."""
    split_column: str = ""
    """The column to split by, with ``split_by: time``."""
    test_fraction: float
    """About this part of the rows is kept for the test."""
    validation_fraction: float = 0.0
    """About this part of the rows is kept to choose between models."""
    seed: int
    """The agreed seed of the split. It is public."""
    standardise: bool
    """Whether numbers are brought to mean 0 and deviation 1 unless a rule says otherwise."""
    tell_classes: bool = False
    """Whether the label's owner tells all parties what the classes are called."""
    shares: Path
    """Where the shares artifact is written."""

    LOCAL = StepConfig.LOCAL | {"data", "prepared"}

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        self.require(bool(self.label.strip()), "label", "the name of a column")
        self.require(self.label not in self.id_columns, "label", "another column than the ids")
        self.require(
            not self.model or architectures.known(self.model),
            "model",
            f"one of {', '.join(architectures.NAMES)}, or package.module:Class or file.py:Class, "
            "or empty",
        )
        self.require(0 < self.test_fraction < 1, "test_fraction", "between 0 and 1")
        self.require(
            0 <= self.validation_fraction < 1 - self.test_fraction,
            "validation_fraction",
            "0 or more, and below 1 together with test_fraction",
        )
        self.require(self.seed >= 0, "seed", "0 or more")
        for name, allowed in (
            ("layout", LAYOUTS),
            ("label_kind", (labels.AUTO, *labels.KINDS)),
            ("split_by", splitting.WAYS),
        ):
            self.require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}")
        self.require(
            bool(self.split_column) == (self.split_by == splitting.TIME),
            "split_column",
            "the name of a column where split_by is 'time', and empty where it is not",
        )
        taken = {self.label, *self.id_columns}
        self.require(self.group not in taken, "group", "another column than label and ids")
        self.require(self.split_column not in taken, "split_column", "another column")
        self.require(
            len(set(self.label_classes)) == len(self.label_classes) != 1,
            "label_classes",
            "two or more different names, or none",
        )
        if (self.aligned is None) == (not self.data):
            raise ConfigError("encode takes either aligned, from psi, or data; give one of them")
        if self.aligned is not None:
            self.require(bool(self.id_columns), "id_columns", "one or more names")
            self.require(self.layout == VERTICAL, "layout", "vertical for rows matched by psi")

    def joint(self) -> dict[str, JSON]:
        """Return what all parties must agree on."""
        fields = {**StepConfig.joint(self), "model": architectures.short(self.model)}
        fields["prepared"] = bool(self.prepared)
        if self.layout == HORIZONTAL:
            fields |= {"preparation": self.preparation, "images": _common(self.images)}
        return fields


def _common(given: dict[str, Any]) -> JSON:
    """Return what of ``images`` must be the same: not where a party's files lie."""
    return {k: v for k, v in given.items() if k not in ("labels", "folder", "column")}
