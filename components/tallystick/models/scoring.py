"""The scores of any model: what evaluation and prediction call."""

# N = rows, F = features, K = scores of a row.

import math
from collections.abc import Mapping

import torch

from tallystick.models import execution
from tallystick.models.artifact import SharedModel
from tallystick.models.graph import Graph
from tallystick.models.linear import WEIGHTS
from tallystick.runtime.engine import Engine, Secret

_AT_ONCE = 1 << 20
"""Values of a model's widest layer that are computed at once, so that memory follows the part."""


def outputs(engine: Engine, model: SharedModel, features: Secret) -> Secret:
    """Return the raw scores: [N, 1], or [N, K] for a label of K classes.

    A score is what stands before the sigmoid or softmax; a regression's is in the label's
    standardised units.

    Args:
        engine: the session's engine.
        model: this party's share of it.
        features: [N, *feature_shape].
    """
    rows = features.share.shape[0]
    if WEIGHTS in model.parameters:
        return _linear(engine, model, features.share.reshape(rows, -1))
    graph = Graph.from_json(model.manifest.joint.get("architecture"))
    parameters = {name: engine.from_share(model.parameter(name)) for name in graph.shapes}
    return of_graph(engine, graph, parameters, features)


def of_graph(
    engine: Engine, graph: Graph, parameters: Mapping[str, Secret], features: Secret
) -> Secret:
    """Return the raw scores of a graph [N, K], part by part.

    Args:
        engine: the session's engine.
        graph: the architecture.
        parameters: parameters and buffers, by name.
        features: [N, ...], as many values a row as the graph takes.
    """
    widest = max(math.prod(node.shape) for node in graph.nodes)
    rows = features.share.reshape(-1, *graph.feature_shape)
    scores = [
        execution.run(engine, graph, parameters, engine.from_share(part)).share
        for part in torch.split(rows, max(1, _AT_ONCE // widest))
    ]
    return engine.from_share(torch.cat(scores))


def _linear(engine: Engine, model: SharedModel, features_NF: torch.Tensor) -> Secret:
    ones_N1 = engine.public(torch.ones(features_NF.shape[0], 1))
    inputs = engine.from_share(torch.cat([features_NF, ones_N1.share], dim=1))
    return inputs @ engine.from_share(model.parameter(WEIGHTS))
