"""What a step says while it runs: one JSON object a line, on standard output.

People read these lines in the pod's log, log collectors parse them, and ``tallystick run`` draws
its progress from them. They carry counts, seconds and agreed totals; never a row, id, label, score
or share.
"""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_context: dict[str, str] = {}
_observers: list[Callable[[str, Mapping[str, Any]], None]] = []


def set_context(*, session: str, step: str, party: str) -> None:
    """Say whose events this process emits from now on."""
    _context.update(session=session, step=step, party=party)


def observe(observer: Callable[[str, Mapping[str, Any]], None]) -> None:
    """Have a function called with each event of this process and its fields, before it is said."""
    _observers.append(observer)


def emit(event: str, **fields: object) -> None:
    """Write one event line.

    Args:
        event: started, joined, progress, warning, finished or failed; training's own are estimate
            and resumed, a service's ready and answered; the dealer's are serving, gathered and
            served.
        fields: JSON values that belong to it.
    """
    for observer in _observers:
        observer(event, fields)
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": time, **_context, "event": event, **fields}, allow_nan=False)
    # One write, so that lines of two processes on one log do not mix.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
