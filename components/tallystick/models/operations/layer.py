"""What an operation is given, and what it gives: a result, and later the gradients.

The gradient of the loss by an operation's result is called its *slope* here. Slopes are of the
SUM of the rows' losses, not of their mean: divided by the rows early, small slopes would drown in
the rounding of fixed point. The optimiser divides, together with the learning rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tallystick.models.coins import Coins
from tallystick.models.graph import Node
from tallystick.runtime.engine import Engine, Secret


@dataclass(kw_only=True, slots=True)
class Layer:
    """One node in one run."""

    engine: Engine
    node: Node
    parameters: Mapping[str, Secret]
    """By role."""
    training: bool
    coins: Coins | None
    wanted: tuple[bool, ...] = ()
    """For each input, whether its slope is needed."""
    updates: dict[str, Secret] = field(default_factory=dict)
    """New running statistics, by role."""

    def local(self, x: Secret, function: Callable[[Tensor], Tensor]) -> Secret:
        """Apply a linear function, such as a change of shape, to each party's share alone."""
        return self.engine.from_share(function(x.share), x.encoder._precision_bits)

    def times(self, x: Secret, y: Secret) -> Secret:
        """Return the element-wise product of shared numbers, or of one with shared bits."""
        return self.engine.times(x, y)


@dataclass(kw_only=True, slots=True)
class Slopes:
    """What goes back through an operation."""

    inputs: list[Secret | None]
    """For each input; None where it is not wanted."""
    parameters: dict[str, Secret] = field(default_factory=dict)
    """By role."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Both directions of one kind of operation."""

    forward: Callable[..., tuple[Secret, Any]]
    """(layer, *inputs) to the result and what the way back needs of the way there."""
    backward: Callable[[Layer, Secret, Any], Slopes]
    """(layer, slope of the result, what was kept) to the slopes of inputs and parameters."""
