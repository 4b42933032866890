"""What one sees of a run: a live table on a terminal, elsewhere one line for each event."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tallystick.local.record import Record, Step

STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "done": "green",
    "failed": "bold red",
    "stopped": "yellow",
}


class Display:
    """The view of one run."""

    def __init__(self, console: Console, record: Record, parties: Sequence[str]) -> None:
        self._console = console
        self._record = record
        self._parties = parties
        self._began = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._stack.enter_context(
                Live(
                    get_renderable=self._table,
                    console=self._console,
                    refresh_per_second=5,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def tell(self, party: str, step: str, words: str, *, always: bool = False) -> None:
        """Say what happened.

        Args:
            party: the party or dealer that it happened to.
            step: the step that it happened in.
            words: what happened; with no words nothing is said.
            always: whether it is said beside the table too, which shows progress by itself.
        """
        if words and (always or not self._console.is_terminal):
            seconds = time.monotonic() - self._began
            # No wrapping, so that one event is one line for whatever reads it.
            self._console.print(
                f"{seconds:6.1f} s  {party} {step}: {words}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("party")
        rows = {party: dict(self._record.steps[party]) for party in self._parties}
        names = list(dict.fromkeys(name for steps in rows.values() for name in steps))
        for name in names:
            table.add_column(escape(name), min_width=12)
        for party, steps in rows.items():
            table.add_row(escape(party), *(cell(steps.get(name) or Step()) for name in names))
        return table


def cell(step: Step) -> Text:
    """Show one step at one party."""
    words: str = step.status
    if step.status == "running":
        words = f"{time.monotonic() - step.began:.0f} s"
        if step.note:
            words += f"\n{step.note}"
    elif step.status != "waiting":
        words += f" {step.seconds:.1f} s"
    return Text(words, style=STYLES[step.status])
