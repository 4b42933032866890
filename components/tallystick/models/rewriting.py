"""The same function with fewer comparisons."""

import dataclasses
from collections.abc import Sequence

from tallystick.models.graph import Node


def pooled_first(nodes: Sequence[Node]) -> list[Node]:
    """Let max-pooling come before a ReLU that stands before it alone.

    Both keep the order of numbers, so they commute, gradients included. Of a window of four values,
    four comparisons are then made instead of seven.
    """
    by_name = {node.name: node for node in nodes}
    users = [name for node in nodes for name in node.inputs]
    changed: dict[str, Node] = {}
    for pool in nodes:
        if pool.op != "max_pool":
            continue
        relu = by_name[pool.inputs[0]]
        if relu.op == "relu" and users.count(relu.name) == 1:
            # Each takes the other's place, and its name stays with its operation.
            changed[relu.name] = dataclasses.replace(pool, inputs=relu.inputs)
            changed[pool.name] = dataclasses.replace(relu, inputs=(pool.name,), shape=pool.shape)
            users = [relu.name if name == pool.name else name for name in users]
            by_name = {
                name: dataclasses.replace(
                    node, inputs=tuple(relu.name if n == pool.name else n for n in node.inputs)
                )
                for name, node in by_name.items()
            }
    return [changed.get(node.name, by_name[node.name]) for node in nodes]
