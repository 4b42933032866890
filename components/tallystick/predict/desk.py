"""The desk of a service: requests wait here in a bounded queue, and are taken several at a time.

The endpoint's thread hands requests in; the thread that computes with the other parties takes them
out. One batch costs the rounds of one row, so requests that come within a short window of each
other, or while another batch is under way, go through together.
"""

# n = rows of a request, F = features of the receiver.

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Full(Exception):
    """So many rows wait already that no more are taken."""


class Spent(Exception):
    """The parties allow no more rows in this session."""


class Closed(Exception):
    """The service is not ready yet, or is about to end."""


@dataclass(frozen=True, slots=True)
class Request:
    """Rows that somebody wants predictions for."""

    count: int
    values: NDArray[np.float64] | None = None
    """[n, F], prepared; None where rows are those that psi matched."""
    places: tuple[int, ...] = ()
    """Of matched rows, in the order that all parties share."""
    answer: "Future[list[dict[str, Any]]]" = field(default_factory=Future)
    """One mapping for each row."""


class Desk:
    """Requests on their way to the other parties.

    Args:
        max_rows: the most rows of a batch, and so of a request.
        max_waiting: the most rows that wait.
        window_s: how long the first request of a batch waits for others.
    """

    def __init__(self, *, max_rows: int, max_waiting: int, window_s: float) -> None:
        self._max_rows, self._max_waiting, self._window_s = max_rows, max_waiting, window_s
        self._queue: deque[tuple[float, Request]] = deque()
        self._waiting = 0
        self._left: int | None = None
        self._is_open = False
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._is_open

    def open(self, most_rows: int) -> None:
        """Begin to take requests.

        Args:
            most_rows: the most rows of the session; 0 for no limit.
        """
        with self._changed:
            self._left = most_rows or None
            self._is_open = True

    def submit(self, request: Request) -> None:
        """Hand a request in.

        Raises:
            Closed: the service does not take any now.
            Full: too many wait.
            Spent: the session's rows are used up.
        """
        with self._changed:
            if not self._is_open:
                raise Closed
            if self._waiting + request.count > self._max_waiting:
                raise Full
            if self._left is not None:
                if request.count > self._left:
                    raise Spent
                self._left -= request.count
            self._waiting += request.count
            self._queue.append((time.monotonic(), request))
            self._changed.notify()

    def take(self, timeout_s: float) -> Sequence[Request]:
        """Return the requests of the next batch; none if none came in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue, timeout_s):
                return []
            begin = self._queue[0][0]
            self._changed.wait_for(
                lambda: self._waiting >= self._max_rows or not self._is_open,
                max(0.0, begin + self._window_s - time.monotonic()),
            )
            taken: list[Request] = []
            room = self._max_rows
            while self._queue and self._queue[0][1].count <= room:
                _, request = self._queue.popleft()
                self._waiting -= request.count
                if request.answer.set_running_or_notify_cancel():  # its client may have gone
                    taken.append(request)
                    room -= request.count
            return taken

    def close(self) -> None:
        """Take no more requests; those that wait may still be taken out."""
        with self._changed:
            self._is_open = False
            self._changed.notify()

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._queue

    def abandon(self) -> None:
        """Tell all who wait that there will be no answer."""
        self.close()
        with self._changed:
            for _, request in self._queue:
                if request.answer.set_running_or_notify_cancel():
                    request.answer.set_exception(Closed())
            self._queue.clear()
            self._waiting = 0
