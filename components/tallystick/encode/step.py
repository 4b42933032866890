"""Turn a party's aligned columns into secret shares on disk."""

# N = aligned rows, F = features.

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.encode import label as labels
from tallystick.encode import sharing
from tallystick.encode.layout import Layout
from tallystick.encode.own import OwnColumns
from tallystick.models.linear import LINEAR_MODELS
from tallystick.runtime import life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables import shares


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the encode step is told."""

    aligned: Path
    """The artifact of the psi step."""
    id_columns: tuple[str, ...]
    """The columns that name a row; they are not shared."""
    label: str
    """The column to learn, held by exactly one party."""
    model: str
    """What will be trained; it decides what the label must look like."""
    test_fraction: float
    """About this part of the rows is kept for the test."""
    seed: int
    """The agreed seed of the split. It is public."""
    standardise: bool
    """Whether each owner brings its columns to mean 0 and deviation 1."""
    shares: Path
    """Where the shares artifact is written."""

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        self.require(bool(self.id_columns), "id_columns", "one or more names")
        self.require(bool(self.label.strip()), "label", "the name of a column")
        self.require(self.label not in self.id_columns, "label", "another column than the ids")
        self.require(self.model in LINEAR_MODELS, "model", f"one of {', '.join(LINEAR_MODELS)}")
        self.require(0 < self.test_fraction < 1, "test_fraction", "between 0 and 1")
        self.require(self.seed >= 0, "seed", "0 or more")


@life.step("encode")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows that are shared.
    """
    aligned = Manifest.read(config.aligned, "aligned")
    aligned.require_party(config.party)
    own = OwnColumns.prepare(
        config.aligned,
        aligned,
        id_columns=config.id_columns,
        label=config.label,
        label_kind=labels.kind_of(config.model),
        test_fraction=config.test_fraction,
        seed=config.seed,
        standardise=config.standardise,
    )
    with Session.join(config, "encode") as session:
        session.agree(aligned)
        layout = Layout.agree(
            session,
            list(own.preparation.features),
            holds_label=own.label is not None,
            label=config.label,
        )
        label = _label_entry(config, session, layout, own)
        features_NF = sharing.share_features(session, layout, own.features_NF, own.rows)
        label_N = sharing.share_label(session, layout, own.label, own.rows)

        joint = {
            "rows": own.rows,
            "row_order": aligned.joint["row_order"],
            "columns": layout.columns(),
            "feature_shape": [len(layout.columns())],
            "label": label,
            "group": None,
            "precision_bits": PRECISION_BITS,
            "split": {
                "seed": config.seed,
                "test_fraction": config.test_fraction,
                **own.parts.counts(),
                "digest": own.parts.digest(),
            },
            "standardised": config.standardise,
        }
        manifest = Manifest(
            kind=shares.KIND,
            session=session.name,
            party=session.party,
            rank=session.rank,
            parties=session.parties,
            joint=joint,
            history=session.history(aligned.history),
        )
        session.agree(manifest)
        folder = session.output(config.shares)
        folder.mkdir(parents=True, exist_ok=True)
        own.preparation.write(folder)
        shares.write(folder, features_NF, label_N, own.parts, manifest)
        session.result(
            rows=own.rows,
            features=features_NF.shape[1],
            train_rows=len(own.parts.train_rows),
            test_rows=len(own.parts.test_rows),
        )
    return own.rows


def _label_entry(
    config: Config, session: Session, layout: Layout, own: OwnColumns
) -> dict[str, Any]:
    """Return what the joint manifest says of the label."""
    kind = labels.kind_of(config.model)
    entry: dict[str, Any] = {"name": config.label, "owner": layout.label_owner, "kind": kind}
    if kind == labels.BINARY:
        return {**entry, "classes": 2}
    if not config.standardise:
        return {**entry, "mean": 0.0, "deviation": 1.0}
    return {**entry, **sharing.publish_label_units(session, layout, own.label)}
