"""What a step says while it runs: one JSON object a line, on standard output.

People read these lines in the pod's log, log collectors parse them, and ``tallystick run`` draws
its progress from them. They carry counts, seconds and agreed totals; never a row, id, label, score
or share.
"""

import json
import sys
from datetime import UTC, datetime

_context: dict[str, str] = {}


def set_context(*, session: str, step: str, party: str) -> None:
    """Say whose events this process emits from now on."""
    _context.update(session=session, step=step, party=party)


def emit(event: str, **fields: object) -> None:
    """Write one event line.

    Args:
        event: started, joined, progress, warning, finished or failed.
        fields: JSON values that belong to it.
    """
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": time, **_context, "event": event, **fields}, allow_nan=False)
    # One write, so that lines of two processes on one log do not mix.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
