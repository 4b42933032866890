"""``python -m tallystick.psi.worker``: does the tasks that come on standard input."""

import os
import sys

from tallystick.psi.tasks import TASKS, Work
from tallystick.psi.workers import receive, send


def main() -> None:
    """Work until standard input ends."""
    # Nothing that a library prints may get between the frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (received := receive(sys.stdin.buffer)) is not None:
        header, payload = received
        done = TASKS[str(header.pop("task"))](Work(payload, header))
        send(answers, done.about, done.payload)


if __name__ == "__main__":
    main()
