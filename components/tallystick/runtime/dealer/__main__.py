"""``python -m tallystick.runtime.dealer``: the dealer as a process."""

import argparse
import signal
import sys
from pathlib import Path

from tallystick.runtime import events
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.dealer.server import DealerServer, limit_threads
from tallystick.runtime.errors import TallystickError


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--consortium", type=Path, required=True, help="the consortium file")
    parser.add_argument("--identity", type=Path, required=True, help="folder with tls.key, tls.crt")
    parser.add_argument("--metrics-port", type=int, help="where Prometheus and probes may ask")
    arguments = parser.parse_args()
    return serve(arguments.consortium, arguments.identity, arguments.metrics_port)


def serve(consortium_path: Path, identity: Path, metrics_port: int | None = None) -> int:
    """Run the dealer of a consortium in this process until it is told to stop."""
    try:
        consortium = Consortium.load(consortium_path)
        events.set_context(session="", step="dealer", party=consortium.dealer.name)
        limit_threads()
        server = DealerServer(consortium, identity)
        if metrics_port is not None:
            from tallystick.runtime.dealer.exposition import expose

            expose(metrics_port)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        server.serve()
    except TallystickError as error:
        events.emit(
            "failed", kind=type(error).__name__, exit_code=error.exit_code, message=str(error)
        )
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
