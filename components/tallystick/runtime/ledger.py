"""Every value that is opened: what, to whom, how many values, and why.

Nothing in tallystick opens a shared value but :meth:`Ledger.reveal`. The parties compare their
ledgers at the end of a step, and a step whose ledgers differ publishes nothing.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from tallystick.runtime.engine import Engine, Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One opening."""

    what: str
    to: tuple[str, ...]
    count: int
    why: str
    times: int = 1
    """How many openings this entry stands for; see :meth:`Ledger.fold`."""


class Ledger:
    """The openings of one session of one step, in order."""

    def __init__(self, parties: Sequence[str], engine: "Engine") -> None:
        self.entries: list[Entry] = []
        self._parties = tuple(parties)
        self._engine = engine

    def note(self, what: str, *, why: str, count: int, to: Sequence[str] | None = None) -> None:
        """Record values that a protocol opens by itself (PSI's matches, say).

        Args:
            what: the values' name, singular or plural, no data in it.
            why: the reason that a reviewer reads.
            count: how many values.
            to: names of the parties that learn them; all by default.

        Raises:
            ValueError: a receiver that is no party.
        """
        receivers = self._parties if to is None else tuple(to)
        if not set(receivers) <= set(self._parties):
            raise ValueError(f"of {receivers} some are not among the parties {self._parties}")
        self.entries.append(Entry(what=what, to=receivers, count=count, why=why))

    def reveal(
        self, secret: "Secret", what: str, *, why: str, to: Sequence[str] | None = None
    ) -> Tensor | None:
        """Open a shared value to the named parties and record it.

        Returns:
            float64 plaintext, of the secret's shape; None at a party that is not in ``to``.
        """
        self.note(what, why=why, count=secret.nelement(), to=to)
        receivers = self._parties if to is None else tuple(to)
        return self._engine.open(secret, [self._parties.index(name) for name in receivers])

    def fold(self) -> None:
        """Let one entry stand for all openings of a kind, for a step that opens without end.

        Every party of a session folds at the same place, or the ledgers would differ.
        """
        found: dict[tuple[str, tuple[str, ...], str], Entry] = {}
        for entry in self.entries:
            key = (entry.what, entry.to, entry.why)
            before = found.get(key)
            if before is not None:
                times, count = before.times + entry.times, before.count + entry.count
                entry = dataclasses.replace(before, times=times, count=count)
            found[key] = entry
        self.entries = list(found.values())

    def as_json(self) -> list[dict[str, object]]:
        """Return the entries as JSON values."""
        return [_as_json(entry) for entry in self.entries]

    def digest(self) -> str:
        """Return the SHA-256 of all entries, equal at all parties of an honest session."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    def markdown(self, title: str) -> str:
        """Return the page for the Kubeflow UI and MLflow; equal openings stand in one row."""
        rows: dict[tuple[str, str, str], tuple[int, int]] = {}
        for entry in self.entries:
            key = (_cell(entry.what), ", ".join(entry.to) or "nobody", _cell(entry.why))
            times, count = rows.get(key, (0, 0))
            rows[key] = (times + entry.times, count + entry.count)
        lines = [f"## {title}", ""]
        if not rows:
            return "\n".join([*lines, "Nothing was opened.", ""])
        lines += ["| what was opened | to | times | values | why |", "|---|---|---:|---:|---|"]
        lines += [
            f"| {what} | {to} | {times} | {count} | {why} |"
            for (what, to, why), (times, count) in rows.items()
        ]
        return "\n".join([*lines, ""])


def _as_json(entry: Entry) -> dict[str, object]:
    content = {**dataclasses.asdict(entry), "to": list(entry.to)}
    if entry.times == 1:
        del content["times"]
    return content


def _cell(text: str) -> str:
    """Return text that stays within its cell of a Markdown table."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())
