"""Sums, products and means of results, and Dropout."""

from typing import Any

import torch

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import Secret


def _add(layer: Layer, x: Secret, y: Secret) -> tuple[Secret, None]:
    return x + y, None


def _add_back(layer: Layer, slope: Secret, _: None) -> Slopes:
    return Slopes(inputs=[slope, slope])


def _subtract(layer: Layer, x: Secret, y: Secret) -> tuple[Secret, None]:
    return x - y, None


def _subtract_back(layer: Layer, slope: Secret, _: None) -> Slopes:
    return Slopes(inputs=[slope, -slope])


def _multiply(layer: Layer, x: Secret, y: Secret) -> tuple[Secret, Any]:
    return layer.times(x, y), (x, y)


def _multiply_back(layer: Layer, slope: Secret, kept: Any) -> Slopes:
    both = layer.engine.from_share(torch.stack([kept[1].share, kept[0].share]))
    slopes = layer.times(both, layer.local(slope, lambda s: s.unsqueeze(0)))
    return Slopes(inputs=[slopes[0], slopes[1]])


def _scale(layer: Layer, x: Secret) -> tuple[Secret, None]:
    return layer.engine.scaled(x, layer.node.number("by")), None


def _scale_back(layer: Layer, slope: Secret, _: None) -> Slopes:
    return Slopes(inputs=[_scale(layer, slope)[0]])


def _shift(layer: Layer, x: Secret) -> tuple[Secret, None]:
    return x + layer.node.number("by"), None


def _shift_back(layer: Layer, slope: Secret, _: None) -> Slopes:
    return Slopes(inputs=[slope])


def _mean(layer: Layer, x: Secret) -> tuple[Secret, torch.Size]:
    dims = layer.node.numbers("dims")
    mean = layer.engine.scaled(x.sum(dims), 1 / _count(layer, x.share.shape))
    return layer.local(mean, lambda s: s.reshape(s.shape[0], *layer.node.shape)), x.share.shape


def _mean_back(layer: Layer, slope: Secret, shape: torch.Size) -> Slopes:
    each = layer.engine.scaled(slope, 1 / _count(layer, shape))
    kept = [1 if dim in layer.node.numbers("dims") else size for dim, size in enumerate(shape)]
    return Slopes(inputs=[layer.local(each, lambda s: s.reshape(kept).expand(shape))])


def _count(layer: Layer, shape: torch.Size) -> int:
    return torch.Size(shape[dim] for dim in layer.node.numbers("dims")).numel()


def _dropout(layer: Layer, x: Secret) -> tuple[Secret, Any]:
    if not layer.training or layer.coins is None:
        return x, None
    kept = layer.coins.kept(layer.node.name, x.share.shape, layer.node.number("p"))
    return _thinned(layer, x, kept), kept


def _dropout_back(layer: Layer, slope: Secret, kept: Any) -> Slopes:
    return Slopes(inputs=[slope if kept is None else _thinned(layer, slope, kept)])


def _thinned(layer: Layer, x: Secret, kept: torch.Tensor) -> Secret:
    return layer.engine.scaled(layer.local(x, lambda s: s * kept), 1 / (1 - layer.node.number("p")))


OPERATIONS = {
    "add": Operation(_add, _add_back),
    "subtract": Operation(_subtract, _subtract_back),
    "multiply": Operation(_multiply, _multiply_back),
    "scale": Operation(_scale, _scale_back),
    "shift": Operation(_shift, _shift_back),
    "mean": Operation(_mean, _mean_back),
    "dropout": Operation(_dropout, _dropout_back),
}
