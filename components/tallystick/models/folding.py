"""Fold what a finished model's owner can compute beforehand into the weights, in plaintext.

With g = weight / sqrt(running_var + eps), a BatchNorm is  y = x g + (bias - running_mean g):

=====================================  =====================================================
where it stands                        what becomes of it
=====================================  =====================================================
after a convolution or linear layer    one layer: weight times g, bias times g plus the rest
elsewhere (DenseNet begins with them)  affine: one product, no inverse root
=====================================  =====================================================

That saves the parties a product and a root for each, and the root's error and domain. Dropout is
left out. The folded model cannot be trained on, so what train made stays as it is.
"""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from tallystick.models.graph import Graph, Node

_Parameters = dict[str, Tensor]


def fold(graph: Graph, parameters: Mapping[str, Tensor]) -> tuple[Graph, _Parameters]:
    """Return a graph of the same scores with fewer operations, and its parameters.

    Args:
        graph: a finished model's.
        parameters: parameters and running statistics, by name.
    """
    values = dict(parameters)
    uses: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    shared = _shared(graph)
    kept: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        node = dataclasses.replace(
            node, inputs=tuple(renamed.get(name, name) for name in node.inputs)
        )
        before = kept.get(node.inputs[0]) if node.inputs else None
        if node.op == "dropout":
            renamed[node.name] = node.inputs[0]
            uses[node.inputs[0]] += uses.get(node.name, 0) - 1
            continue
        if node.op not in ("batch_norm", "affine"):
            kept[node.name] = node
            continue
        gain, rest = _gain(node, values)
        roles = set() if before is None else set(before.parameters.values())
        apart = uses.get(node.inputs[0]) == 1 and not roles & shared
        if before and apart and _is_by_channel(before):
            kept[before.name] = _folded(before, gain, rest, values)
            renamed[node.name] = before.name
            uses[before.name] = uses.get(node.name, 0)
        else:
            names = _new_names(node)
            values |= {names["weight"]: gain, names["bias"]: rest}
            kept[node.name] = dataclasses.replace(
                node, op="affine", parameters=names, attributes={}
            )
    used = [name for node in kept.values() for name in node.parameters.values()]
    values = {name: values[name] for name in dict.fromkeys(used)}
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    return Graph(nodes=tuple(kept.values()), parameters=shapes, final=graph.final), values


def _shared(graph: Graph) -> set[str]:
    """Return the parameters that several nodes use."""
    names = [name for node in graph.nodes for name in node.parameters.values()]
    return {name for name in names if names.count(name) > 1}


def _is_by_channel(node: Node) -> bool:
    """Say whether a node has a weight for each of its result's channels."""
    return node.op == "convolution" or (node.op == "linear" and len(node.shape) == 1)


def _new_names(node: Node) -> dict[str, str]:
    return {role: f"folded.{node.name}.{role}" for role in ("weight", "bias")}


def _gain(node: Node, values: _Parameters) -> tuple[Tensor, Tensor]:
    own = {role: values[name] for role, name in node.parameters.items()}
    if node.op == "affine":
        return own["weight"], own["bias"]
    gain = own["weight"] * torch.rsqrt(own["running_var"] + node.number("eps"))
    return gain, own["bias"] - own["running_mean"] * gain


def _folded(node: Node, gain: Tensor, rest: Tensor, values: _Parameters) -> Node:
    weight = values[node.parameters["weight"]]
    bias = values[node.parameters["bias"]] * gain if "bias" in node.parameters else 0.0
    names = _new_names(node)
    values[names["weight"]] = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
    values[names["bias"]] = bias + rest
    return dataclasses.replace(node, parameters=names)
