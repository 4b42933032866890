"""Activations. Those with a corner keep the bits of their comparison for the way back."""

from typing import Any

import torch

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.models.operations.tournament import largest
from tallystick.runtime.engine import Secret


def _relu(layer: Layer, x: Secret) -> tuple[Secret, Secret]:
    below = layer.engine.negative(x)
    return x - layer.times(below, x), below


def _relu_back(layer: Layer, slope: Secret, below: Secret) -> Slopes:
    return Slopes(inputs=[slope - layer.times(below, slope)])


def _leaky(layer: Layer, x: Secret) -> tuple[Secret, Secret]:
    below = layer.engine.negative(x)
    return x - _lost(layer, below, x), below


def _leaky_back(layer: Layer, slope: Secret, below: Secret) -> Slopes:
    return Slopes(inputs=[slope - _lost(layer, below, slope)])


def _lost(layer: Layer, below: Secret, x: Secret) -> Secret:
    return layer.engine.scaled(layer.times(below, x), 1 - layer.node.number("slope"))


def _clamp(layer: Layer, x: Secret) -> tuple[Secret, Secret]:
    to_low, to_high = layer.node.number("low") - x, layer.node.number("high") - x
    short = layer.engine.from_share(torch.stack([-to_low.share, to_high.share]))
    outside = layer.engine.negative(short)
    moves = layer.engine.from_share(torch.stack([to_low.share, to_high.share]))
    return x + layer.times(outside, moves).sum(0), outside.sum(0)


def _clamp_back(layer: Layer, slope: Secret, outside: Secret) -> Slopes:
    return Slopes(inputs=[slope - layer.times(outside, slope)])


def _sigmoid(layer: Layer, x: Secret) -> tuple[Secret, Secret]:
    y = layer.engine.sigmoid(x)
    return y, y


def _sigmoid_back(layer: Layer, slope: Secret, y: Secret) -> Slopes:
    return Slopes(inputs=[layer.times(slope, y - _square(layer, y))])


def _tanh(layer: Layer, x: Secret) -> tuple[Secret, Secret]:
    y = x.tanh()
    return y, y


def _tanh_back(layer: Layer, slope: Secret, y: Secret) -> Slopes:
    return Slopes(inputs=[slope - layer.times(slope, _square(layer, y))])


def _silu(layer: Layer, x: Secret) -> tuple[Secret, Any]:
    gate = layer.engine.sigmoid(x)
    y = layer.times(x, gate)
    return y, (gate, y)


def _silu_back(layer: Layer, slope: Secret, kept: Any) -> Slopes:
    gate, y = kept
    return Slopes(inputs=[layer.times(slope, gate + y - layer.times(y, gate))])


def _softmax(layer: Layer, x: Secret) -> tuple[Secret, Secret]:
    dim = layer.node.whole("dim")
    last = layer.local(x, lambda s: s.movedim(dim, -1))
    top, _ = largest(layer.engine, last)
    powers = (last - layer.local(top, lambda s: s.unsqueeze(-1))).exp()
    total = powers.sum(-1, keepdim=True)
    y = layer.times(powers, layer.engine.positive_reciprocal(total))
    return layer.local(y, lambda s: s.movedim(-1, dim)), y


def _softmax_back(layer: Layer, slope: Secret, y: Secret) -> Slopes:
    dim = layer.node.whole("dim")
    weighted = layer.times(layer.local(slope, lambda s: s.movedim(dim, -1)), y)
    inner = weighted - layer.times(y, weighted.sum(-1, keepdim=True))
    return Slopes(inputs=[layer.local(inner, lambda s: s.movedim(-1, dim))])


def _square(layer: Layer, y: Secret) -> Secret:
    return layer.engine.rounded(layer.engine.squared(y))


OPERATIONS = {
    "relu": Operation(_relu, _relu_back),
    "leaky_relu": Operation(_leaky, _leaky_back),
    "clamp": Operation(_clamp, _clamp_back),
    "sigmoid": Operation(_sigmoid, _sigmoid_back),
    "tanh": Operation(_tanh, _tanh_back),
    "silu": Operation(_silu, _silu_back),
    "softmax": Operation(_softmax, _softmax_back),
}
