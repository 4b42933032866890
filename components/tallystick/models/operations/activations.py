"""Activations. Those with a corner keep the bits of their comparison for the way back."""

from typing import Any

import torch
from torch import Tensor

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import Secret
from tallystick.runtime.protocols import layers
from tallystick.runtime.protocols.comparison import Compared, below_nought
from tallystick.runtime.protocols.functions import softmax


def _relu(layer: Layer, x: Secret) -> tuple[Secret, Compared]:
    share, signs = layers.relu(layer.engine.context, x.share)
    return layer.engine.from_share(share), signs


def _relu_back(layer: Layer, slope: Secret, signs: Compared) -> Slopes:
    share = layers.relu_gradient(layer.engine.context, signs, slope.share)
    return Slopes(inputs=[layer.engine.from_share(share)])


def _leaky(layer: Layer, x: Secret) -> tuple[Secret, Compared]:
    below, signs = below_nought(layer.engine.context, x.share)
    return x - _lost(layer, below), signs


def _leaky_back(layer: Layer, slope: Secret, signs: Compared) -> Slopes:
    return Slopes(inputs=[slope - _lost(layer, signs.times(layer.engine.context, slope.share))])


def _lost(layer: Layer, below: Tensor) -> Secret:
    return layer.engine.scaled(layer.engine.from_share(below), 1 - layer.node.number("slope"))


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
    last = softmax(layer.engine.context, x.share.movedim(dim, -1))
    y = layer.engine.from_share(last)
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
