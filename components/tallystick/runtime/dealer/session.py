"""The dealer's side of one session: its keys, and what the parties ask for until all have finished.

What it answers to: ``{"deal": [...]}`` of the first party, for correlations (``requests.py``), and
``{"match": ...}`` of every party, for aided PSI (``matchmaker.py``).
"""

import time
from collections import Counter
from typing import Any

from tallystick.runtime import events
from tallystick.runtime.dealer.correlations import Correlation, Name, deal, source
from tallystick.runtime.dealer.matchmaker import Matchmaker
from tallystick.runtime.dealer.requests import decode, decode_names
from tallystick.runtime.errors import PeerError, PeerLost, ProtocolViolation, TallystickError
from tallystick.runtime.links import Link
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.process_group import payload
from tallystick.runtime.randomness import Stream, new_key

MAX_QUEUED_BYTES = 256 << 20
MAX_KINDS = 1 << 16


class DealerSession:
    """One session of one step, served until every party has finished or one has gone."""

    def __init__(self, session: str, step: str, *, links: list[Link]) -> None:
        self._about = {"session": session, "step": step}
        self._parties = [link.peer for link in links]
        # The parties may do without the dealer for days, as Diffie-Hellman does. Those that have
        # died fall silent, and those that hang are given up by the others.
        self._mesh = Mesh(links, patient=True)
        self._keys = [new_key() for _ in links]
        self._number = 0
        self._kinds: list[Correlation] = []
        self._served: Counter[str] = Counter()
        self._matchmaker = Matchmaker(self._mesh, self._parties)

    def run(self) -> None:
        """Serve; every way that a session can end is logged, none ends the service."""
        start = time.monotonic()
        outcome = "finished"
        events.emit("gathered", **self._about, parties=self._parties)
        try:
            for party, key in zip(self._parties, self._keys, strict=True):
                self._mesh.post_message(party, {"key": key.hex()})
            self._serve()
            self._mesh.end()
        except TallystickError as error:
            outcome = "a party left" if isinstance(error, PeerLost) else type(error).__name__
            fault = error.at_fault if isinstance(error, PeerError) else None
            self._mesh.abort(type(error).__name__, str(error), fault)
        except Exception as error:
            outcome = type(error).__name__
            self._mesh.abort(outcome, "the dealer failed; see its log", None)
        events.emit(
            "served",
            **self._about,
            outcome=outcome,
            requests=dict(self._served),
            sent_bytes=self._mesh.traffic()["sent_bytes"],
            seconds=round(time.monotonic() - start, 3),
        )

    def _serve(self) -> None:
        pending = self._mesh.messages(self._parties)
        answered: set[str] = set()
        while pending:
            self._mesh.drive(lambda: any(receipt.done for receipt in pending.values()))
            for party in [name for name, receipt in pending.items() if receipt.done]:
                receipt = pending.pop(party)
                if receipt.ended:
                    continue
                self._answer(party, receipt.message)
                answered.add(party)
            # What a party sends next to a matching that waits for others is no message.
            ready = answered - self._matchmaker.waiting
            pending.update(self._mesh.messages(ready))
            answered -= ready

    def _answer(self, party: str, message: Any) -> None:
        match message:
            case {"deal": [*requests], **rest} if not rest and party == self._parties[0]:
                for request in requests:
                    self._deal(party, request)
            case {"match": wanted, **rest} if not rest:
                self._served["match"] += self._matchmaker.take(party, wanted)
            case _:
                raise ProtocolViolation(f"{party!r} sent a request that the dealer does not know")

    def _deal(self, party: str, content: Any) -> None:
        request, names = self._read(content)
        streams = [Stream(key, self._number) for key in self._keys]
        sources = [[source(key, name) for key in self._keys] for name in names]
        self._number += 1
        self._served[request.KIND] += 1
        for tensor in deal(request, streams, sources):
            if tensor.numel():
                self._mesh.post(party, payload(tensor))
        if self._mesh.queued_bytes > MAX_QUEUED_BYTES:
            self._mesh.wait()  # a party that asks and does not read fills its own memory, not ours

    def _read(self, content: Any) -> tuple[Correlation, list[Name]]:
        """Return a request, and the names of its operands' masks."""
        match content:
            case [described, *names]:
                request = self._described(described)
                if len(names) == len(request.operands):
                    return request, decode_names(names)
        raise ProtocolViolation("a malformed request reached the dealer")

    def _described(self, content: Any) -> Correlation:
        """Return a request described here, or by its number among those described before."""
        if isinstance(content, int) and 0 <= content < len(self._kinds):
            return self._kinds[content]
        if len(self._kinds) == MAX_KINDS:
            raise ProtocolViolation("a session asked the dealer for too many kinds of things")
        self._kinds.append(decode(content))
        return self._kinds[-1]
