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
from tallystick.models import architectures, artifact, from_file, scoring
from tallystick.models.artifact import SharedModel
from tallystick.predict import answers, owned
from tallystick.predict.layout import Layout
from tallystick.predict.rows import Piece, Rows, open_rows
from tallystick.runtime import events, life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables.preparation import Preparation

KIND = "predictions"
TABLE = "predictions.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the predict step is told."""

    receiver: str
    """The party that learns the predictions."""
    output: str
    """class, probability or score."""
    trained: str
    """This party's artifact of the train step; empty where a party owns the model."""
    model_owner: str
    """The party that owns the model; empty for one that is shared."""
    model_file: str
    """The model, at its owner; empty elsewhere."""
    architecture: str
    """The network's name, where the file is a state_dict."""
    feature_shape: tuple[int, ...]
    """Of one row, where a party owns the model."""
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

    LOCAL = StepConfig.LOCAL | {
        "trained",
        "model_file",
        "architecture",
        "prepared",
        "class_names",
        "data",
    }

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        self.require(self.output in answers.OUTPUTS, "output", f"one of {answers.OUTPUTS}")
        self.require(
            all(0 < size <= 1 << 20 for size in self.feature_shape)
            and bool(self.feature_shape) == bool(self.model_owner),
            "feature_shape",
            "sizes of one row where model_owner is set, such as 3, 224, 224, and empty elsewhere",
        )
        if self.aligned is not None and self.data:
            raise ConfigError("predict takes either aligned, from psi, or data; give one of them")
        self.require(
            bool(self.trained) != bool(self.model_owner),
            "trained",
            "empty where model_owner is set, and the path of train's artifact where it is not",
        )
        is_mine = self.party == self.model_owner
        self.require(
            bool(self.model_file) == is_mine,
            "model_file",
            "the path of the model" if is_mine else "empty at a party that does not own the model",
        )
        self.require(
            not self.architecture or architectures.known(self.architecture),
            "architecture",
            f"one of {', '.join(architectures.NAMES)}, or file.py:Class",
        )


@life.step("predict")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows.
    """
    parties = Consortium.load(config.consortium).names
    config.require(config.receiver in parties, "receiver", f"one of {', '.join(parties)}")
    config.require(
        config.model_owner in ("", *parties), "model_owner", f"empty or one of {parties}"
    )
    rows = open_rows(
        config.predictions.parent,
        aligned=config.aligned,
        data=config.data,
        id_columns=config.id_columns,
        prepared=config.prepared,
        reading=config.reading,
        rules=config.images,
    )
    shared, network = _own_model(config)
    names = _class_names(config)
    _require_shape(config, rows, shared)
    with (
        tracking.run(session=config.session, party=config.party, step="predict") as log,
        Session.join(config, "predict") as session,
    ):
        if shared is None:
            shared = owned.share(session, config.model_owner, network, config.feature_shape)
        else:
            session.agree(shared.manifest)
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


def _own_model(config: Config) -> tuple[SharedModel | None, owned.Network | None]:
    """Read this party's share of the model, or the model that it owns."""
    if not config.model_owner:
        shared = artifact.read(Path(config.trained))
        joint = shared.manifest.joint
        answers.require_fit(config.output, shared.name, joint["label"]["kind"])
        return shared, None
    if config.party != config.model_owner:
        return None, None
    network = from_file.read(Path(config.model_file), config.architecture, config.feature_shape)
    owned.require_small(network[1])
    return None, network


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
