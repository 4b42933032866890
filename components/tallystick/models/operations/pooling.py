"""Pooling: the largest or the mean of each window. Windows are gathered without a message."""

# N = rows, C = channels, S = places in an image, P = windows, W = places in a window.

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from tallystick.models.operations.layer import Layer, Operation, Slopes
from tallystick.runtime.engine import PRECISION_BITS, Secret
from tallystick.runtime.protocols.tournament import spread, winner

_LOWEST = -(1 << (19 + PRECISION_BITS))
"""Padding that no value of a network is below."""


def _max(layer: Layer, x: Secret) -> tuple[Secret, Any]:
    windows_NCPW, places_PW = _windows(layer, x, _LOWEST)
    share_NCP, levels = winner(layer.engine.context, windows_NCPW.share)
    return _shaped(layer, layer.engine.from_share(share_NCP)), (x.share.shape, places_PW, levels)


def _max_back(layer: Layer, slope: Secret, kept: Any) -> Slopes:
    shape, places_PW, levels = kept
    if not layer.wanted[0]:
        return Slopes(inputs=[None])
    slopes_NCPW = spread(layer.engine.context, slope.share.flatten(2), levels)
    return Slopes(inputs=[_returned(layer, slopes_NCPW, places_PW, shape)])


def _mean(layer: Layer, x: Secret) -> tuple[Secret, Any]:
    windows_NCPW, places_PW = _windows(layer, x, 0)
    result = layer.engine.scaled(windows_NCPW.sum(-1), 1 / places_PW.shape[1])
    return _shaped(layer, result), (x.share.shape, places_PW)


def _mean_back(layer: Layer, slope: Secret, kept: Any) -> Slopes:
    shape, places_PW = kept
    if not layer.wanted[0]:
        return Slopes(inputs=[None])
    each = layer.engine.scaled(slope, 1 / places_PW.shape[1])
    slopes_NCPW = each.share.flatten(2).unsqueeze(-1).expand(-1, -1, *places_PW.shape)
    return Slopes(inputs=[_returned(layer, slopes_NCPW, places_PW, shape)])


def _windows(layer: Layer, x: Secret, padding: int) -> tuple[Secret, Tensor]:
    """Gather each window's values, and say where in the padded image they stand."""
    padded = _padded(layer, x.share, padding if layer.engine.rank == 0 else 0)
    places_PW = _places(
        list(padded.shape[2:]), layer.node.numbers("kernel"), layer.node.numbers("stride")
    )
    return layer.engine.from_share(padded.flatten(2)[:, :, places_PW]), places_PW


def _padded(layer: Layer, share: Tensor, value: int) -> Tensor:
    rims = _rims(layer, share.shape[2:])
    sides = [width for rim in reversed(rims) for width in rim]
    return functional.pad(share, sides, value=value) if any(sides) else share


def _rims(layer: Layer, sides: torch.Size) -> list[tuple[int, int]]:
    """Return the padding before and after each side; rounded up, the last window needs more."""
    node, rims = layer.node, []
    settings = (node.numbers(name) for name in ("kernel", "stride", "padding"))
    for side, windows, size, step, width in zip(
        sides, node.shape[-len(sides) :], *settings, strict=True
    ):
        rims.append((width, max(width, (windows - 1) * step + size - side - width)))
    return rims


def _places(sides: list[int], kernel: list[int], stride: list[int]) -> Tensor:
    """Return the flat positions of each window's places: int64 [P, W]."""
    positions = torch.arange(torch.Size(sides).numel()).reshape(sides)
    for dim, (size, step) in enumerate(zip(kernel, stride, strict=True)):
        positions = positions.unfold(dim, size, step)
    return positions.flatten(0, len(sides) - 1).flatten(1)


def _returned(layer: Layer, slopes_NCPW: Tensor, places_PW: Tensor, shape: torch.Size) -> Secret:
    """Add each window's slopes up where its values came from: the gathering backwards."""
    rims = _rims(layer, shape[2:])
    sides = [side + sum(rim) for side, rim in zip(shape[2:], rims, strict=True)]
    total = torch.zeros(*shape[:2], torch.Size(sides).numel(), dtype=torch.int64)
    total.index_add_(2, places_PW.flatten(), slopes_NCPW.flatten(2))
    inner = [slice(rim[0], rim[0] + side) for side, rim in zip(shape[2:], rims, strict=True)]
    return layer.engine.from_share(total.reshape(*shape[:2], *sides)[:, :, *inner].contiguous())


def _shaped(layer: Layer, result_NCP: Secret) -> Secret:
    return layer.local(result_NCP, lambda s: s.reshape(s.shape[0], *layer.node.shape))


OPERATIONS = {"max_pool": Operation(_max, _max_back), "avg_pool": Operation(_mean, _mean_back)}
