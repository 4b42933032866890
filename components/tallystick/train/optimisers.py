"""Optimisers on shares: from the gradient of a batch to the next parameters.

All parameters of a model stand in one vector, so that a step costs the rounds of one parameter.
Gradients come as sums over the rows; they are divided together with what they are multiplied by,
in one rounding. With g the mean gradient plus l2 w plus l1 sign(w), and r the rate:

sgd:   v = momentum v + g,   w = w - r v;   with nesterov   w = w - r (g + momentum v).
adam:  m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g**2,
       w = w - r (m / c1) / sqrt(v / c2 + eps**2),   c_i = 1 - b_i**t,   b1 = 0.9,   b2 = 0.999.

These are torch's rules, but for Adam's eps, which stands inside of the root here (torch adds it
outside): only a parameter whose gradients are about eps takes another step for it.

Adam's v comes to 1000 g**2 and must stay below 2**28 (adaptive.py), and little of g should be lost.
So g is counted as the sum over a batch, but over 256 rows at most, and over fewer where class
weights make a row's slope larger: 1000 (256 * 2)**2 = 2**28, which is for mean gradients of twice
the largest weight.
"""

# P = parameters of the model.

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.runtime.engine import PRECISION_BITS, Engine, Secret
from tallystick.train.adaptive import EPS, over_root

OPTIMISERS = ("sgd", "adam")
_ADAM_ROWS = 256
_FACTOR_BITS = 30
"""A step is a sum of small terms: each below 2**16, and their factors may be as small as 2**-20."""
LEAST_FACTOR = 2.0 ** (4 - _FACTOR_BITS)
"""Of a gradient in a step: smaller ones would not keep four bits, and none at last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How to descend."""

    optimiser: str
    momentum: float
    nesterov: bool
    l1: float
    l2: float
    clip_norm: float
    """The largest norm of a gradient; nought for any."""
    unit: float
    """So many rows' sum of gradients Adam computes with; see :func:`adam_unit`."""


def adam_unit(batch_size: int, class_weights: Sequence[float]) -> float:
    """Return how many rows' gradients Adam's sums stand for: a batch's, if there is room for it."""
    return min(batch_size, _ADAM_ROWS / max([1.0, *class_weights]))


def adam_eps(batch_size: int, class_weights: Sequence[float]) -> float:
    """Return Adam's eps, in the unit of a mean gradient."""
    return EPS / adam_unit(batch_size, class_weights)


class Optimiser(ABC):
    """Base: penalties and clipping. State is shared, and is kept in checkpoints.

    Args:
        engine: the session's engine.
        rule: how to descend.
        penalised_P: int64, one where l1 and l2 apply and nought elsewhere.
    """

    def __init__(self, engine: Engine, rule: Rule, penalised_P: Tensor) -> None:
        self.engine = engine
        self.rule = rule
        self._penalised_P = penalised_P

    @abstractmethod
    def step(self, weights_P: Secret, gradient_P: Secret, rows: int, rate: float) -> Secret:
        """Return the next parameters.

        Args:
            weights_P: the parameters.
            gradient_P: the sum of the rows' gradients.
            rows: how many.
            rate: the learning rate.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return this party's share of what the next step needs, by name."""

    @abstractmethod
    def numbers(self) -> dict[str, float]:
        """Return what is public of it."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Go on from a state."""

    def _zeros(self) -> Secret:
        return self.engine.from_share(torch.zeros_like(self._penalised_P))

    def _clipped(self, gradient_P: Secret, rows: int) -> Secret:
        """Scale the gradient down to the largest norm allowed, if it is above.

        With s = |g|**2 / clip**2 the factor is 1 / sqrt(s), or 1 where s < 1. Nobody learns which.
        The norm may be 128 times what is allowed; a longer gradient is cut by 128.
        """
        if not self.rule.clip_norm:
            return gradient_P
        engine = self.engine
        scaled_P = engine.scaled(gradient_P, 1 / (rows * self.rule.clip_norm))
        squares = engine.rounded(engine.squared(scaled_P).sum().unsqueeze(0))
        bits = engine.negative(
            engine.from_share(torch.cat([(squares - 1).share, (squares - _MOST).share]))
        )
        small, fits = bits[0:1], bits[1:2]
        squares = fits * (squares - _MOST) + _MOST
        factor = squares.inv_sqrt()
        factor = factor + small * (1 - factor)
        return engine.rounded(engine.product("mul", gradient_P, factor))

    def _penalties(self, weights_P: Secret) -> list[tuple[Secret, float]]:
        """Return the penalties' gradients and their weights."""
        terms = []
        if self.rule.l2:
            penalised = self.engine.from_share(weights_P.share * self._penalised_P)
            terms.append((penalised, self.rule.l2))
        if self.rule.l1:
            both = self.engine.from_share(torch.stack([weights_P.share, -weights_P.share]))
            below, above = self.engine.negative(both).share
            signs = (above - below) * self._penalised_P << PRECISION_BITS
            terms.append((self.engine.from_share(signs), self.rule.l1))
        return terms


_MOST = 2.0**14


class Sgd(Optimiser):
    """Descent with momentum."""

    def __init__(self, engine: Engine, rule: Rule, penalised_P: Tensor) -> None:
        super().__init__(engine, rule, penalised_P)
        # The velocity times the learning rate: one rounding less in each step.
        self._step_P = self._zeros()
        self._rate_before = 1.0

    def step(self, weights_P: Secret, gradient_P: Secret, rows: int, rate: float) -> Secret:  # noqa: D102
        gradient_P = self._clipped(gradient_P, rows)
        now = [(gradient_P, rate / rows)]
        now += [(term, rate * weight) for term, weight in self._penalties(weights_P)]
        kept = self.rule.momentum * rate / self._rate_before
        self._step_P = self.engine.combine([(self._step_P, kept), *now], factor_bits=_FACTOR_BITS)
        self._rate_before = rate
        if not self.rule.nesterov:
            return weights_P - self._step_P
        ahead = [(self._step_P, self.rule.momentum), *now]
        return weights_P - self.engine.combine(ahead, factor_bits=_FACTOR_BITS)

    def state(self) -> dict[str, Tensor]:  # noqa: D102
        return {"step": self._step_P.share}

    def numbers(self) -> dict[str, float]:  # noqa: D102
        return {"rate": self._rate_before}

    def restore(self, state: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:  # noqa: D102
        self._step_P = self.engine.from_share(state["step"])
        self._rate_before = numbers["rate"]


class Adam(Optimiser):
    """Descent with a rate for each parameter."""

    BETAS = (0.9, 0.999)
    # Squares need more fraction bits than other numbers: a gradient of 2**-10 has one of 2**-20.
    SQUARE_BITS = 24
    _BETA_BITS = 16

    def __init__(self, engine: Engine, rule: Rule, penalised_P: Tensor) -> None:
        super().__init__(engine, rule, penalised_P)
        self._mean_P = self._zeros()
        self._squares_P = engine.from_share(torch.zeros_like(penalised_P), self.SQUARE_BITS)
        self._steps = 0

    def step(self, weights_P: Secret, gradient_P: Secret, rows: int, rate: float) -> Secret:  # noqa: D102
        engine, (beta1, beta2) = self.engine, self.BETAS
        gradient_P = self._clipped(gradient_P, rows)
        # Of the same unit whatever this batch's rows: the ratio has none.
        unit = self.rule.unit
        terms = [(gradient_P, unit / rows)]
        terms += [(term, unit * weight) for term, weight in self._penalties(weights_P)]
        if len(terms) > 1 or unit != rows:
            gradient_P = engine.combine(terms)
        self._mean_P = engine.combine([(self._mean_P, beta1), (gradient_P, 1 - beta1)])
        # The sum that torch's v is 1 - b2 times: early squares would drown in the rounding of v.
        lost = round((1 - beta2) * 2**self._BETA_BITS)
        faded = engine.truncate(self._squares_P.share * lost, self._BETA_BITS)
        new_P = engine.rounded(engine.squared(gradient_P), self.SQUARE_BITS)
        share = self._squares_P.share - faded + new_P.share
        self._squares_P = engine.from_share(share, self.SQUARE_BITS)
        self._steps += 1
        beta2 = 1 - lost / 2**self._BETA_BITS
        scale = math.sqrt((1 - beta2**self._steps) / (1 - beta2)) / (1 - beta1**self._steps)
        ratio_P = over_root(engine, self._mean_P, self._squares_P)
        # Of the same fraction bits in every step, so that the dealer's part can be foreseen.
        return weights_P - engine.combine([(ratio_P, rate * scale)], factor_bits=_FACTOR_BITS)

    def state(self) -> dict[str, Tensor]:  # noqa: D102
        return {"mean": self._mean_P.share, "squares": self._squares_P.share}

    def numbers(self) -> dict[str, float]:  # noqa: D102
        return {"steps": self._steps}

    def restore(self, state: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:  # noqa: D102
        self._mean_P = self.engine.from_share(state["mean"])
        self._squares_P = self.engine.from_share(state["squares"], self.SQUARE_BITS)
        self._steps = int(numbers["steps"])


def make(engine: Engine, rule: Rule, penalised_P: Tensor) -> Optimiser:
    """Return an optimiser by name."""
    return (Adam if rule.optimiser == "adam" else Sgd)(engine, rule, penalised_P)
