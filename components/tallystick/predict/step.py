"""Apply a model to new rows; the predictions open to one party, joined to its ids."""

# n = rows of a piece, K = scores of a row. Shares are int64 modulo 2**64.

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tallystick import tracking
from tallystick.models import scoring
from tallystick.models.artifact import SharedModel
from tallystick.predict import answers, question
from tallystick.predict.layout import Layout
from tallystick.predict.question import Question
from tallystick.predict.rows import Piece, open_rows
from tallystick.runtime import events, life
from tallystick.runtime.engine import Secret
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session

KIND = "predictions"
TABLE = "predictions.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Question):
    """What the predict step is told."""

    model: Path | None = None
    """What ``trained`` names, where it is an artifact of the same pipeline."""
    shares: Path | None = None
    """What ``prepared`` names, where it is one."""
    data: str = ""
    """This party's table or images, where rows need no matching; or empty."""
    reading: dict[str, Any] = field(default_factory=dict)
    """How ``data`` is written; see :class:`~tallystick.tables.dialect.Dialect`."""
    images: dict[str, Any] = field(default_factory=dict)
    """What is done to images; see :class:`~tallystick.tables.images.ImageRules`."""
    predictions: Path
    """Where the result is written."""

    LOCAL = Question.LOCAL | {"data"}

    def __post_init__(self) -> None:
        """Check that rows, model and preparation come from one place each."""
        for name, given in (("trained", self.model), ("prepared", self.shares)):
            if given is not None:
                self.require(not getattr(self, name), name, "empty where its artifact is given")
                object.__setattr__(self, name, str(given))  # as a frozen dataclass has it set
        Question.__post_init__(self)
        if self.aligned is not None and self.data:
            raise ConfigError("predict takes either aligned, from psi, or data; give one of them")


@life.step("predict")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows.
    """
    aligned = question.aligned(config)
    rows = open_rows(
        config.predictions.parent,
        aligned=config.aligned,
        data=config.data,
        id_columns=config.id_columns,
        prepared=config.prepared,
        reading=config.reading,
        rules=config.images,
    )
    asked = question.read(config)
    if rows is not None:
        asked.require_fit(rows)
    if config.party == config.receiver:
        answers.require_apart(config.output, asked.names, config.id_columns)
    with (
        tracking.run(session=config.session, party=config.party, step="predict") as log,
        Session.join(config, "predict") as session,
    ):
        if aligned is not None:
            session.agree(aligned)
        shared = asked.model(session)
        names = asked.class_names(shared)
        layout = Layout(session, rows, asked.shape(shared))
        folder = session.output(config.predictions)
        folder.mkdir(parents=True, exist_ok=True)
        _predict(config, session, shared, layout.pieces(rows), layout.count, names, folder)
        manifest = _manifest(config, session, shared, layout)
        session.agree(manifest)
        manifest.write(folder)
        log.parameters({"receiver": config.receiver, "output": config.output})
        log.json("reveals/predict.json", session.ledger.as_json())
        session.result(rows=layout.count)
    return layout.count


def _predict(
    config: Config,
    session: Session,
    model: SharedModel,
    pieces: Iterator[tuple[Piece | None, Secret]],
    count: int,
    names: tuple[str, ...],
    folder: Path,
) -> None:
    label = model.manifest.joint["label"]
    writer: parquet.ParquetWriter | None = None
    done = 0
    try:
        for piece, features in pieces:
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
            events.emit("progress", done=done, total=count, unit="rows")
    finally:
        if writer is not None:
            writer.close()


def _ids(piece: Piece | None, first: int, count: int) -> dict[str, pa.ChunkedArray | pa.Array]:
    """Return the receiver's ids of some rows; their numbers where it has none."""
    if piece is not None and piece.ids.num_columns:
        return {name: piece.ids.column(name) for name in piece.ids.column_names}
    return {"row": pa.array(range(first, first + count), pa.int64())}


def _manifest(config: Config, session: Session, model: SharedModel, layout: Layout) -> Manifest:
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
            "model_digest": model.digest(),
        },
        history=session.history(model.manifest.history),
    )
