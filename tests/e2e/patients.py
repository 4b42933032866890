"""Two organisations' tables for a job: real measures, and planted values that nothing else holds.

Ids say who knows them: ``ID-ALICE-...`` and ``ID-BOB-...`` are one side's own, ``ID-BOTH-...`` is
in the intersection. Each side has two planted columns beside each other, with values such as
731.918243: their first four decimals stay the same when a printer rounds or float32 cuts them.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

ID, LABEL = "patient", "malignant"
PLANTED = ("marker_1", "marker_2")
UNKNOWN = 0.2
"""The part of all patients that a side has never seen."""


@dataclass(frozen=True)
class Tables:
    """Each party's table, in an order of its own, and the truth that no party knows."""

    of: dict[str, pd.DataFrame]
    both: frozenset[str]
    """The ids that both hold."""

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for party, table in self.of.items():
            table.to_csv(folder / f"{party}.csv", index=False)


def tables(seed: int, *, planted: bool = True) -> Tables:
    """Split scikit-learn's breast cancer by column; drop and shuffle each side's rows."""
    rng = np.random.default_rng(seed)
    data = load_breast_cancer(as_frame=True)
    count = len(data.target)
    knows = {
        party: np.sort(rng.permutation(count)[: round(count * (1 - UNKNOWN))])
        for party in ("alice", "bob")
    }
    in_both = np.intersect1d(knows["alice"], knows["bob"])
    columns = {"alice": data.data.columns[:10], "bob": data.data.columns[10:]}
    unmistakable = _unmistakable(rng, 4 * count)
    of = {}
    for party, rows in knows.items():
        owner = np.where(np.isin(rows, in_both), "BOTH", party.upper())
        ids = [f"ID-{who}-{_salt(seed, row)}" for who, row in zip(owner, rows, strict=True)]
        table = data.data.loc[rows, columns[party]].copy()
        table.insert(0, ID, ids)
        if party == "alice":
            table.insert(1, LABEL, 1 - data.target.loc[rows])
        for name in planted_columns(party) if planted else ():
            table[name] = [unmistakable.pop() for _ in rows]
        of[party] = table.sample(frac=1, random_state=rng.integers(1 << 31))
    return Tables(of, frozenset(f"ID-BOTH-{_salt(seed, row)}" for row in in_both))


def planted_columns(party: str) -> list[str]:
    """Name a party's two planted columns."""
    return [f"{party}_{name}" for name in PLANTED]


def _salt(seed: int, row: int) -> str:
    return hashlib.sha256(f"{seed} {row}".encode()).hexdigest()[:16]


def _unmistakable(rng: np.random.Generator, count: int) -> list[float]:
    # float32 is off by 30 millionths at most, and the last two digits leave room for that.
    tenthousandths = rng.choice(np.arange(1_000_000, 10_000_000), size=count, replace=False)
    return [float(f"{t // 10_000}.{t % 10_000:04d}{rng.integers(35, 50)}") for t in tenthousandths]
