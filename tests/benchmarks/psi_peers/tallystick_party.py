"""One party of tallystick's psi step, as Kubeflow's pod would run it, and the bytes that it sends.

``python tallystick_party.py ARGUMENTS`` with the step's arguments as JSON. Waits for a line on
standard input once everything is imported, and prints one line of JSON when it is done.
"""

import json
import sys
import time
from typing import Any

from tallystick import __version__
from tallystick.psi import step
from tallystick.runtime.mesh import Mesh


def main(arguments: dict[str, Any]) -> None:
    """Run the step."""
    sent: dict[str, int] = {}
    end = Mesh.end

    def end_and_count(mesh: Mesh) -> None:
        end(mesh)
        sent.update({name: link.counters.sent_bytes for name, link in mesh.links.items()})

    Mesh.end = end_and_count
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    start = time.perf_counter()
    matched = step.run(arguments)
    line = {"seconds": time.perf_counter() - start, "matched": matched, "sent_bytes": sent}
    sys.stdout.write(json.dumps({**line, "version": __version__}) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
