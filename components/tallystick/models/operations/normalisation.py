"""BatchNorm: by the batch's own mean and variance in training, by running ones afterwards.

Training: y = (x - mean) s weight + bias with s = 1 / sqrt(variance), and the slopes of x, weight
and bias: runtime/protocols/batch_norm.py.
Afterwards, and in training where the module has it fixed: y = (x - running_mean) g + bias,
g = weight / sqrt(running_var + eps), which is found once as long as the parameters stay.

Affine is what is left of a BatchNorm whose owner knows its statistics:  y = x weight + bias.

Sums over a channel are rounded once. Nothing is opened; the running statistics stay shared. Inputs
must lie below 2**12, and the variance of a channel between 2**-12 and 2**20; the train step refuses
batches of a single value, which have none.
"""

# N = rows, C = channels. Statistics have the shape [C].

from typing import Any

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import PRECISION_BITS, Secret
from tallystick.runtime.protocols.batch_norm import BatchNorm, known_deviations


def _forward(layer: Layer, x_NC: Secret) -> tuple[Secret, Any]:
    if not layer.training or "fixed" in layer.node.attributes:
        return _by_running_statistics(layer, x_NC)
    engine, own = layer.engine, layer.parameters
    share, kept, statistics = BatchNorm.of_the_batch(
        engine.context, x_NC.share, own["weight"].share, own["bias"].share, layer.node.number("eps")
    )
    mean_C, variance_C = (engine.from_share(value) for value in statistics)
    _follow(layer, mean_C, variance_C, x_NC.share.numel() // x_NC.share.shape[1])
    return engine.from_share(share), kept


def _backward(layer: Layer, slope_NC: Secret, kept: BatchNorm) -> Slopes:
    engine = layer.engine
    by_input, by_weight, by_bias = kept.backward(
        engine.context, slope_NC.share, wanted=layer.wanted[0]
    )
    parameters = {"weight": engine.from_share(by_weight), "bias": engine.from_share(by_bias)}
    inputs = [None if by_input is None else engine.from_share(by_input)]
    return Slopes(inputs=inputs, parameters=parameters)


def _by_running_statistics(layer: Layer, x_NC: Secret) -> tuple[Secret, Any]:
    engine, own = layer.engine, layer.parameters
    found = known_deviations(
        engine.context, own["running_var"], own["weight"], layer.node.number("eps")
    )
    share, kept = BatchNorm.with_statistics(
        engine.context, x_NC.share, own["running_mean"].share, found, own["bias"].share
    )
    return engine.from_share(share), kept


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
    unbiased = momentum * count / (count - 1)
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
