"""What each operation of a graph does on shares, forwards and backwards."""

from collections.abc import Mapping

from tallystick.models.operations import (
    activations,
    arithmetic,
    normalisation,
    pooling,
    shaping,
    weighted,
)
from tallystick.models.operations.layer import Operation

OPERATIONS: Mapping[str, Operation] = {
    **weighted.OPERATIONS,
    **pooling.OPERATIONS,
    **normalisation.OPERATIONS,
    **activations.OPERATIONS,
    **shaping.OPERATIONS,
    **arithmetic.OPERATIONS,
}
"""By the node's ``op``."""
