"""``make bench-psi``: this PSI beside SPU's and OpenMined's, each as processes of its own.

Every party reads a CSV file, meets the other over loopback, matches, and writes its result. The
clock runs from when all processes have imported what they need until the last has written; what all
processes of a run, the dealer's included, have used of processors and memory is theirs as the
operating system counts it.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv
from rich.console import Console
from rich.table import Table
from tallystick.runtime.consortium import Consortium, Member
from tallystick.runtime.identity import keygen

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers"
SCRIPTS = Path(__file__).parent / "psi_peers"
NAMES = ("alice", "bob")
DEALER = "notary"


@dataclass(frozen=True)
class Process:
    """One process of a run, when it is over."""

    said: dict[str, object]
    """The line of JSON that it ended with."""
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Run:
    """One run: how long it took, and what each process used."""

    wall_s: float
    processes: dict[str, Process]

    @property
    def cpu_s(self) -> float:
        return sum(process.cpu_s for process in self.processes.values())


class Started:
    """A process that has imported what it needs."""

    def __init__(self, command: Sequence[str], ready: str, **environment: str) -> None:
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            if ready in line:
                self._before_s = self._cpu_s()
                return
        raise RuntimeError(f"{command[1]} ended before it was ready")

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def go(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def end(self) -> Process:
        """Wait for its end."""
        assert self.popen.stdout is not None
        lines = [line for line in self.popen.stdout if line.startswith("{")]
        _, status, usage = os.wait4(self.popen.pid, 0)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        if self.popen.returncode not in (0, -15):
            raise RuntimeError(f"{self.popen.args} failed: {lines[-1:]}")
        said = json.loads(lines[-1]) if lines else {}
        cpu_s = usage.ru_utime + usage.ru_stime - self._before_s
        return Process(said, cpu_s, usage.ru_maxrss * 1024)


def timed(started: dict[str, Started], helpers: dict[str, Started]) -> Run:
    """Let parties go, wait for them, then end those that only help."""
    start = time.perf_counter()
    for party in started.values():
        party.go()
    ended = {name: party.end() for name, party in started.items()}
    wall_s = time.perf_counter() - start
    for name, helper in helpers.items():
        helper.popen.terminate()
        ended[name] = helper.end()
    return Run(wall_s, ended)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found_consortium(folder: Path) -> str:
    """Make keys and certificates for all; return the path of the consortium file."""
    members = [
        Member(
            name=name,
            address=f"127.0.0.1:{free_port()}",
            certificate=keygen(name, folder / name).read_text(),
        )
        for name in (*NAMES, DEALER)
    ]
    path = folder / "consortium.yaml"
    Consortium(parties=tuple(members[:-1]), dealer=members[-1]).save(path)
    return str(path)


def ours(protocol: str, folder: Path) -> Run:
    """Run the psi step at two parties, with a dealer."""
    with tempfile.TemporaryDirectory() as scratch:
        consortium = found_consortium(Path(scratch))
        command = [sys.executable, "-m", "tallystick.runtime.dealer"]
        command += ["--consortium", consortium, "--identity", f"{scratch}/{DEALER}"]
        dealer = Started(command, '"serving"')
        parties = {}
        for name in NAMES:
            arguments = {
                "party": name,
                "session": "bench-1",
                "data": str(folder / f"{name}.csv"),
                "id_columns": ["id"],
                "min_intersection": 1,
                "protocol": protocol,
                "consortium": consortium,
                "identity": f"{scratch}/{name}",
                "aligned": f"{scratch}/{name}/aligned",
                "reveals": f"{scratch}/{name}/reveals.md",
            }
            script = str(SCRIPTS / "tallystick_party.py")
            # As many threads as a party gets from `tallystick run` on this machine.
            threads = str(max(1, len(os.sched_getaffinity(0)) // len(NAMES)))
            command = [sys.executable, script, json.dumps(arguments)]
            parties[name] = Started(command, "ready", OMP_NUM_THREADS=threads)
        return timed(parties, {DEALER: dealer})


def files(folder: Path, scratch: str, name: str) -> tuple[str, str]:
    """Return where a party's input is and where its output goes."""
    return str(folder / f"{name}.csv"), f"{scratch}/{name}.csv"


def spu(protocol: str, folder: Path) -> Run:
    """Run SPU's PSI at two parties; both learn the result."""
    python, script = str(PEERS / "spu" / "bin" / "python"), str(SCRIPTS / "spu_party.py")
    ports = [str(free_port()), str(free_port())]
    with tempfile.TemporaryDirectory() as scratch:
        return timed(
            {
                name: Started(
                    [python, script, protocol, str(rank), *ports, *files(folder, scratch, name)],
                    "ready",
                )
                for rank, name in enumerate(NAMES)
            },
            {},
        )


def openmined(_: str, folder: Path) -> Run:
    """Run OpenMined's PSI; the client alone learns the result."""
    python = str(PEERS / "openmined" / "bin" / "python")
    script, port = str(SCRIPTS / "openmined_party.py"), str(free_port())
    with tempfile.TemporaryDirectory() as scratch:
        return timed(
            {
                name: Started(
                    [python, script, role, port, *files(folder, scratch, name)],
                    "ready",
                )
                for role, name in zip(("client", "server"), NAMES, strict=True)
            },
            {},
        )


SUBJECTS: dict[str, tuple[Callable[[str, Path], Run], str]] = {
    "ours aided": (ours, "aided"),
    "ours ecdh": (ours, "ecdh"),
    "SPU RR22": (spu, "RR22"),
    "SPU KKRT": (spu, "KKRT"),
    "SPU ECDH": (spu, "ECDH"),
    "OpenMined": (openmined, ""),
}


@contextlib.contextmanager
def tables(rows: int) -> Iterator[Path]:
    """Make two files of as many ids, in random order, half of them in both."""
    with tempfile.TemporaryDirectory() as scratch:
        for seed, name in enumerate(NAMES):
            # In a process of its own: what is started from a big process counts its memory too.
            arguments = (rows, seed, Path(scratch) / f"{name}.csv")
            maker = multiprocessing.get_context("spawn").Process(target=write_table, args=arguments)
            maker.start()
            maker.join()
        yield Path(scratch)


def write_table(rows: int, seed: int, path: Path) -> None:
    """Write one party's file."""
    first = seed * (rows // 2)
    order = np.random.default_rng(seed).permutation(np.arange(first, first + rows))
    ids = pa.array(np.char.add("id", np.char.zfill(order.astype("U12"), 12)))
    csv.write_csv(pa.table({"id": ids}), path)


def main() -> None:
    """Time everybody at every size, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**5, 10**6])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    arguments = parser.parse_args()
    console = Console(width=120)
    for rows in arguments.rows:
        runs: dict[str, list[Run]] = {name: [] for name in arguments.only}
        with tables(rows) as folder:
            # Each in turn, so that a disturbance of the machine meets all of them.
            for _ in range(arguments.repeats):
                for name in arguments.only:
                    run, protocol = SUBJECTS[name]
                    runs[name].append(run(protocol, folder))
                    matched = {p.said.get("matched") for p in runs[name][-1].processes.values()}
                    assert rows // 2 in matched, (name, matched)
                    sys.stderr.write(f"{rows} {name}: {runs[name][-1].wall_s:.2f} s\n")
        console.print(shown(rows, runs))


def shown(rows: int, runs: dict[str, list[Run]]) -> Table:
    """Return medians of each subject as a table."""
    title = f"{rows} ids at each of two parties, medians of {len(next(iter(runs.values())))}"
    table = Table("", "wall, s", "processor, s", "peak memory of each, MB", "sent, MB", title=title)
    for name, found in runs.items():
        last = found[-1].processes
        peaks = ", ".join(f"{who} {p.peak_bytes / 1e6:.0f}" for who, p in last.items())
        sent = [p.said.get("sent_bytes") for p in last.values()]
        parties = [sum(each.values()) / 1e6 for each in sent if isinstance(each, dict)]
        table.add_row(
            name,
            f"{statistics.median(run.wall_s for run in found):.2f}",
            f"{statistics.median(run.cpu_s for run in found):.2f}",
            peaks,
            ", ".join(f"{each:.1f}" for each in parties),
        )
    return table


if __name__ == "__main__":
    main()
