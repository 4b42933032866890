"""Parties as threads, on real links over TLS and with a real dealer; and processes of the step."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tallystick.psi import step
from tallystick.psi.intake import OwnIds
from tallystick.psi.matches import Matches, Wanted
from tallystick.psi.profile import Profile
from tallystick.psi.store import IdStore
from tallystick.psi.workers import Workers
from tallystick.runtime.dealer.client import DealerClient
from tallystick.runtime.dealer.session import DealerSession
from tallystick.runtime.errors import TallystickError
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.session import Session
from tallystick.tables import ids

from tests import harness


def own_ids(values: Sequence[tuple[str, ...]], folder: Path) -> OwnIds:
    """Return ids that differ, as a file would give them."""
    store = IdStore(folder)
    if values:
        columns = [pa.array(column, pa.string()) for column in zip(*values, strict=True)]
        _, ends, content = ids.encoded(columns).buffers()
        store.add(ends.to_pybytes() + content.to_pybytes(), len(values))
    profile = Profile(
        rows=len(values), distinct=len(values), duplicates=0, empty={}, shapes=Counter()
    )
    return OwnIds(
        count=len(values),
        rows=len(values),
        profile=profile,
        source=None,  # type: ignore[arg-type]
        held=None,
        _store=store,
        _kept=None,
    )


@dataclass(frozen=True)
class Outcome:
    """What came of one intersection."""

    of: Mapping[str, Any]
    """Each party's matches, or its error."""
    ledgers: Mapping[str, Any]
    values: Mapping[str, Sequence[tuple[str, ...]]]

    def rows(self, party: str) -> list[tuple[str, ...]]:
        """The ids that match, in the order of the party's result."""
        matches = self.of[party]
        if not isinstance(matches, Matches):
            raise matches
        return [self.values[party][position] for position in matches.positions]


@dataclass(frozen=True)
class Room:
    """Where parties that are threads meet."""

    place: harness.Place

    def intersect(
        self,
        protocol: str,
        sets: Mapping[str, Sequence[tuple[str, ...]]],
        *,
        workers: int = 1,
        timeout_s: float = 60,
        **wanted: Any,
    ) -> Outcome:
        """Run one protocol; ``sets`` has the first parties of the place, in order."""
        names = (*sets, harness.DEALER)
        links = harness.connected(self.place, names)
        ledgers = {}

        def party(name: str) -> Any:
            mesh = Mesh(links[name])
            rank = list(sets).index(name)
            dealer = DealerClient(mesh, harness.DEALER, rank)
            session = Session(
                self.place.config(name), "psi", _Only(tuple(sets)), mesh, None, dealer
            )
            ledgers[name] = session.ledger
            folder = self.place.folder / name
            folder.mkdir(exist_ok=True)
            try:
                with Workers(workers) as pool:
                    found = step.PROTOCOLS[protocol](
                        session,
                        own_ids(sets[name], folder),
                        Wanted(**{"minimum": 0, **wanted}),
                        folder,
                        pool,
                    )
                mesh.end()
                return found
            except TallystickError as error:
                mesh.abort(type(error).__name__, str(error), None)
                raise

        def dealer() -> None:
            DealerSession("test-1", "psi", links=links[harness.DEALER]).run()

        functions = {name: lambda name=name: party(name) for name in sets}
        results = harness.together({**functions, harness.DEALER: dealer}, timeout_s=timeout_s)
        return Outcome(results, ledgers, sets)


@dataclass(frozen=True)
class _Only:
    """As much of a consortium as a session looks at."""

    names: tuple[str, ...]

    def rank(self, name: str) -> int:
        return self.names.index(name)


@dataclass(frozen=True)
class Ended:
    """How one party's step ended."""

    exit_code: int | None
    log: str

    def event(self, kind: str) -> dict[str, Any]:
        """The last event of that kind."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == kind][-1]


@dataclass
class Steps:
    """Runs the step at each party in a process of its own, by its entry point."""

    place: harness.Place
    folder: Path
    started: dict[str, harness.Process] = field(default_factory=dict)

    def arguments(self, party: str, **changes: Any) -> dict[str, Any]:
        own = self.folder / party
        return {
            "party": party,
            "session": "test-1",
            "data": own / "data.csv",
            "id_columns": ["id"],
            "min_intersection": 1,
            "consortium": self.place.consortium,
            "identity": self.place.identity(party),
            "join_timeout_s": 60,
            "aligned": own / "aligned",
            "reveals": own / "reveals.md",
            **changes,
        }

    def write(self, **tables: str) -> None:
        for party, content in tables.items():
            (self.folder / party).mkdir(parents=True, exist_ok=True)
            (self.folder / party / "data.csv").write_text(content, encoding="utf-8")

    def start(self, party: str, function: Any = None, **changes: Any) -> harness.Process:
        log = self.folder / party / "log"
        log.unlink(missing_ok=True)
        process = harness.Process(
            self.place, function or _side, self.arguments(party, **changes), log=log
        )
        self.started[party] = process
        return process

    def run(
        self,
        *,
        timeout_s: float = 60,
        of: Mapping[str, Mapping[str, Any]] | None = None,
        **changes: Any,
    ) -> dict[str, Ended]:
        """Run all parties; ``of`` has the arguments of single ones."""
        for party in self.place.parties:
            self.start(party, **{**changes, **(of or {}).get(party, {})})
        return {party: self.wait(party, timeout_s) for party in self.place.parties}

    def wait(self, party: str, timeout_s: float = 60) -> Ended:
        process = self.started[party]
        code = process.wait(timeout_s)
        process.end()
        return Ended(code, process.log.read_text())


def _side(arguments: dict[str, Any]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    step.run(arguments)


@contextlib.contextmanager
def steps(folder: Path, parties: int = 2) -> Iterator[Steps]:
    """Found a consortium, and run its dealer."""
    place = harness.make_place(folder / "place", parties)
    with harness.dealer(place):
        yield Steps(place, folder)
