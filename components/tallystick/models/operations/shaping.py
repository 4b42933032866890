"""Operations that move values and leave them as they are: no message."""

import torch

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import Secret


def _reshape(layer: Layer, x: Secret) -> tuple[Secret, torch.Size]:
    result = layer.local(x, lambda s: s.reshape(s.shape[0], *layer.node.shape))
    return result, x.share.shape


def _reshape_back(layer: Layer, slope: Secret, shape: torch.Size) -> Slopes:
    return Slopes(inputs=[layer.local(slope, lambda s: s.reshape(shape))])


def _concatenate(layer: Layer, *inputs: Secret) -> tuple[Secret, list[int]]:
    dim = layer.node.whole("dim")
    share = torch.cat([x.share for x in inputs], dim)
    return layer.engine.from_share(share), [x.size(dim) for x in inputs]


def _concatenate_back(layer: Layer, slope: Secret, widths: list[int]) -> Slopes:
    dim = layer.node.whole("dim")
    parts = torch.split(slope.share, widths, dim)
    return Slopes(inputs=[layer.engine.from_share(part) for part in parts])


OPERATIONS = {
    "reshape": Operation(_reshape, _reshape_back),
    "concatenate": Operation(_concatenate, _concatenate_back),
}
