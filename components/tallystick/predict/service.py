"""The joint side of a service: batch after batch, until somebody is told to stop.

Roles: the receiver R, who has the endpoint and learns the predictions; the others P; the dealer.
Messages, R to each P, as JSON, one after the other:

- ``{"batch": n, "places": [...]}``: the next n rows; of matched rows their places. All share their
  features, compute, and open what was asked for to R, as predict does for a piece.
- ``{"tick": true}``, once a second between batches; P answers ``{"stop": ...}``: whether it was
  told to end. So a link is never idle for long, and a peer that has gone is missed at once.
- ``{"end": true}``: all finish together, and compare their ledgers.

Rounds: those of one batch, whatever number of rows it has. Bytes: 60 a second while nobody asks.
Learnt: by R, the predictions. By each P, when and how many rows are asked for; of matched rows also
which of those that psi gave to all. By the dealer, the shapes.
Adversary: semi-honest; a P holds R to the rows and the number of them that were agreed.
"""

# n = rows of a batch, F = features of this party.

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from tallystick.models import scoring
from tallystick.models.artifact import SharedModel
from tallystick.predict import answers
from tallystick.predict.desk import Closed, Desk, Request
from tallystick.predict.forms import Matched
from tallystick.predict.layout import Layout
from tallystick.runtime import events
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.session import Session

if TYPE_CHECKING:
    from tallystick.predict.serve import Config

TICK_S = 1.0


class Service:
    """One party's side, once the model is shared."""

    layout: Layout

    def __init__(
        self,
        config: "Config",
        session: Session,
        model: SharedModel,
        names: tuple[str, ...],
        matched: Matched | None,
    ) -> None:
        self._config, self._session, self._model = config, session, model
        self._names, self._matched = names, matched
        self.rows = 0

    def ask(self, desk: Desk, stop: threading.Event) -> None:
        """Take requests from the desk to the others, until somebody is to stop."""
        mesh = self._session.mesh
        others = [name for name in self._session.parties if name != self._session.party]
        ticked = time.monotonic()
        while desk.is_open or not desk.is_empty:
            batch = desk.take(TICK_S)
            if batch:
                self._ask(batch, others)
            if time.monotonic() - ticked >= TICK_S:
                self._tell({"tick": True}, others)
                receipts = mesh.messages(others)
                mesh.wait(receipts.values(), counted=False)
                if stop.is_set() or any(_says_stop(r.message) for r in receipts.values()):
                    desk.close()
                ticked = time.monotonic()
        self._tell({"end": True}, others)

    def answer(self, stop: threading.Event) -> None:
        """Compute with the receiver until it ends the service."""
        mesh, receiver = self._session.mesh, self._config.receiver
        while True:
            match mesh.message(receiver):
                case {"batch": int(n), "places": list(places), **rest} if not rest:
                    self._require_sound(n, places)
                    self._compute(n, places, self._own(places))
                case {"tick": True, **rest} if not rest:
                    mesh.post_message(receiver, {"stop": stop.is_set()})
                case {"end": True, **rest} if not rest:
                    return
                case _:
                    raise ProtocolViolation(f"{receiver!r} sent a request that no service knows")

    def _ask(self, batch: Sequence[Request], others: Sequence[str]) -> None:
        n = sum(request.count for request in batch)
        places = [place for request in batch for place in request.places]
        values = [request.values for request in batch if request.values is not None]
        try:
            self._tell({"batch": n, "places": places}, others)
            opened = self._compute(
                n, places, np.concatenate(values) if values else self._own(places)
            )
        except BaseException:
            for request in batch:
                request.answer.set_exception(Closed())
            raise
        assert opened is not None
        label = self._model.manifest.joint["label"]
        found = answers.columns(opened, self._config.output, label, self._names)
        rows = pa.table(found).to_pylist()
        for request in batch:
            request.answer.set_result(rows[: request.count])
            del rows[: request.count]

    def _compute(
        self, n: int, places: Sequence[int], own: NDArray[np.float64] | None
    ) -> Tensor | None:
        session, output = self._session, self._config.output
        features = self.layout.joined(own, n)
        opened = session.ledger.reveal(
            answers.answer(
                session.engine, scoring.outputs(session.engine, self._model, features), output
            ),
            answers.WHAT[output],
            why="the job names who gets them",
            to=[self._config.receiver],
        )
        session.ledger.fold()
        self.rows += n
        events.emit("answered", rows=n, total=self.rows)
        return opened

    def _own(self, places: Sequence[int]) -> NDArray[np.float64] | None:
        return None if self._matched is None else self._matched.at(places)

    def _require_sound(self, n: int, places: Sequence[Any]) -> None:
        """Hold the receiver to what was agreed.

        Raises:
            ProtocolViolation: more rows than may be, or rows that are none.
        """
        limit = self._config.most_rows
        if not 0 < n <= self._config.max_rows or (limit and self.rows + n > limit):
            raise ProtocolViolation(
                f"{self._config.receiver!r} asks for more rows than this party allows"
            )
        count = 0 if self._matched is None else self._matched.count
        if len(places) != (n if count else 0) or not all(
            type(place) is int and 0 <= place < count for place in places
        ):
            raise ProtocolViolation(f"{self._config.receiver!r} asks for rows that there are not")

    def _tell(self, message: dict[str, Any], others: Sequence[str]) -> None:
        for name in others:
            self._session.mesh.post_message(name, message)


def _says_stop(message: Any) -> bool:
    match message:
        case {"stop": bool(stop), **rest} if not rest:
            return stop
    raise ProtocolViolation("a party did not answer as a service's side does")
