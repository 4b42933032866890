"""How far a long piece of work is, at most once a second, with the time that is left."""

import time

from tallystick.runtime import events

EVERY_S = 1.0
_TOO_EARLY_S = 2.0


class Progress:
    """Counts one kind of work.

    Args:
        unit: what is counted, in the plural.
        total: how many there are.
    """

    def __init__(self, unit: str, total: int) -> None:
        self._unit = unit
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._told = self._began

    def add(self, count: int) -> None:
        """Note that so many more are done."""
        self.reached(self._done + count)

    def reached(self, done: int) -> None:
        """Note that so many are done in all."""
        self._done = done
        now = time.monotonic()
        if now - self._told >= EVERY_S:
            self._told = now
            self._tell(now - self._began)

    def end(self) -> None:
        """Say that all is done."""
        self._done = self._total
        self._tell(0.0)

    def _tell(self, seconds: float) -> None:
        fields: dict[str, object] = {"done": self._done, "total": self._total, "unit": self._unit}
        if seconds >= _TOO_EARLY_S and 0 < self._done <= self._total:
            fields["left_s"] = round(seconds / self._done * (self._total - self._done), 1)
        events.emit("progress", **fields)
