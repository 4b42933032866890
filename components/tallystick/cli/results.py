"""What is said of a run once it is over."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tallystick.cli.root import complain

if TYPE_CHECKING:
    from tallystick.local.results import Summary


def report(summary: "Summary", console: Console) -> None:
    """Show how a run went: its totals, or its error, which goes to standard error."""
    if summary.error:
        error = summary.error
        where = f" at {error.party}, step {error.step}" if error.party else ""
        complain(f"{error.kind}{where}: {error.message}")
        return
    rows = {} if summary.rows_matched is None else {"rows matched": summary.rows_matched}
    show({**rows, **summary.metrics}, console)


def show(metrics: Mapping[str, float], console: Console) -> None:
    """Show metrics as a table."""
    table = Table("metric", "value", box=None, pad_edge=False)
    for name, value in metrics.items():
        table.add_row(escape(name), str(value) if isinstance(value, int) else f"{value:.4g}")
    console.print()
    console.print(table)


def guide(summary: "Summary", party: str, console: Console) -> None:
    """Say where to look next, at a party's results."""
    from tallystick.local.workspace import PREVIOUS

    folder = summary.folder
    if summary.error:
        complain(f"The run failed. What each party did: {folder}/*/logs")
        if (folder / PREVIOUS).exists():
            complain(f"What the run before left is kept until one succeeds: {folder / PREVIOUS}")
        return
    mlflow = shutil.which("mlflow") or str(Path(sys.executable).parent / "mlflow")
    runs = folder / party / "mlflow.db"
    console.print()
    for what, file, where in (
        ("report", folder / party / "report.html", ""),
        ("what was opened", folder / party / "reveals.json", ""),
        ("summary", folder / "summary.json", ""),
        ("MLflow", runs, shlex.join([mlflow, "ui", "--backend-store-uri", f"sqlite:///{runs}"])),
    ):
        if file.exists():
            line = f"{what + ':':16} {where or file}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
