"""Apply a model to new rows; the predictions open to one party, joined to its ids."""

# n = rows of a piece, K = scores of a row. Shares are int64 modulo 2**64.

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tallystick import tracking
from tallystick.models import scoring
from tallystick.models.artifact import SharedModel
from tallystick.models.chosen import Chosen, ModelConfig
from tallystick.predict import answers
from tallystick.predict.layout import Layout
from tallystick.predict.rows import Piece, Rows, open_rows
from tallystick.runtime import events, life
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables.preparation import Preparation

KIND = "predictions"
TABLE = "predictions.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ModelConfig):
    """What the predict step is told."""

    receiver: str
    """The party that learns the predictions."""
    output: str
    """class, probability or score."""
    trained: str
    """This party's artifact of the train step; empty where a party owns the model."""
    prepared: str
    """This party's artifact of the encode step; empty if its rows need no preparation."""
    class_names: str
    """A text file at the receiver: the classes' names, one a line; or empty."""
    id_columns: tuple[str, ...]
    """The columns that name a row."""
    aligned: Path | None = None
    """The artifact of the psi step; None where rows need no matching."""
    data: str = ""
    """This party's table or images, where rows need no matching; or empty."""
    reading: dict[str, Any] = field(default_factory=dict)
    """How ``data`` is written; see :class:`~tallystick.tables.dialect.Dialect`."""
    images: dict[str, Any] = field(default_factory=dict)
    """What is done to images; see :class:`~tallystick.tables.images.ImageRules`."""
    predictions: Path
    """Where the result is written."""

    MEMBERS = ModelConfig.MEMBERS | {"receiver"}
    LOCAL = ModelConfig.LOCAL | {"trained", "prepared", "class_names", "data"}

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        self.require(self.output in answers.OUTPUTS, "output", f"one of {answers.OUTPUTS}")
        self.require(
            bool(self.feature_shape) == bool(self.model_owner),
            "feature_shape",
            "sizes of one row where model_owner is set, such as 3, 224, 224",
        )
        if self.aligned is not None and self.data:
            raise ConfigError("predict takes either aligned, from psi, or data; give one of them")

    @property
    def share_folder(self) -> str:
        """Where this party's share of the model lies."""
        return self.trained


@life.step("predict")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows.
    """
    rows = open_rows(
        config.predictions.parent,
        aligned=config.aligned,
        data=config.data,
        id_columns=config.id_columns,
        prepared=config.prepared,
        reading=config.reading,
        rules=config.images,
    )
    chosen = Chosen.read(config, config.feature_shape)
    _require_output(config, chosen.shared)
    names = _class_names(config)
    _require_shape(config, rows, chosen.shared)
    with (
        tracking.run(session=config.session, party=config.party, step="predict") as log,
        Session.join(config, "predict") as session,
    ):
        shared = chosen.agreed(session, config.model_owner, config.feature_shape)
        layout = Layout(session, rows, _shape(config, shared))
        folder = session.output(config.predictions)
        folder.mkdir(parents=True, exist_ok=True)
        _predict(config, session, shared, layout, names, folder)
        manifest = _manifest(config, session, shared, layout)
        session.agree(manifest)
        manifest.write(folder)
        log.parameters({"receiver": config.receiver, "output": config.output})
        log.json("reveals/predict.json", session.ledger.as_json())
        session.result(rows=layout.count)
    return layout.count


def _require_output(config: Config, shared: SharedModel | None) -> None:
    if shared is not None:
        kind = shared.manifest.joint["label"]["kind"]
        answers.require_fit(config.output, shared.name, kind)


def _class_names(config: Config) -> tuple[str, ...]:
    """Return the names that the receiver has for the classes."""
    if config.class_names:
        try:
            lines = Path(config.class_names).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise DataError("class_names: the file cannot be read as lines of text") from None
        return tuple(lines)
    if config.prepared:
        return tuple(map(str, Preparation.read(Path(config.prepared)).label_classes))
    return ()


def _require_shape(config: Config, rows: Rows | None, shared: SharedModel | None) -> None:
    """Refuse rows that cannot fit the model, as far as one party can tell."""
    if rows is None:
        return
    if shared is None:
        wanted = config.feature_shape
        fits = rows.shape == wanted or (len(rows.shape) == len(wanted) == 1)
        if not fits:
            raise DataError(
                f"the rows have the shape {list(rows.shape)}, and the model takes {list(wanted)}; "
                "bring them to that shape"
            )
        return
    columns = shared.manifest.joint["columns"]
    mine = f"{config.party}."
    own = [c["name"].removeprefix(mine) for c in columns if c["owner"] in ("", config.party)]
    if own and rows.names and list(rows.names) != own:
        raise DataError(
            f"the rows have the columns {', '.join(rows.names)}, and the model was trained by "
            f"{', '.join(own)}; give the preparation of the training, or the same columns"
        )


def _shape(config: Config, model: SharedModel) -> tuple[int, ...]:
    return config.feature_shape or tuple(map(int, model.manifest.joint["feature_shape"]))


def _predict(
    config: Config,
    session: Session,
    model: SharedModel,
    layout: Layout,
    names: tuple[str, ...],
    folder: Path,
) -> None:
    label = model.manifest.joint["label"]
    names = names or tuple(map(str, label.get("names") or ()))
    _require_names(label, names)
    writer: parquet.ParquetWriter | None = None
    done = 0
    try:
        for piece, features in layout.pieces():
            scores_nK = scoring.outputs(session.engine, model, features)
            opened = session.ledger.reveal(
                answers.answer(session.engine, scores_nK, config.output),
                answers.WHAT[config.output],
                why="the job names who gets them",
                to=[config.receiver],
            )
            if opened is not None:
                ids = _ids(piece, done, len(opened))
                found = answers.columns(opened, config.output, label, names)
                table = pa.table({**ids, **found})
                if writer is None:
                    writer = parquet.ParquetWriter(folder / TABLE, table.schema)
                writer.write_table(table)
            done += len(features.share)
            events.emit("progress", done=done, total=layout.count, unit="rows")
    finally:
        if writer is not None:
            writer.close()


def _require_names(label: dict[str, Any], names: tuple[str, ...]) -> None:
    classes = 2 if label["kind"] == "binary" else label.get("classes", 0)
    if names and len(names) != classes:
        raise DataError(
            f"class_names holds {len(names)} names, and the model has {classes} classes"
        )


def _ids(piece: Piece | None, first: int, count: int) -> dict[str, pa.ChunkedArray | pa.Array]:
    """Return the receiver's ids of some rows; their numbers where it has none."""
    if piece is not None and piece.ids.num_columns:
        return {name: piece.ids.column(name) for name in piece.ids.column_names}
    return {"row": pa.array(range(first, first + count), pa.int64())}


def _manifest(config: Config, session: Session, model: SharedModel, layout: Layout) -> Manifest:
    known = json.dumps(model.manifest.joint, sort_keys=True).encode()
    return Manifest(
        kind=KIND,
        session=session.name,
        party=session.party,
        rank=session.rank,
        parties=session.parties,
        joint={
            "rows": layout.count,
            "output": config.output,
            "receiver": config.receiver,
            "model": model.name,
            "model_session": model.manifest.session,
            "model_digest": hashlib.sha256(known).hexdigest(),
        },
        history=session.history(model.manifest.history),
    )
