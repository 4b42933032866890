"""Time a service: latency of one client, throughput of several, each through HTTP.

``python -m tests.benchmarks.serving`` prints wall milliseconds, predictions a second and the
processor time of one party for a prediction. Two parties and a dealer, one thread each; the model
is one party's, the rows the other's.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from tallystick.models.networks import NETWORKS

from tests.e2e import services, steps

MODELS: Mapping[str, tuple[Sequence[int], int]] = {
    "softmax_regression": ((30,), 2),
    "mlp": ((30,), 2),
    "lenet": ((1, 28, 28), 10),
}
SINGLE = 40
CLIENTS = 8
ROWS = (1, 32)


def main() -> None:
    table = Table("model", "start, s", "one row: median, ms", "95 %, ms")
    for rows in ROWS:
        table.add_column(f"{CLIENTS} clients, {rows} rows each: rows/s")
        table.add_column("CPU a row, ms")
    with tempfile.TemporaryDirectory() as folder, steps.site(Path(folder), parties=2) as site:
        for name in MODELS:
            table.add_row(name, *_measured(site, Path(folder) / name, name))
    console = Console(width=140)
    console.print(table)
    console.print(f"load of this machine in the last minute: {os.getloadavg()[0]:.1f}")


def _measured(site: steps.Site, folder: Path, name: str) -> list[str]:
    shape, classes = MODELS[name]
    session = steps.Session(site, folder, name)
    for party in session.parties:
        session.of(party).mkdir(parents=True)
    torch.manual_seed(0)
    module = NETWORKS[name](tuple(shape), classes).eval()
    save_file(module.state_dict(), session.of("alice") / "weights.safetensors")
    own: dict[str, Any] = {
        "all": {"model_owner": "alice", "feature_shape": shape, "max_rows": 256},
        "alice": {"model_file": "weights.safetensors", "architecture": name},
    }
    begin = time.monotonic()
    with services.serving(session, **own) as service:
        start_s = time.monotonic() - begin
        row = np.random.default_rng(0).random(tuple(shape)).round(4).tolist()
        for _ in range(5):
            service.predict(rows=[row])
        seconds = []
        for _ in range(SINGLE):
            begin = time.monotonic()
            service.predict(rows=[row])
            seconds.append(time.monotonic() - begin)
        median, late = np.quantile(seconds, [0.5, 0.95])
        found = [f"{start_s:.1f}", f"{median * 1e3:.0f}", f"{late * 1e3:.0f}"]
        for rows in ROWS:
            found += _throughput(service, [row] * rows)
    return found


def _throughput(service: services.Running, rows: list[Any]) -> list[str]:
    alice = service.processes["alice"].pid or 0
    with ThreadPoolExecutor(CLIENTS) as clients:

        def ask(times: int) -> None:
            list(clients.map(lambda _: service.predict(rows=rows), range(times)))

        ask(2 * CLIENTS)
        cpu, begin = _cpu_seconds(alice), time.monotonic()
        ask(5 * CLIENTS)
        seconds, cpu = time.monotonic() - begin, _cpu_seconds(alice) - cpu
    count = 5 * CLIENTS * len(rows)
    return [f"{count / seconds:.0f}", f"{cpu / count * 1e3:.2f}"]


def _cpu_seconds(pid: int) -> float:
    """Return a process's processor time; the model's owner has no endpoint, so it is all ours."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
