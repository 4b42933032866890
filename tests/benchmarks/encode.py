"""``make bench-encode``: how long a wide table takes to become shares, and in how much memory.

Two parties and the dealer are processes over loopback; each party runs the step encode under
``/usr/bin/time -v``, on a CSV file with half of the columns, or of the rows.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv
from rich.console import Console
from rich.table import Table

from tests import harness

PARTIES = ("alice", "bob")
PIECE_ROWS = 50_000
STEP = "import json, sys; from tallystick.encode import step; step.run(json.loads(sys.argv[1]))"
MEASURES = {
    "wall": r"Elapsed .*: ([\d:.]+)",
    "user s": r"User time \(seconds\): ([\d.]+)",
    "system s": r"System time \(seconds\): ([\d.]+)",
    "peak kB": r"Maximum resident set size \(kbytes\): (\d+)",
}


def write_table(path: Path, rows: int, columns: int, seed: int, *, label: bool) -> None:
    """Write a CSV file of numbers with six digits, a piece at a time."""
    rng = np.random.default_rng(seed)
    names = [f"x{number}" for number in range(columns)] + (["y"] if label else [])
    writer = None
    for start in range(0, rows, PIECE_ROWS):
        count = min(PIECE_ROWS, rows - start)
        arrays = [pa.array(rng.normal(50, 20, count).round(4)) for _ in range(columns)]
        arrays += [pa.array(rng.integers(0, 2, count))] if label else []
        batch = pa.record_batch(arrays, names=names)
        writer = writer or csv.CSVWriter(path, batch.schema)
        writer.write_batch(batch)
    assert writer is not None
    writer.close()


def measure(place: harness.Place, layout: str, tables: dict[str, Path]) -> dict[str, str]:
    """Run encode at both parties; return each one's report of ``time``."""
    processes = {}
    for party, table in tables.items():
        own = place.folder / party
        arguments = {
            "party": party,
            "session": f"bench-{layout}",
            "consortium": str(place.consortium),
            "identity": str(place.identity(party)),
            "reveals": str(own / "reveals.md"),
            "data": str(table),
            "layout": layout,
            "label": "y",
            "label_classes": ["0", "1"],
            "model": "logistic_regression",
            "test_fraction": 0.2,
            "seed": 0,
            "standardise": True,
            "shares": str(own / "shares"),
        }
        command = ["/usr/bin/time", "-v", sys.executable, "-c", STEP, json.dumps(arguments)]
        processes[party] = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    reports = {party: process.communicate()[1] for party, process in processes.items()}
    for party, process in processes.items():
        if process.returncode:
            raise RuntimeError(f"{party} failed: {reports[party]}")
    return reports


def main(arguments: Sequence[str]) -> None:
    """Measure both layouts and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=100)
    given = parser.parse_args(arguments)
    shown = Table("layout", "party", "MB of CSV", *MEASURES, box=None)
    with tempfile.TemporaryDirectory() as folder:
        place = harness.make_place(Path(folder), 2)
        with harness.dealer(place):
            for layout in ("vertical", "horizontal"):
                halves = (given.rows, given.columns // 2)
                if layout == "horizontal":
                    halves = (given.rows // 2, given.columns)
                tables = {party: Path(folder) / f"{party}.csv" for party in PARTIES}
                for rank, path in enumerate(tables.values()):
                    has_label = layout == "horizontal" or not rank
                    write_table(path, *halves, seed=rank, label=has_label)
                for party, report in measure(place, layout, tables).items():
                    found = [re.search(pattern, report) for pattern in MEASURES.values()]
                    size = tables[party].stat().st_size >> 20
                    shown.add_row(layout, party, str(size), *(m[1] if m else "" for m in found))
    Console().print(shown)


if __name__ == "__main__":
    main(sys.argv[1:])
