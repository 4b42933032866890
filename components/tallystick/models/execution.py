"""A graph on shares: forwards to the scores, backwards to the gradients.

The parties walk the graph together; what each operation does is in
:mod:`~tallystick.models.operations`. Nothing is opened.

Gradients are written out for each operation instead of recorded by an autograd: the bits of a
comparison serve both ways, sums are rounded once, and what nobody needs (the slope of the features)
is not computed.
"""

# N = rows, K = scores of a row.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tallystick.models.coins import Coins
from tallystick.models.graph import INPUT, Graph
from tallystick.models.operations import OPERATIONS
from tallystick.models.operations.layer import Layer
from tallystick.runtime.engine import Engine, Secret


@dataclass(kw_only=True, slots=True)
class Tape:
    """What the way back needs of one way forwards."""

    graph: Graph
    scores_NK: Secret
    buffers: dict[str, Secret]
    """New running statistics, by name."""
    layers: dict[str, Layer] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


def run(engine: Engine, graph: Graph, parameters: Mapping[str, Secret], features: Secret) -> Secret:
    """Return the scores [N, K] of a finished model: running statistics, no Dropout.

    Args:
        engine: the session's engine.
        graph: the architecture.
        parameters: parameters and buffers, by name.
        features: [N, *feature_shape].
    """
    return _walk(engine, graph, parameters, features, None)


def forward(
    engine: Engine, graph: Graph, parameters: Mapping[str, Secret], features: Secret, coins: Coins
) -> Tape:
    """Run one batch in training; for the arguments see :func:`run`.

    Args:
        engine: as above.
        graph: as above.
        parameters: as above.
        features: as above.
        coins: the batch's public randomness.
    """
    tape = Tape(graph=graph, scores_NK=None, buffers={})
    tape.scores_NK = _walk(engine, graph, parameters, features, (tape, coins))
    return tape


def backward(tape: Tape, slope_NK: Secret) -> dict[str, Secret]:
    """Return the gradient of the sum of the rows' losses by each parameter.

    Args:
        tape: of the way forwards; it is used up.
        slope_NK: the gradient of each row's loss by its scores.
    """
    gradients: dict[str, Secret] = {}
    slopes: dict[str, Secret] = {tape.graph.nodes[-1].name: slope_NK}
    for node in reversed(tape.graph.nodes):
        layer = tape.layers.pop(node.name, None)
        slope = slopes.pop(node.name, None)
        if layer is None or slope is None:
            continue
        found = OPERATIONS[node.op].backward(layer, slope, tape.kept.pop(node.name))
        for role, gradient in found.parameters.items():
            _accumulate(gradients, node.parameters[role], gradient)
        for name, wanted, part in zip(node.inputs, layer.wanted, found.inputs, strict=True):
            if wanted and part is not None:
                _accumulate(slopes, name, part)
    return gradients


def _walk(
    engine: Engine,
    graph: Graph,
    parameters: Mapping[str, Secret],
    features: Secret,
    training: tuple[Tape, Coins] | None,
) -> Secret:
    results: dict[str, Secret] = {}
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    learning = _learning(graph)
    for node in graph.nodes:
        if node.op == INPUT:
            results[node.name] = features
            continue
        layer = Layer(
            engine=engine,
            node=node,
            parameters={role: parameters[name] for role, name in node.parameters.items()},
            training=training is not None,
            coins=training[1] if training else None,
            wanted=tuple(name in learning for name in node.inputs),
        )
        inputs = [results[name] for name in node.inputs]
        results[node.name], kept = OPERATIONS[node.op].forward(layer, *inputs)
        if training:
            tape = training[0]
            for role, value in layer.updates.items():
                tape.buffers[node.parameters[role]] = value
            if node.name in learning:
                tape.layers[node.name], tape.kept[node.name] = layer, kept
        for name in {*node.inputs}:
            if last_use[name] == node.name:
                del results[name]  # memory follows the widest place, not the sum of all
    return results[graph.nodes[-1].name]


def _learning(graph: Graph) -> set[str]:
    """Return the nodes whose result depends on a trained parameter: the others need no slope."""
    learning: set[str] = set()
    for node in graph.nodes:
        trained = graph.parameters.keys() & node.parameters.values()
        if trained or learning.intersection(node.inputs):
            learning.add(node.name)
    return learning


def _accumulate(totals: dict[str, Secret], name: str, part: Secret) -> None:
    totals[name] = totals[name] + part if name in totals else part
