"""CrypTen's autograd for the layers of networks, by :mod:`~tallystick.runtime.protocols.layers`.

CrypTen asks a registry for a function's forward and backward pass. Its own compute a gradient by
products of values that it opened before under other masks, the gradient of the network's input
among them; these keep what was opened, and leave out what nobody asked for. What they do not cover
(vectors, stacks of matrices, convolutions in groups) falls back to CrypTen's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tallystick.runtime.protocols import batch_norm, layers
from tallystick.runtime.protocols.context import Context

Make = Callable[[Any], Any]


class _Function:
    """One entry of the registry.

    Args:
        theirs: CrypTen's own.
        context: returns the session's means.
        make: makes a secret of a share.
    """

    def __init__(self, theirs: Any, context: Callable[[], Context], make: Make) -> None:
        self._theirs = theirs
        self._context = context
        self._make = make
        self.name = theirs.name

    def _made(self, share: Any) -> Any:
        return None if share is None else self._make(share)


class _Matmul(_Function):
    def forward(self, ctx: Any, x: Any, y: Any) -> Any:
        if not _fixed_point(x, y) or x.dim() != 2 or y.dim() != 2:
            ctx.save_for_backward(None)
            return self._theirs.forward(ctx, x, y)
        result, layer = layers.Matmul.forward(self._context(), x.share, y.share)
        ctx.save_multiple_for_backward((layer, (x.requires_grad, y.requires_grad)))
        return self._make(result)

    def backward(self, ctx: Any, gradient: Any) -> Any:
        if ctx.saved_tensors[0] is None:
            ctx.saved_tensors.pop(0)
            return self._theirs.backward(ctx, gradient)
        layer, wanted = ctx.saved_tensors
        found = layer.backward(self._context(), gradient.share, wanted=wanted)
        return tuple(self._made(share) for share in found)


class _Conv2d(_Function):
    def forward(
        self,
        ctx: Any,
        x: Any,
        kernel: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        if not _fixed_point(x, kernel) or groups != 1 or x.dim() != 4:
            ctx.save_for_backward(None)
            return self._theirs.forward(ctx, x, kernel, stride, padding, dilation, groups)
        places = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation)}
        result, layer = layers.Conv2d.forward(self._context(), x.share, kernel.share, places)
        ctx.save_multiple_for_backward((layer, (x.requires_grad, kernel.requires_grad)))
        return self._make(result)

    backward = _Matmul.backward


class _Relu(_Function):
    def forward(self, ctx: Any, x: Any) -> Any:
        result, compared = layers.relu(self._context(), x.share)
        ctx.save_for_backward(compared)
        return type(x).from_shares(result, precision=_bits(x))

    def backward(self, ctx: Any, gradient: Any) -> Any:
        (compared,) = ctx.saved_tensors
        return self._make(layers.relu_gradient(self._context(), compared, gradient.share))


class _BatchNorm(_Function):
    def forward(
        self,
        ctx: Any,
        x: Any,
        weight: Any,
        bias: Any,
        running_mean: Any = None,
        running_var: Any = None,
        training: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        inv_var: Any = None,
    ) -> Any:
        if not _fixed_point(x, weight, bias):
            raise TypeError("batch normalisation takes shared values, weights and biases")
        context = self._context()
        if training:
            result, layer, found = batch_norm.BatchNorm.of_the_batch(
                context, x.share, weight.share, bias.share, eps
            )
            if running_mean is not None and running_var is not None:
                kept = running_mean.share, running_var.share
                moved = batch_norm.blend(context, kept, found, momentum)
                running_mean.share, running_var.share = moved
        else:
            if running_mean is None or running_var is None:
                raise ValueError("batch normalisation for evaluation needs running statistics")
            if not _fixed_point(running_mean, running_var):
                raise TypeError("batch normalisation takes shared running statistics")
            known = batch_norm.known_deviations(context, running_var, weight, eps)
            result, layer = batch_norm.BatchNorm.with_statistics(
                context, x.share, running_mean.share, known, bias.share
            )
        ctx.save_multiple_for_backward((layer, x.requires_grad))
        return self._make(result)

    def backward(self, ctx: Any, gradient: Any) -> Any:
        layer, wanted = ctx.saved_tensors
        found = layer.backward(self._context(), gradient.share, wanted=wanted)
        return tuple(self._made(share) for share in found)


class _CrossEntropy(_Function):
    """The mean of -log softmax(x) at each row's class; the target is one-hot."""

    def forward(self, ctx: Any, x: Any, target: Any, skip_forward: bool = False) -> Any:
        if not _fixed_point(x, target) or x.dim() != 2:
            ctx.save_for_backward(None)
            return self._theirs.forward(ctx, x, target, skip_forward)
        loss, layer = layers.CrossEntropy.forward(
            self._context(), x.share, target.share, wanted=not skip_forward
        )
        ctx.save_for_backward(layer)
        ctx.mark_non_differentiable(target)
        return self._make(loss)

    def backward(self, ctx: Any, gradient: Any) -> Any:
        if ctx.saved_tensors[0] is None:
            ctx.saved_tensors.pop(0)
            return self._theirs.backward(ctx, gradient)
        (layer,) = ctx.saved_tensors
        return self._make(layer.backward(self._context(), gradient.share))


_FUNCTIONS: Mapping[str, type[_Function]] = {
    "matmul": _Matmul,
    "conv2d": _Conv2d,
    "relu": _Relu,
    "batchnorm": _BatchNorm,
    "cross_entropy": _CrossEntropy,
}


def replace(registry: dict[str, Any], context: Callable[[], Context], make: Make) -> None:
    """Put these functions in the place of CrypTen's."""
    for name, function in _FUNCTIONS.items():
        registry[name] = function(registry[name], context, make)


def _fixed_point(*values: Any) -> bool:
    """Tell whether all are shared numbers in fixed point, not plaintext and not whole numbers."""
    return all(hasattr(value, "share") and value.encoder.scale > 1 for value in values)


def _bits(secret: Any) -> int:
    return int(secret.encoder.scale).bit_length() - 1


def _pair(value: Any) -> tuple[int, int]:
    high, wide = value if isinstance(value, tuple | list) else (value, value)
    return int(high), int(wide)
