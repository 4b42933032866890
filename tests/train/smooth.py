"""A network without an edge: rounding moves it a little, and never to the other side of one."""

from torch import nn


class Smooth(nn.Sequential):
    """With all that a training carries on: weights, running statistics, coins."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1)
        )
