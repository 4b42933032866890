"""Scores of rows, on shares."""

# N = rows, F = features.

import torch

from tallystick.models.artifact import SharedModel
from tallystick.models.linear import WEIGHTS
from tallystick.runtime.engine import Engine, Secret


def scores(engine: Engine, model: SharedModel, features_NF: Secret) -> Secret:
    """Return score_N1 = features times weights plus intercept, shared."""
    ones_N1 = engine.public(torch.ones(features_NF.size(0), 1))
    inputs = engine.from_share(torch.cat([features_NF.share, ones_N1.share], dim=1))
    return inputs @ engine.from_share(model.parameter(WEIGHTS))
