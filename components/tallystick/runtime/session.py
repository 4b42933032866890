"""One joint execution of one step: meet, compute, and finish together or not at all.

.. code-block:: python

    with Session.join(config, "train") as session:
        ...                                      # any error here ends the step at every party
        folder = session.output(config.trained)  # aside, and renamed when all have come this far
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tallystick.runtime import events, life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.dealer.client import DealerClient
from tallystick.runtime.engine import Engine
from tallystick.runtime.errors import DataError, PeerError, PeerMismatch, TallystickError
from tallystick.runtime.frames import MAX_MESSAGE_BYTES
from tallystick.runtime.ledger import Ledger
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.meeting import Hello, Meeting
from tallystick.runtime.mesh import Mesh

_DECLINE_S = 15.0


class Session:
    """What a step has while the parties are together. Made by :meth:`join` alone."""

    def __init__(
        self,
        config: StepConfig,
        step: str,
        consortium: Consortium,
        mesh: Mesh,
        engine: Engine,
        dealer: DealerClient,
    ) -> None:
        self.name = config.session
        self.step = step
        self.party = config.party
        self.parties = consortium.names
        self.rank = consortium.rank(config.party)
        self.world_size = len(self.parties)
        self.engine = engine
        self.dealer = dealer
        self.ledger = Ledger(self.parties, engine)
        self._mesh = mesh
        self._outputs: dict[Path, Path] = {}
        self._published: list[Path] = []
        self._replaced: dict[Path, Path] = {}
        self._results: dict[str, float] = {}

    @classmethod
    @contextmanager
    def join(cls, config: StepConfig, step: str) -> Iterator[Self]:
        """Meet the other parties and the dealer, and stay together until the block ends.

        Raises:
            PeerTimeout: somebody did not come within ``config.join_timeout_s``.
            PeerMismatch: a party's joint configuration differs; the field is named.
            PeerError: a party or the dealer went away later; nothing was published.
        """
        consortium = Consortium.load(config.consortium)
        rank = consortium.rank(config.party)
        joint = {**config.joint(), "consortium": consortium.digest()}
        hello = Hello(session=config.session, step=step, member=config.party, joint=joint)
        links = Meeting(consortium, config.identity, hello).meet(config.join_timeout_s)
        life.outcome.joined = True
        events.emit("joined", parties=list(consortium.names))
        mesh = Mesh(links, dealer=consortium.dealer.name)
        session: Self | None = None
        try:
            dealer = DealerClient(mesh, consortium.dealer.name, rank)
            with Engine(mesh, consortium.names, rank, dealer) as engine:
                session = cls(config, step, consortium, mesh, engine, dealer)
                yield session
                session._finish(config.reveals)
        except BaseException as error:
            try:
                if session is not None:
                    session._discard()
            finally:
                _stop(mesh, error)
            raise
        finally:
            life.outcome.traffic = _traffic(mesh)

    @property
    def mesh(self) -> Mesh:
        """The links, for a protocol that sends bytes of its own."""
        return self._mesh

    @property
    def rounds(self) -> int:
        """How many rounds there were between the parties so far."""
        return self._mesh.rounds

    def exchange(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Send every party a JSON value and return what each sent, in rank order, our own included.

        The value is seen by all parties: nothing private may be in it.

        Raises:
            DataError: the value is larger than a message may be.
            PeerError: a party went away, or sent something that is no JSON object.
        """
        others = [name for name in self.parties if name != self.party]
        try:
            for name in others:
                self._mesh.post_message(name, message)
        except ValueError:
            raise DataError(
                f"{' and '.join(message)}: what {self.party!r} must tell the others of them takes "
                f"more than {MAX_MESSAGE_BYTES} bytes; bring fewer columns or categories, or give "
                "them shorter names"
            ) from None
        receipts = self._mesh.messages(others)
        self._mesh.wait(receipts.values())
        replies = {self.party: message} | {name: r.message for name, r in receipts.items()}
        for name, reply in replies.items():
            if not isinstance(reply, dict):
                raise PeerMismatch(f"{name!r} sent no JSON object", at_fault=name)
        return [replies[name] for name in self.parties]

    def agree(self, manifest: Manifest) -> None:
        """Check that the artifacts which the parties bring belong together.

        Raises:
            DataError: the artifact is another party's.
            PeerMismatch: naming what differs.
        """
        manifest.require_party(self.party)
        ours = manifest.digests()
        for name, theirs in zip(self.parties, self.exchange({"artifact": ours}), strict=True):
            content = theirs.get("artifact")
            content = content if isinstance(content, dict) else {}
            differing = sorted(
                key for key in ours.keys() | content.keys() if ours.get(key) != content.get(key)
            )
            if differing:
                raise PeerMismatch(
                    f"the {manifest.kind} artifacts of {self.party!r} and {name!r} do not belong "
                    f"together: {', '.join(differing)} differs; use the artifacts of one session "
                    "on every side",
                    at_fault=name,
                )

    def output(self, path: Path) -> Path:
        """Return where to write an output: it is renamed to ``path`` when all parties finish."""
        aside = path.with_name(f".{path.name}.unfinished")
        _remove(aside)
        aside.parent.mkdir(parents=True, exist_ok=True)
        self._outputs[path] = aside
        return aside

    def result(self, **numbers: float) -> None:
        """Add agreed numbers to the step's last event, for whoever started it."""
        self._results.update(numbers)

    def history(self, before: tuple[dict[str, Any], ...] = ()) -> tuple[dict[str, Any], ...]:
        """Return an artifact's history with this step added, as far as it has come."""
        now = {"step": self.step, "session": self.name, "reveals": self.ledger.as_json()}
        return (*before, {**now, "traffic": _traffic(self._mesh)})

    def _finish(self, reveals: Path) -> None:
        page = self.output(reveals)
        page.write_text(self.ledger.markdown(f"What {self.step} opened"))
        for aside in self._outputs.values():
            _sync(aside)
        digests = self.exchange({"ledger": self.ledger.digest()})
        for name, theirs in zip(self.parties, digests, strict=True):
            if theirs.get("ledger") != self.ledger.digest():
                raise PeerMismatch(
                    f"the ledgers of {self.party!r} and {name!r} differ, so the parties did not "
                    "run the same step; nothing was published",
                    at_fault=name,
                )
        self._publish()
        # Whoever is not told that all have published takes its own outputs back, and says so.
        self.exchange({"published": True})
        self._conclude()
        for replaced in self._replaced.values():
            # What cannot be tidied up undoes nothing: the others are through.
            with suppress(OSError):
                _remove(replaced)
        self._published, self._replaced = [], {}
        life.outcome.reveals = self.ledger.as_json()
        life.outcome.results = self._results

    def _conclude(self) -> None:
        """Hear each peer to its end, since a party that was lost may have told some but not all.

        Raises:
            PeerLost: a party takes its outputs back. Whoever is only gone has published as well.
        """
        failures = self._mesh.conclude()
        for name in self.parties:
            if name in failures and self._mesh.links[name].aborted:
                raise failures[name]
        self._mesh.close()

    def _publish(self) -> None:
        for path, aside in self._outputs.items():
            if path.exists():
                replaced = path.with_name(f".{path.name}.replaced")
                _remove(replaced)
                path.rename(replaced)
                self._replaced[path] = replaced
            aside.rename(path)
            self._published.append(path)

    def _discard(self) -> None:
        """Leave everything as it was before the step."""
        for aside in self._outputs.values():
            _remove(aside)
        for path in self._published:
            _remove(path)
        for path, replaced in self._replaced.items():
            replaced.rename(path)


def decline(config: StepConfig, step: str, error: TallystickError) -> None:
    """Tell the other parties that this one cannot run the step, so that they need not wait for it.

    Raises:
        TallystickError: some could not be told in time.
    """
    consortium = Consortium.load(config.consortium)
    reason = {"kind": type(error).__name__, "message": str(error)[:1000], "at_fault": _fault(error)}
    hello = Hello(session=config.session, step=step, member=config.party, stopped=reason)
    timeout_s = min(_DECLINE_S, config.join_timeout_s)
    for link in Meeting(consortium, config.identity, hello).meet(timeout_s):
        link.close()


def _traffic(mesh: Mesh) -> dict[str, float]:
    """Return what the session took so far: of its links, and of this process's memory."""
    return {**mesh.traffic(), "peak_bytes": float(life.peak_bytes())}


def _stop(mesh: Mesh, error: BaseException) -> None:
    if isinstance(error, TallystickError):
        mesh.abort(type(error).__name__, str(error), _fault(error))
    else:
        # An unexpected error's text may hold anything: only its kind leaves this party.
        mesh.abort(type(error).__name__, "an unexpected error; see that party's log", None)


def _fault(error: TallystickError) -> str | None:
    return error.at_fault if isinstance(error, PeerError) else None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or a folder's files, to the disk."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
