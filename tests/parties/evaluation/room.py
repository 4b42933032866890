"""Scores, labels and groups for tests of metrics, and how near a metric must be."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tallystick.runtime.engine import Secret

EXACT = 1e-9
"""Ratios of counts."""
ROUNDED = 2.0**-11
"""What comes of functions in fixed point: 4.9e-4."""
TWO_AND_MORE = pytest.mark.parametrize(
    "place", [2, pytest.param(3, marks=pytest.mark.slow)], ids=["two", "three"], indirect=True
)


def scores_and_labels(kind: str, rows: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores that fixed point holds exactly, so that ties are the same ties."""
    rng = np.random.default_rng(rows)
    label = (rng.random(rows) < 0.3).astype(np.int64)
    score = np.round((rng.normal(size=rows) + 1.5 * label - 1) * 2**12) / 2**12
    match kind:
        case "ties":
            score = np.round(score * 2) / 2
        case "equal":
            score[:] = 0.25
        case "no positive":
            label[:] = 0
        case "no negative":
            label[:] = 1
    return score, label


def shared(session: Any, value: NDArray[Any], owner: int) -> Secret:
    tensor = torch.from_numpy(np.asarray(value, dtype=np.float64))
    mine = tensor if session.rank == owner else None
    return session.engine.share(mine, owner, tensor.shape)


def agree(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert found.keys() == wanted.keys()
    rounded = {"log_loss", "brier"}
    for name, value in wanted.items():
        allowed = ROUNDED if name in rounded else EXACT if name != "average_precision" else 1e-4
        assert found[name] == pytest.approx(value, abs=allowed), name


def classes(
    kind: str, rows: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Scores, classes and groups."""
    rng = np.random.default_rng(rows)
    label = rng.integers(0, count, rows)
    if kind == "one missing":
        label[label == 1] = 0
    score = rng.normal(size=(rows, count)) + 2 * np.eye(count)[label]
    score = np.round(score * (1 if kind == "ties" else 2**12)) / (1 if kind == "ties" else 2**12)
    if kind == "equal":
        score[:] = 0.5
    return score, label, rng.integers(0, 3, rows)


DEVIATION, MEAN = 12.5, 40.0


def numbers(
    kind: str, rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Predictions, labels and groups; the last group has two rows."""
    rng = np.random.default_rng(rows)
    label = np.round(rng.normal(size=rows) * 2**12) / 2**12
    score = label + np.round(rng.normal(size=rows) * 0.3 * 2**12) / 2**12 + 0.0625
    group = rng.integers(0, 2, rows)
    group[:2] = 2
    if kind == "constant":
        label[:] = 1.5
    if kind == "perfect":
        score = label.copy()
    return score, label, group
