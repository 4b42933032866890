"""The model artifact: what everybody may know of a model, and this party's share of its parameters.

::

    manifest.json             joint: model, features, label, precision_bits, row_order, training,
                              fitted_by (which encoding fitted the preparation of its columns)
    model.json                the same as one readable page of JSON, with the loss of each epoch
    parameters.safetensors    int64 shares modulo 2**64, by parameter name
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tallystick import __version__
from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest

KIND = "model"
PARAMETERS = "parameters.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedModel:
    """One party's share of a model, opened for reading."""

    manifest: Manifest
    parameters: dict[str, Tensor]
    """int64 shares, by name."""

    @property
    def name(self) -> str:
        """The model's name, such as logistic_regression."""
        return str(self.manifest.joint["model"])

    @property
    def features(self) -> list[str]:
        """The names of the input columns, in the order of the weights."""
        return [column["name"] for column in self.manifest.joint["columns"]]

    def digest(self) -> str:
        """Return the SHA-256 of what everybody may know of it."""
        known = json.dumps(self.manifest.joint, sort_keys=True).encode()
        return hashlib.sha256(known).hexdigest()

    def require_prepared(self, fitted_by: str, what: str) -> None:
        """Refuse rows that were prepared otherwise than those that trained the model.

        Args:
            fitted_by: the encoding that fitted its preparation.
            what: what was fitted, for the message.

        Raises:
            DataError: naming both encodings.
        """
        its = self.manifest.joint.get("fitted_by")
        if not its:
            raise DataError(
                "the model does not say which encoding prepared its columns, as an earlier version "
                "wrote it; run encode and train again"
            )
        if fitted_by != its:
            raise DataError(
                f"{what} was fitted by the encoding {fitted_by!r}, and that of the rows that "
                f"trained the model by {its!r}; as prepared, give the folder of the run that "
                "trained it (at an evaluation to encode)"
            )

    def parameter(self, name: str) -> Tensor:
        """Return this party's share of a parameter.

        Raises:
            DataError: the model has no such parameter.
        """
        if name not in self.parameters:
            raise DataError(f"the model has no parameter {name!r}; train it again")
        return self.parameters[name]


def write(folder: Path, parameters: dict[str, Tensor], manifest: Manifest) -> None:
    """Write the artifact.

    Args:
        folder: made if it is not there.
        parameters: int64 shares, by name.
        manifest: of kind "model".
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: share.contiguous() for name, share in parameters.items()}, folder / PARAMETERS)
    description: dict[str, Any] = {
        "package": __version__,
        **manifest.joint,
        "history": list(manifest.history),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    manifest.write(folder)


def read(folder: Path) -> SharedModel:
    """Open the artifact; every file is checked against its digest first.

    Raises:
        DataError: a file is missing, altered, or not what the manifest says.
    """
    manifest = Manifest.read(folder, KIND)
    try:
        parameters = load_file(folder / PARAMETERS)
    except (OSError, SafetensorError):
        raise DataError(f"{folder.name}: {PARAMETERS} cannot be read; train again") from None
    if any(share.dtype != torch.int64 for share in parameters.values()):
        raise DataError(f"{folder.name}: {PARAMETERS} does not hold shares; train again")
    return SharedModel(manifest=manifest, parameters=parameters)
