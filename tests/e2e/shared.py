"""A shared model as train would have left it, without the training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tallystick.models import artifact
from tallystick.runtime.engine import encode
from tallystick.runtime.manifest import Manifest
from torch import Tensor

from tests.e2e import steps

FITTED_BY = "earlier/00"
"""The encoding that prepared what it was trained on."""


def write(
    session: steps.Session,
    parameters: Mapping[str, Tensor],
    feature_shape: Sequence[int],
    **joint: Any,
) -> None:
    """Split a model between two parties, each into ``trained`` in its folder."""
    generator = torch.Generator().manual_seed(1)
    masks = {
        key: torch.randint(-(2**62), 2**62, value.shape, generator=generator)
        for key, value in parameters.items()
    }
    for rank, party in enumerate(session.parties):
        session.of(party).mkdir(parents=True, exist_ok=True)
        shares = {k: encode(v) - masks[k] if rank else masks[k] for k, v in parameters.items()}
        manifest = Manifest(
            kind=artifact.KIND,
            session=session.name,
            party=party,
            rank=rank,
            parties=session.parties,
            joint={
                "columns": [],
                "feature_shape": list(feature_shape),
                "standardised": False,
                "architecture": None,
                "fitted_by": FITTED_BY,
                "as_they_are": True,
                **joint,
            },
            history=({"step": "train", "session": session.name, "reveals": []},),
        )
        artifact.write(session.of(party) / "trained", shares, manifest)
