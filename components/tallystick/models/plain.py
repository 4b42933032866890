"""The same graph in plaintext, on torch: for the converter's check, for twins and for tests.

Gradients here are torch's own, so that they can judge ours.
"""

# N = rows, C = channels. Tensors are float64.

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

from tallystick.models.coins import Coins
from tallystick.models.graph import INPUT, Graph, Node

Parameters = Mapping[str, Tensor]


def run(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    features: Tensor,
    *,
    training: bool = False,
    coins: Coins | None = None,
) -> Tensor:
    """Return the scores [N, K].

    Args:
        graph: the architecture.
        parameters: by name. In training a BatchNorm's running statistics are changed in place.
        features: [N, *feature_shape].
        training: whether BatchNorm uses the batch's statistics, and Dropout drops.
        coins: the batch's public randomness, needed in training where there is a Dropout.
    """
    results: dict[str, Tensor] = {}
    for node in graph.nodes:
        own = {role: parameters[name] for role, name in node.parameters.items()}
        inputs = [results[name] for name in node.inputs]
        if node.op == INPUT:
            results[node.name] = features
        elif node.op == "batch_norm":
            results[node.name] = _batch_norm(node, own, inputs[0], training)
        elif node.op == "dropout":
            results[node.name] = _dropout(node, inputs[0], coins if training else None)
        else:
            results[node.name] = step(node, own, inputs)
    return results[graph.nodes[-1].name]


def step(node: Node, own: Parameters, inputs: Sequence[Tensor]) -> Tensor:
    """Return what one operation of a finished model gives.

    Args:
        node: the operation.
        own: its parameters, by role.
        inputs: the results that it takes.
    """
    if node.op == "batch_norm":
        return _batch_norm(node, own, inputs[0], training=False)
    if node.op == "dropout":
        return inputs[0]
    return _OPERATIONS[node.op](node, own, *inputs)


def _batch_norm(node: Node, own: Parameters, x: Tensor, training: bool) -> Tensor:
    return functional.batch_norm(
        x,
        own["running_mean"],
        own["running_var"],
        own["weight"],
        own["bias"],
        training=training and "fixed" not in node.attributes,
        momentum=node.number("momentum"),
        eps=node.number("eps"),
    )


def _dropout(node: Node, x: Tensor, coins: Coins | None) -> Tensor:
    if coins is None:
        return x
    p = node.number("p")
    return x * coins.kept(node.name, x.shape, p) / (1 - p)


def _convolution(node: Node, own: Parameters, x: Tensor) -> Tensor:
    function: Callable[..., Tensor] = functional.conv1d if x.dim() == 3 else functional.conv2d
    settings = (node.numbers(name) for name in ("stride", "padding", "dilation"))
    return function(x, own["weight"], own.get("bias"), *settings, node.groups)


def _pool(one: Callable[..., Tensor], two: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(node: Node, own: Parameters, x: Tensor) -> Tensor:
        window = (node.attributes[name] for name in ("kernel", "stride", "padding"))
        ceil_mode = {"ceil_mode": True} if node.attributes.get("ceil_mode") else {}
        return (one if x.dim() == 3 else two)(x, *window, **ceil_mode)

    return apply


def _simple(function: Callable[..., Tensor], *names: str) -> Callable[..., Tensor]:
    def apply(node: Node, own: Parameters, *inputs: Tensor) -> Tensor:
        return function(*inputs, *(node.attributes[name] for name in names))

    return apply


def _reshape(node: Node, own: Parameters, x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], *node.shape)


def _affine(node: Node, own: Parameters, x: Tensor) -> Tensor:
    along = (1, -1, *[1] * (x.dim() - 2))
    return x * own["weight"].reshape(along) + own["bias"].reshape(along)


def _mean(node: Node, own: Parameters, x: Tensor) -> Tensor:
    return x.mean(node.numbers("dims")).reshape(x.shape[0], *node.shape)


_OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "linear": lambda _, own, x: functional.linear(x, own["weight"], own.get("bias")),
    "convolution": _convolution,
    "affine": _affine,
    "max_pool": _pool(functional.max_pool1d, functional.max_pool2d),
    "avg_pool": _pool(functional.avg_pool1d, functional.avg_pool2d),
    "relu": _simple(torch.relu),
    "leaky_relu": _simple(functional.leaky_relu, "slope"),
    "clamp": _simple(torch.clamp, "low", "high"),
    "sigmoid": _simple(torch.sigmoid),
    "tanh": _simple(torch.tanh),
    "silu": _simple(functional.silu),
    "softmax": _simple(torch.softmax, "dim"),
    "reshape": _reshape,
    "mean": _mean,
    "add": _simple(torch.add),
    "subtract": _simple(torch.sub),
    "multiply": _simple(torch.mul),
    "concatenate": lambda node, _, *inputs: torch.cat(inputs, node.attributes["dim"]),
    "scale": _simple(torch.mul, "by"),
    "shift": _simple(torch.add, "by"),
}
