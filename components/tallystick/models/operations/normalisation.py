"""BatchNorm: by the batch's own mean and variance in training, by running ones afterwards.

Training, M = values of a channel in the batch:
    u = x - mean,   s = 1 / sqrt(sum(u**2) / M + eps),   h = u s,   y = weight h + bias.
Back, with the slope d of y:
    dweight = sum(d h),   dbias = sum(d),   dx = weight s (d - (dbias + h dweight) / M).
Afterwards: y = x g + (bias - running_mean g),   g = weight / sqrt(running_var + eps).

Affine is what is left of a BatchNorm whose owner knows its statistics:  y = x weight + bias.

Sums over a channel are rounded once. Nothing is opened; the running statistics stay shared. The
variance of a channel must lie between 2**-12 and 2**16, the domain of the inverse root.
"""

# N = rows, C = channels. Statistics have the shape [C].

from typing import Any

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import PRECISION_BITS, Secret


def _forward(layer: Layer, x_NC: Secret) -> tuple[Secret, Any]:
    if not layer.training:
        return _by_running_statistics(layer, x_NC), None
    engine, dims = layer.engine, _summed(x_NC)
    count = x_NC.share.numel() // x_NC.share.shape[1]
    mean_C = engine.scaled(x_NC.sum(dims), 1 / count)
    centred_NC = x_NC - _along(layer, mean_C, x_NC)
    variance_C = engine.scaled(engine.rounded(engine.squared(centred_NC).sum(dims)), 1 / count)
    inverse_C = (variance_C + layer.node.number("eps")).inv_sqrt()
    normal_NC = layer.times(centred_NC, _along(layer, inverse_C, x_NC))
    _follow(layer, mean_C, variance_C, count)
    result = _affine(layer, normal_NC, layer.parameters["weight"], layer.parameters["bias"])
    return result, (normal_NC, inverse_C, count)


def _backward(layer: Layer, slope_NC: Secret, kept: Any) -> Slopes:
    normal_NC, inverse_C, count = kept
    engine, dims = layer.engine, _summed(slope_NC)
    by_bias_C = slope_NC.sum(dims)
    by_weight_C = engine.rounded(engine.product("mul", slope_NC, normal_NC).sum(dims))
    parameters = {"weight": by_weight_C, "bias": by_bias_C}
    if not layer.wanted[0]:
        return Slopes(inputs=[None], parameters=parameters)
    # An error of the means is one of every value, and adds up in what lies before: more bits.
    by_bias = _along(
        layer, engine.scaled(by_bias_C, 1 / count, extra_bits=PRECISION_BITS), slope_NC
    )
    by_weight = _along(layer, engine.scaled(by_weight_C, 1 / count), slope_NC)
    turned_NC = engine.product("mul", normal_NC, by_weight)
    raw_NC = layer.local(
        turned_NC, lambda s: (slope_NC.share << PRECISION_BITS) - by_bias.share - s
    )
    inner_NC = engine.rounded(raw_NC)
    gain_C = layer.times(layer.parameters["weight"], inverse_C)
    by_input = layer.times(inner_NC, _along(layer, gain_C, slope_NC))
    return Slopes(inputs=[by_input], parameters=parameters)


def _by_running_statistics(layer: Layer, x_NC: Secret) -> Secret:
    own = layer.parameters
    inverse_C = (own["running_var"] + layer.node.number("eps")).inv_sqrt()
    gain_C = layer.times(own["weight"], inverse_C)
    return _affine(layer, x_NC, gain_C, own["bias"] - layer.times(own["running_mean"], gain_C))


def _affine_alone(layer: Layer, x_NC: Secret) -> tuple[Secret, Secret]:
    return _affine(layer, x_NC, layer.parameters["weight"], layer.parameters["bias"]), x_NC


def _affine_back(layer: Layer, slope_NC: Secret, x_NC: Secret) -> Slopes:
    dims = _summed(slope_NC)
    by_weight = layer.engine.rounded(layer.engine.product("mul", slope_NC, x_NC).sum(dims))
    parameters = {"weight": by_weight, "bias": slope_NC.sum(dims)}
    if not layer.wanted[0]:
        return Slopes(inputs=[None], parameters=parameters)
    by_input = layer.times(slope_NC, _along(layer, layer.parameters["weight"], slope_NC))
    return Slopes(inputs=[by_input], parameters=parameters)


def _affine(layer: Layer, x_NC: Secret, gain_C: Secret, shift_C: Secret) -> Secret:
    """Return x * gain + shift, channel by channel, rounded once."""
    raw = layer.engine.product("mul", x_NC, _along(layer, gain_C, x_NC))
    shift = _along(layer, shift_C, x_NC).share << PRECISION_BITS
    return layer.engine.rounded(layer.local(raw, lambda s: s + shift))


def _follow(layer: Layer, mean_C: Secret, variance_C: Secret, count: int) -> None:
    """Move the running statistics towards the batch's; the variance as of a sample, as in torch."""
    momentum = layer.node.number("momentum")
    unbiased = momentum * count / max(count - 1, 1)
    for name, new, factor in (
        ("running_mean", mean_C, momentum),
        ("running_var", variance_C, unbiased),
    ):
        terms = [(layer.parameters[name], 1 - momentum), (new, factor)]
        layer.updates[name] = layer.engine.combine(terms)


def _summed(x_NC: Secret) -> list[int]:
    return [0, *range(2, x_NC.dim())]


def _along(layer: Layer, values_C: Secret, like_NC: Secret) -> Secret:
    return layer.local(values_C, lambda s: s.reshape(1, -1, *[1] * (like_NC.dim() - 2)))


OPERATIONS = {
    "batch_norm": Operation(_forward, _backward),
    "affine": Operation(_affine_alone, _affine_back),
}
