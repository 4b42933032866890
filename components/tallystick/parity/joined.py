"""What no party may see, put together: the features, label and model of a finished run.

This machine played every party, on synthetic data, so it may add their shares up.
"""

# N = rows, F = features.

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.models import artifact
from tallystick.tables import shares


@dataclass(frozen=True, slots=True)
class Joined:
    """A run's data and model in plaintext."""

    features: NDArray[np.float64]
    label: NDArray[np.float64]
    train_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    parameters: dict[str, Tensor]
    """float64, by name."""
    joint: dict[str, Any]
    """The model's manifest."""

    @classmethod
    def of(cls, folders: Iterable[Path]) -> "Joined":
        """Add up what stands in the parties' folders of a run."""
        places = list(folders)
        data = [shares.read(_only(place, "encode/shares")) for place in places]
        models = [artifact.read(_only(place, "train/trained")) for place in places]
        rows = np.arange(data[0].manifest.joint["rows"])
        bits = data[0].manifest.joint["precision_bits"]
        return cls(
            features=_decode([one.features(rows) for one in data], bits).numpy(),
            label=_decode([one.label(rows) for one in data], bits).numpy(),
            train_rows=data[0].train_rows,
            test_rows=data[0].test_rows,
            parameters={
                name: _decode([one.parameters[name] for one in models], bits)
                for name in models[0].parameters
            },
            joint=dict(models[0].manifest.joint),
        )


def _only(place: Path, name: str) -> Path:
    return next((place / "pipeline").glob(f"*/{name}"))


def _decode(parts: list[Tensor], bits: int) -> Tensor:
    total: Tensor = torch.stack(parts).sum(0)
    return total.double() / 2.0**bits
