"""Is the training still within what fixed-point numbers can hold?"""

import torch

from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session

MAX_LOSS = 2.0**16
MAX_PARAMETER = 2.0**12
"""Products of a larger one with its inputs may leave the ring."""
_ADVICE = (
    "lower learning_rate or momentum, set clip_norm or standardise, or scale down a label that is "
    "a number (a larger range than that of 16 fraction bits cannot be chosen); checkpoints that "
    "were written before are kept"
)


def checked(loss: float) -> float:
    """Refuse a loss that shows that values left the fixed-point range.

    Raises:
        DataError: with the advice that helps.
    """
    if not -0.01 <= loss <= MAX_LOSS:
        raise DataError(
            "the training diverged: its loss left the range that fixed-point numbers can hold; "
            + _ADVICE
        )
    return loss


def range_bit(engine: Engine, weights_P: Secret) -> Secret:
    """Return one shared bit: are all parameters in range?"""
    room = torch.stack([(MAX_PARAMETER - weights_P).share, (MAX_PARAMETER + weights_P).share])
    outside = engine.negative(engine.from_share(room)).sum().unsqueeze(0)
    return engine.negative(outside - 1)


def check_parameters(session: Session, weights_P: Secret) -> None:
    """Refuse parameters that have grown so large that the next products may overflow.

    One bit is opened to all: whether there are any. Nobody learns how many or which.

    Raises:
        DataError: with the advice that helps.
    """
    opened = session.ledger.reveal(
        range_bit(session.engine, weights_P),
        "whether all parameters are in range",
        why="to end a training that diverges",
    )
    assert opened is not None
    if not bool(opened[0]):
        raise DataError(
            f"the training diverged: a parameter left the range of {MAX_PARAMETER:.0f}; " + _ADVICE
        )
