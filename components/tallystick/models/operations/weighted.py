"""Operations with weights: linear layers and convolutions.

With z = x * w + b and the slope d of z:  dx = d * w (transposed),  dw = x * d,  db = sum of d;
for convolutions these are convolutions again, with the roles of stride and dilation exchanged.
Each is one product: 1 round to mask, and one more to round. Sums are rounded once. What the way
there has masked serves the way back (runtime/protocols/layers.py).
"""

# N = rows, F = inputs, K = outputs, C = channels in, D = channels out.

from typing import Any

from torch import Tensor

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import PRECISION_BITS, Secret
from tallystick.runtime.protocols import layers


def _linear(layer: Layer, x_NF: Secret) -> tuple[Secret, Any]:
    rows = x_NF.share.reshape(-1, x_NF.share.shape[-1])
    share, kept = layers.Linear.forward(
        layer.engine.context, rows, layer.parameters["weight"].share, _bias(layer)
    )
    return layer.engine.from_share(share.view(*x_NF.share.shape[:-1], -1)), kept


def _linear_back(layer: Layer, slope_NK: Secret, kept: layers.Linear) -> Slopes:
    rows = slope_NK.share.reshape(-1, slope_NK.share.shape[-1])
    by_input, by_weight = kept.backward(layer.engine.context, rows, wanted=(layer.wanted[0], True))
    assert by_weight is not None
    parameters = {"weight": layer.engine.from_share(by_weight)}
    if "bias" in layer.parameters:
        parameters["bias"] = layer.engine.from_share(rows.sum(0))
    if by_input is None:
        return Slopes(inputs=[None], parameters=parameters)
    shaped = by_input.view(*slope_NK.share.shape[:-1], -1)
    return Slopes(inputs=[layer.engine.from_share(shaped)], parameters=parameters)


def _convolution(layer: Layer, x_NC: Secret) -> tuple[Secret, Any]:
    if x_NC.dim() != 4 or layer.node.groups != 1:
        return _other_convolution(layer, x_NC)
    share, kept = layers.Conv2d.forward(
        layer.engine.context,
        x_NC.share,
        layer.parameters["weight"].share,
        {name: _pair(layer, name) for name in ("stride", "padding", "dilation")},
        _bias(layer),
    )
    return layer.engine.from_share(share), kept


def _convolution_back(layer: Layer, slope_ND: Secret, kept: Any) -> Slopes:
    if not isinstance(kept, layers.Conv2d):
        return _other_convolution_back(layer, slope_ND, kept)
    by_input, by_weight = kept.backward(
        layer.engine.context, slope_ND.share, wanted=(layer.wanted[0], True)
    )
    assert by_weight is not None
    parameters = {"weight": layer.engine.from_share(by_weight)}
    if "bias" in layer.parameters:
        parameters["bias"] = slope_ND.sum([0, 2, 3])
    inputs = [None if by_input is None else layer.engine.from_share(by_input)]
    return Slopes(inputs=inputs, parameters=parameters)


def _bias(layer: Layer) -> Tensor | None:
    return layer.parameters["bias"].share if "bias" in layer.parameters else None


def _pair(layer: Layer, name: str) -> tuple[int, int]:
    high, wide = layer.node.numbers(name)
    return high, wide


def _other_convolution(layer: Layer, x_NC: Secret) -> tuple[Secret, Secret]:
    """In one or three dimensions, or in groups."""
    weight_DC = layer.parameters["weight"]
    dims = x_NC.dim() - 2
    raw = layer.engine.product(f"conv{dims}d", x_NC, weight_DC, **_settings(layer))
    return _biased(layer, raw, (-1, *[1] * dims)), x_NC


def _other_convolution_back(layer: Layer, slope_ND: Secret, x_NC: Secret) -> Slopes:
    product, rounded = layer.engine.product, layer.engine.rounded
    weight_DC = layer.parameters["weight"]
    dims = x_NC.dim() - 2
    settings = _settings(layer)
    stride, padding, dilation = (settings[name] for name in ("stride", "padding", "dilation"))
    # The channels of a group take the place of the rows, over which the gradient sums.
    groups = layer.node.groups
    by_weight = product(
        f"conv{dims}d",
        layer.local(x_NC, lambda s: _rows_within_channels(s, groups)),
        slope_ND.transpose(0, 1),
        stride=dilation,
        padding=padding,
        dilation=stride,
        **({"groups": groups} if groups != 1 else {}),
    )
    kernel = tuple(slice(size) for size in weight_DC.share.shape[2:])
    by_weight = layer.local(by_weight, lambda s: s[:, :, *kernel].transpose(0, 1).contiguous())
    parameters = {"weight": rounded(by_weight)}
    if "bias" in layer.parameters:
        parameters["bias"] = slope_ND.sum([0, *range(2, dims + 2)])
    if not layer.wanted[0]:
        return Slopes(inputs=[None], parameters=parameters)
    # What the stride left over at the far rim had no part in any result.
    reached = [
        (slope_ND.size(i + 2) - 1) * stride[i]
        - 2 * padding[i]
        + dilation[i] * (weight_DC.size(i + 2) - 1)
        + 1
        for i in range(dims)
    ]
    extra = [x_NC.size(i + 2) - reached[i] for i in range(dims)]
    by_input = product(
        f"conv_transpose{dims}d", slope_ND, weight_DC, **settings, output_padding=extra
    )
    return Slopes(inputs=[rounded(by_input)], parameters=parameters)


def _settings(layer: Layer) -> dict[str, Any]:
    settings = {name: layer.node.numbers(name) for name in ("stride", "padding", "dilation")}
    return {**settings, "groups": layer.node.groups} if layer.node.groups != 1 else settings


def _rows_within_channels(share_NC: Tensor, groups: int) -> Tensor:
    """Turn [N, G C, ...] into [C, G N, ...]."""
    rows, channels = share_NC.shape[:2]
    grouped = share_NC.reshape(rows, groups, channels // groups, *share_NC.shape[2:])
    return grouped.transpose(0, 2).reshape(-1, groups * rows, *share_NC.shape[2:])


def _biased(layer: Layer, raw: Secret, shape: tuple[int, ...]) -> Secret:
    """Add the bias and round: one rounding for both."""
    if "bias" in layer.parameters:
        bias = layer.parameters["bias"].share.reshape(shape) << PRECISION_BITS
        raw = layer.local(raw, lambda s: s + bias)
    return layer.engine.rounded(raw)


OPERATIONS = {
    "linear": Operation(_linear, _linear_back),
    "convolution": Operation(_convolution, _convolution_back),
}
