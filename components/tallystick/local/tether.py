"""Run a module in this process, and end when the process that started it ends, however it ends.

``python -m tallystick.local.tether MODULE [ARGUMENT...]``. Standard input is a pipe that the
supervisor holds open and never writes to. Even a supervisor killed by SIGKILL lets go of it: then
this process kills its whole group, so that no step outlives the command that a user typed.
"""

import os
import runpy
import signal
import sys
import threading


def hold() -> None:
    """Watch the pipe from a thread of its own."""
    threading.Thread(target=_watch, name="tether", daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    # The supervisor starts each process as the leader of its own group; without one, killing
    # the group would take the caller's shell along.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    hold()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
