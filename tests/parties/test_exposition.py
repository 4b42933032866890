"""A dealer's metrics, from a real dealer that serves a real session."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import torch
from tallystick.runtime.session import Session

from tests import harness
from tests.harness import DEALER


def multiply(session: Session) -> float:
    own = torch.tensor([3.0]) if session.rank == 0 else None
    three = session.engine.share(own, 0, (1,))
    return float(session.ledger.reveal(three * three, "product", why="a test"))


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        return str(page.read().decode())


def test_a_session_is_counted_and_probes_are_answered(tmp_path: Path) -> None:
    place, port = harness.make_place(tmp_path, 2), harness.free_port()
    command = [sys.executable, "-m", "tallystick.runtime.dealer", "--metrics-port", str(port)]
    command += ["--consortium", str(place.consortium), "--identity", str(place.identity(DEALER))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dealer:
        try:
            assert dealer.stdout is not None
            assert '"serving"' in dealer.stdout.readline()
            assert "tallystick_dealer_up 1.0" in scrape(port)
            assert set(harness.run_parties(place, multiply).values()) == {9.0}
            deadline = time.monotonic() + 10
            while "sessions_total{" not in (page := scrape(port)):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert 'sessions_total{outcome="finished",step="test"} 1.0' in page
            assert "sessions_active 0.0" in page
        finally:
            dealer.terminate()
