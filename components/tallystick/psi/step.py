"""Keep the rows whose id every party holds, in one common order."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tallystick.psi import aided, aligned, ecdh, hints, intake
from tallystick.psi.matches import RESULTS, Matches, Result, TooFewMatch, Wanted
from tallystick.psi.workers import Workers, cores
from tallystick.runtime import events, life
from tallystick.runtime.configuration import JSON, StepConfig
from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables import ids
from tallystick.tables.dialect import Dialect
from tallystick.tables.streaming import Source

PROTOCOLS = {"aided": aided.intersect, "ecdh": ecdh.intersect}
ON_DUPLICATE = ("error", "first")
SUSPICIOUS_PART = 0.01
"""A smaller part of the smallest set that matches is taken for a sign that ids are not alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the psi step is told."""

    data: str
    """Where this party's table lies; see :mod:`tallystick.tables.files`."""
    reading: dict[str, Any] = field(default_factory=dict)
    """How it is written; see :class:`~tallystick.tables.dialect.Dialect`."""
    id_columns: tuple[str, ...]
    """The columns that together name a row, in the same order at every party."""
    min_intersection: int
    """With fewer matching rows the step fails and nobody learns which they are."""
    normalise: tuple[str, ...] = ids.DEFAULT_FORMS
    """What is done to ids before they are compared; names out of ``ids.FORMS``."""
    on_duplicate: str = "error"
    """Whether rows that repeat an id are refused, or all but the first are left out."""
    protocol: str = "aided"
    """By which protocol: with the dealer, or between the parties alone."""
    result: str = "all"
    """Who learns: all their rows, one receiver its rows, or all the size alone."""
    receiver: str = ""
    """The party that learns, where ``result`` is ``receiver``; empty otherwise."""
    compare_shapes: bool = False
    """Whether parties tell each other the commonest shapes of their ids."""
    aligned: Path
    """Where the aligned artifact is written."""

    MEMBERS = StepConfig.MEMBERS | {"receiver"}
    LOCAL = StepConfig.LOCAL | {"data"}

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        self.require(bool(self.data), "data", "the place of this party's table")
        named = all(column.strip() for column in self.id_columns)
        unique = len(set(self.id_columns)) == len(self.id_columns)
        self.require(
            bool(self.id_columns) and named and unique, "id_columns", "one or more different names"
        )
        self.require(self.min_intersection >= 1, "min_intersection", "1 or more")
        known = len(set(self.normalise)) == len(self.normalise) and set(self.normalise) <= set(
            ids.FORMS
        )
        self.require(known, "normalise", f"a list of some of {', '.join(ids.FORMS)}")
        for name, allowed in (
            ("on_duplicate", ON_DUPLICATE),
            ("protocol", tuple(PROTOCOLS)),
            ("result", RESULTS),
        ):
            self.require(getattr(self, name) in allowed, name, f"one of {', '.join(allowed)}")
        self.require(
            bool(self.receiver) == (self.result == "receiver"),
            "receiver",
            "the name of a party where result is 'receiver', and empty where it is not",
        )

    def joint(self) -> dict[str, JSON]:
        """Return what all parties must agree on: ids are made in one way, whoever makes them."""
        fields = StepConfig.joint(self)
        # In one order, for the order in which forms are listed changes nothing.
        fields["normalise"] = [form for form in ids.FORMS if form in self.normalise]
        return {**fields, "normalise_digest": ids.agreement(self.normalise)}


@life.step("psi")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows that match; 0 at a party that does not learn it.
    """
    folder = config.aligned.parent
    folder.mkdir(parents=True, exist_ok=True)
    with Workers(cores()) as workers:
        own = intake.take_in(
            Source(config.data, config.id_columns, Dialect.parse(config.reading)),
            forms=config.normalise,
            keep_first=config.on_duplicate == "first",
            folder=folder,
            workers=workers,
        )
        with Session.join(config, "psi") as session:
            matches = _intersect(session, config, own, workers)
            _write(session, config, own, matches)
            if matches.size is not None:
                session.result(rows_matched=matches.size)
    return matches.size or 0


def _intersect(session: Session, config: Config, own: intake.OwnIds, workers: Workers) -> Matches:
    wanted = Wanted(
        minimum=config.min_intersection,
        result=cast(Result, config.result),
        receiver=config.receiver,
    )
    shapes = _compare_shapes(session, own) if config.compare_shapes else None
    try:
        matches = PROTOCOLS[config.protocol](session, own, wanted, config.aligned.parent, workers)
    except TooFewMatch as error:
        raise DataError(f"{error}; {_advice(session, shapes)}") from None
    smallest = min(matches.sizes)
    if matches.size is not None and matches.size < SUSPICIOUS_PART * smallest:
        events.emit(
            "warning",
            message=f"only {matches.size} ids match, and every party has {smallest} or more; "
            + _advice(session, shapes),
        )
    return matches


def _compare_shapes(session: Session, own: intake.OwnIds) -> list[hints.Shapes]:
    """Tell each other what ids look like; all have agreed to."""
    told = hints.told(own.profile.commonest(hints.MOST_COMPARED))
    session.ledger.note(
        "commonest shapes of each party's ids",
        count=hints.MOST_COMPARED,
        why="to say which difference in writing keeps ids from matching; all parties agreed to it",
    )
    answers = session.exchange({"shapes": told})
    return [hints.parsed(name, a) for name, a in zip(session.parties, answers, strict=True)]


def _advice(session: Session, shapes: Sequence[hints.Shapes] | None) -> str:
    return hints.ASK if shapes is None else hints.advice(session.parties, shapes)


def _write(session: Session, config: Config, own: intake.OwnIds, matches: Matches) -> None:
    """Write this party's artifact: its rows where it learns them, and in any case a manifest."""
    folder = session.output(config.aligned)
    folder.mkdir(parents=True, exist_ok=True)
    agreed: dict[str, Any] = {"id_columns": list(config.id_columns), "result": config.result}
    agreed["normalise"] = [form for form in ids.FORMS if form in config.normalise]
    if config.result == "receiver":
        agreed["receiver"] = config.receiver
    learnt: dict[str, Any] = {} if matches.size is None else {"rows": matches.size}
    if matches.positions is not None:
        aligned.write(folder / aligned.TABLE, own, matches.positions, config.aligned.parent)
        learnt["row_order"] = matches.row_order
    own.profile.write(folder)
    manifest = Manifest(
        kind="aligned",
        session=session.name,
        party=session.party,
        rank=session.rank,
        parties=session.parties,
        joint={**agreed, **learnt},
        history=session.history(),
    )
    manifest.write(folder)
    # What one party alone has learnt is not compared.
    joint = agreed if config.result == "receiver" else manifest.joint
    session.agree(dataclasses.replace(manifest, joint=joint))
