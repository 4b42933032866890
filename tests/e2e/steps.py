"""Steps without Kubeflow: each party's side of a step in a process of its own, by its entry point.

The processes are forks of one that has imported the package already, which spares each of them the
seconds that importing takes.
"""

import contextlib
import importlib
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tests import harness
from tests.e2e import running

STEPS = ("psi", "encode", "train", "evaluate", "export")
INPUTS = {
    "psi": {},
    "encode": {"aligned": "aligned"},
    "train": {"shares": "shares"},
    "evaluate": {"shares": "shares", "trained": "trained"},
    "export": {"trained": "trained"},
    "predict": {},
}
OUTPUTS = {
    "psi": {"aligned": "aligned"},
    "encode": {"shares": "shares"},
    "train": {"trained": "trained"},
    "evaluate": {"report": "report.html"},
    "export": {"exported": "exported"},
    "predict": {"predictions": "predictions"},
}
PARAMETERS = {
    "psi": ("id_columns", "min_intersection"),
    "encode": (
        "id_columns",
        "label",
        "model",
        "test_fraction",
        "seed",
        "standardise",
        "preparation",
    ),
    "train": ("model", "epochs", "batch_size", "learning_rate", "momentum", "l2", "seed"),
    "evaluate": (),
    "export": ("export_to", "agree_to_export"),
    "predict": (
        *("receiver", "output", "model_owner", "feature_shape", "id_columns"),
        *("trained", "model_file", "architecture", "prepared", "class_names"),
    ),
}
DEFAULTS: Mapping[str, Any] = {
    "id_columns": ["id"],
    "min_intersection": 10,
    "label": "y",
    "model": "logistic_regression",
    "test_fraction": 0.2,
    "seed": 0,
    "standardise": True,
    "preparation": {},
    "epochs": 1,
    "batch_size": 64,
    "learning_rate": 0.1,
    "momentum": 0.8,
    "l2": 0.0,
    "export_to": [],
    "agree_to_export": True,
    "output": "class",
    "model_owner": "",
    "trained": "",
    "model_file": "",
    "feature_shape": [],
    "architecture": "",
    "prepared": "",
    "class_names": "",
}
JOIN_TIMEOUT_S = 60
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [
        *("tests.harness", "mlflow", "tallystick.side", "tallystick.predict.endpoint"),
        *(f"tallystick.{step}.step" for step in INPUTS),
    ]
)


class Metrics:
    """Stands in for Kubeflow's artifacts of metrics."""

    def log_metric(self, name: str, value: float) -> None:
        assert isinstance(value, float)

    def log_confusion_matrix(self, classes: list[str], matrix: list[list[int]]) -> None:
        assert len(classes) == len(matrix)

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        assert len(fpr) == len(tpr) == len(threshold)
        assert all(math.isfinite(value) for value in (*fpr, *tpr, *threshold))


@dataclass(frozen=True)
class Side:
    """How one party's side of a step ended."""

    exit_code: int
    log: str

    def event(self, kind: str) -> dict[str, Any]:
        """The one event of that kind."""
        (event,) = (e for e in running.events(self.log) if e["event"] == kind)
        return event


@dataclass(frozen=True)
class Site:
    """A consortium with its dealer, where any number of sessions may take place."""

    place: harness.Place
    empty_store: Path


@dataclass(frozen=True)
class Session:
    """One session: its parties' folders, and the parameters that hold for all of them."""

    site: Site
    folder: Path
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parties(self) -> tuple[str, ...]:
        return self.site.place.parties

    def of(self, party: str) -> Path:
        return self.folder / party

    def write(self, tables: Mapping[str, pd.DataFrame]) -> None:
        for party, table in tables.items():
            self.of(party).mkdir(parents=True)
            table.to_csv(self.of(party) / "data.csv", index=False)

    def run(
        self,
        step: str,
        *,
        parties: tuple[str, ...] = (),
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        timeout_s: float = 100,
        before: Callable[[Path], None] | None = None,
    ) -> dict[str, Side]:
        """Run a step at all parties (or only at some), and wait for all of them.

        Args:
            step: its name.
            parties: who takes part; all by default.
            changes: arguments of single parties.
            timeout_s: a step that takes longer is stuck.
            before: called in each party's process, with the party's folder.
        """
        sides = {
            party: processes.Process(
                target=_side,
                args=(step, self._arguments(step, party, (changes or {}).get(party, {}))),
                kwargs={
                    "folder": str(self.of(party)),
                    "store": str(self.site.empty_store),
                    "before": before,
                },
            )
            for party in parties or self.parties
        }
        deadline = time.monotonic() + timeout_s
        for process in sides.values():
            process.start()
        try:
            for party, process in sides.items():
                process.join(max(0.0, deadline - time.monotonic()))
                assert process.exitcode is not None, f"{party} is stuck in {step}"
        finally:
            for process in sides.values():
                process.kill()
                process.join()
        return {
            party: Side(process.exitcode or 0, (self.of(party) / f"{step}.log").read_text())
            for party, process in sides.items()
        }

    def _arguments(self, step: str, party: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        parameters = {**DEFAULTS, **self.parameters}
        own = self.of(party)
        return {
            "party": party,
            "session": self.name,
            "consortium": self.site.place.consortium,
            "identity": self.site.place.identity(party),
            "join_timeout_s": JOIN_TIMEOUT_S,
            "reveals": own / f"{step}.md",
            **({"data": own / "data.csv"} if step == "psi" else {}),
            **({"metrics": Metrics()} if step in ("train", "evaluate") else {}),
            **({"confusion": Metrics()} if step == "evaluate" else {}),
            **{name: own / path for name, path in (INPUTS[step] | OUTPUTS[step]).items()},
            **{name: parameters[name] for name in PARAMETERS[step]},
            **changes,
        }


def _side(
    step: str,
    arguments: dict[str, Any],
    *,
    folder: str,
    store: str,
    before: Callable[[Path], None] | None,
) -> None:
    settle(step, folder, store)
    if before is not None:
        before(Path(folder))
    importlib.import_module(f"tallystick.{step}.step").run(arguments)


def settle(step: str, folder: str, store: str) -> None:
    """Make this process that of a party: its log, its folder, its MLflow store."""
    log = os.open(f"{folder}/{step}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in [name for name in os.environ if name.startswith("MLFLOW")]:
        del os.environ[name]
    os.environ["OMP_NUM_THREADS"] = "1"
    os.chdir(folder)
    if not Path("mlflow.db").exists():
        shutil.copy(store, "mlflow.db")


def parted(folder: Path) -> None:
    """Let the parties' ledgers differ, which they find when all else is done."""
    from tallystick.runtime.ledger import Ledger

    Ledger.digest = lambda self: folder.name  # type: ignore[method-assign]


@contextlib.contextmanager
def site(folder: Path, parties: int) -> Iterator[Site]:
    """Found a consortium and start its dealer."""
    folder.mkdir(parents=True, exist_ok=True)
    place = harness.make_place(folder, parties)
    store = folder / "empty.db"
    # Making a store's tables takes seconds; every party gets a copy instead.
    maker = processes.Process(target=_make_store, args=(str(store),))
    maker.start()
    with harness.dealer(place):
        maker.join()
        assert maker.exitcode == 0
        yield Site(place, store)


def _make_store(path: str) -> None:
    from tallystick import tracking

    tracking.connect(f"sqlite:///{path}")
