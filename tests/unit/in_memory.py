"""Parties that are threads, on a session in memory, for what psi and encode do around it.

The session stands in for the network, the dealer and the engine; all else is the real thing.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tallystick.encode import step as encode_step
from tallystick.psi import step as psi_step
from tallystick.runtime.dealer import intersection
from tallystick.runtime.errors import (
    PeerLost,
    PeerMismatch,
    TallystickError,
)
from tallystick.runtime.ledger import Ledger
from tallystick.runtime.manifest import Manifest


@dataclass
class Meeting:
    """What the parties of one session share: what each has put on the table, round by round."""

    parties: tuple[str, ...]
    tamper: Callable[[str, Any], Any] = lambda party, message: message
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self.sent: dict[str, list[Any]] = {party: [] for party in self.parties}
        self.gone: set[str] = set()
        self.rng = np.random.default_rng(5)

    def gather(self, party: str, value: Any) -> list[Any]:
        with self.changed:
            self.sent[party].append(value)
            number = len(self.sent[party])
            self.changed.notify_all()

            def missing() -> set[str]:
                return {name for name, sent in self.sent.items() if len(sent) < number}

            assert self.changed.wait_for(lambda: missing() <= self.gone, timeout=20)
            if missing():
                raise PeerLost("a party went away")
            return [self.sent[name][number - 1] for name in self.parties]

    def leave(self, party: str) -> None:
        with self.changed:
            self.gone.add(party)
            self.changed.notify_all()

    @contextmanager
    def join(self, config: Any, step: str) -> Iterator["InMemorySession"]:
        session = InMemorySession(self, config.party)
        self.ledgers[config.party] = session.ledger
        yield session


class InMemorySession:
    def __init__(self, meeting: Meeting, party: str) -> None:
        self.meeting, self.party, self.parties = meeting, party, meeting.parties
        self.rank, self.world_size = meeting.parties.index(party), len(meeting.parties)
        self.name = "credit-1"
        self.ledger = Ledger(self.parties, None)  # type: ignore[arg-type]
        self.dealer = self.engine = self

    def exchange(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        return self.meeting.gather(self.party, self.meeting.tamper(self.party, message))

    def output(self, path: Path) -> Path:
        return path

    def agree(self, manifest: Manifest) -> None:
        found = self.meeting.gather(self.party, manifest.joint)
        if any(joint != found[0] for joint in found):
            raise PeerMismatch("the manifests differ")

    def history(self, before: tuple[dict[str, Any], ...] = ()) -> tuple[dict[str, Any], ...]:
        now = {"step": "this", "session": self.name, "reveals": self.ledger.as_json()}
        return (*before, now)

    def result(self, **numbers: float) -> None:
        self.meeting.results[self.party] = numbers

    def match(self, counts: Sequence[int], **wanted: Any) -> "InMemoryMatching":
        return InMemoryMatching(self)

    def share_ring(
        self, value: torch.Tensor | None, owner: int, shape: Sequence[int]
    ) -> torch.Tensor:
        assert (value is not None) == (self.rank == owner)
        assert value is None or (value.dtype == torch.int64 and tuple(value.shape) == tuple(shape))
        gathered = self.meeting.gather(self.party, value)
        words = self.meeting.gather(
            self.party,
            self.meeting.rng.integers(-(2**63), 2**63, size=(self.world_size, *shape))
            if self.rank == 0
            else None,
        )[0]
        masks = torch.from_numpy(words)
        share = masks[self.rank] - masks[self.rank - 1]
        return share + gathered[owner] if self.rank == owner else share


class InMemoryMatching:
    def __init__(self, session: InMemorySession) -> None:
        self.session, self.enough, self.matched = session, True, 0

    def run(self, tables: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        sent = self.session.meeting.gather(self.session.party, list(tables))
        for ranges in zip(*sent, strict=True):
            bits = intersection.common(ranges)[self.session.rank]
            self.matched += int(bits.sum())
            yield bits


class World:
    """Parties with a table each, in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.tables: dict[str, pd.DataFrame] = {}

    def run(
        self, step: Any, settings: Mapping[str, Any], **meeting_settings: Any
    ) -> tuple[Meeting, dict[str, Any]]:
        """Run a step at all parties; return what each returned or raised."""
        meeting = Meeting(tuple(self.tables), **meeting_settings)
        self.monkeypatch.setattr(step, "Session", meeting)
        outcomes: dict[str, Any] = {}

        def side(party: str) -> None:
            folder = self.folder / party
            try:
                config = step.Config(
                    party=party,
                    session="credit-1",
                    consortium=Path("none"),
                    identity=Path("none"),
                    reveals=folder / "reveals.md",
                    **{
                        name: folder / value if isinstance(value, Path) else value
                        for name, value in settings.items()
                    },
                )
                outcomes[party] = step.run.__wrapped__(config)
            except TallystickError as error:
                outcomes[party] = error
            finally:
                meeting.leave(party)

        threads = [threading.Thread(target=side, args=(party,)) for party in self.tables]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return meeting, outcomes

    def psi(self, **changes: Any) -> tuple[Meeting, dict[str, Any]]:
        for party, table in self.tables.items():
            (self.folder / party).mkdir(exist_ok=True)
            table.to_csv(self.folder / party / "data.csv", index=False)
        meeting_settings = {key: changes.pop(key) for key in list(changes) if "tamper" in key}
        settings = {
            "data": Path("data.csv"),
            "id_columns": ("id",),
            "min_intersection": 2,
            "aligned": Path("aligned"),
        }
        return self.run(psi_step, settings | changes, **meeting_settings)

    def encode(self, **changes: Any) -> tuple[Meeting, dict[str, Any]]:
        meeting_settings = {key: changes.pop(key) for key in list(changes) if "tamper" in key}
        settings = {
            "aligned": Path("aligned"),
            "id_columns": ("id",),
            "label": "y",
            "model": "logistic_regression",
            "test_fraction": 0.25,
            "seed": 3,
            "standardise": True,
            "shares": Path("shares"),
        }
        return self.run(encode_step, settings | changes, **meeting_settings)

    def aligned(self, party: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / party / "aligned" / "aligned.parquet")
