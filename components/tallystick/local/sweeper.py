"""Remove a run's containers and network when the run ends, however it ends.

``python -m tallystick.local.sweeper RUN`` makes the network and says so on standard output. Its
standard input is a pipe that the supervisor holds open and never writes to: once it is closed, even
by SIGKILL, everything that carries the run's label goes.
"""

import contextlib
import signal
import sys
import time

from docker.errors import APIError, NotFound

from tallystick.local.containers import LABEL, engine

# A party that is being killed may have asked for one more container.
PAUSE_S, QUIET_LOOKS = 0.3, 2


def main(run: str) -> None:
    """Make the network, wait, and sweep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it goes when the supervisor goes, and after it
    client = engine()
    network = client.networks.create(run, internal=True, labels={LABEL: run})
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    quiet = 0
    while quiet < QUIET_LOOKS:
        found = client.containers.list(all=True, filters={"label": f"{LABEL}={run}"})
        quiet = 0 if found else quiet + 1
        for container in found:
            with contextlib.suppress(APIError):  # its own party's process may be removing it
                container.remove(force=True)
        time.sleep(PAUSE_S)
    with contextlib.suppress(NotFound):
        network.remove()


if __name__ == "__main__":
    main(sys.argv[1])
