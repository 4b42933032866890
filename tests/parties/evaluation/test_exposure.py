"""What a party and the dealer see while a model is evaluated: nothing that follows from a row."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tallystick.evaluate import binary, multiclass, regression
from tallystick.runtime.engine import Secret
from torch import Tensor

from tests import harness
from tests.harness import Place
from tests.parties.evaluation.room import DEVIATION, classes, numbers, scores_and_labels, shared


class Seen:
    """What one party is sent while it evaluates, what it learns by putting shares together, and
    what it asks the dealer for."""

    def __init__(self, session: Any) -> None:
        self.received: list[Tensor] = []
        self.opened: list[Tensor] = []
        self.whole: list[Tensor] = []
        """What was opened, but for packed words that are filled up: of few bits, any may come."""
        self.revealed: list[Tensor] = []
        self.asked: list[Any] = []
        self._engine, self._exchange = session.engine, session.engine._exchange
        session.engine._exchange = self._watch
        self._reveal, session.ledger.reveal = session.ledger.reveal, self._learn
        dealer = session.mesh.links[harness.DEALER]
        self._post, dealer.post = dealer.post, self._ask
        context = session.engine.context
        session.engine.context = dataclasses.replace(
            context,
            open_sums=self._open(context.open_sums),
            open_xors=self._open(context.open_xors, filled=1),
        )

    def _ask(self, kind: int, *content: Any) -> None:
        # Signs of life and of the end carry nothing.
        self.asked += [json.loads(bytes(part)) for part in content]
        self._post(kind, *content)

    def _watch(self, shares: Any, receivers: Any) -> Any:
        parts = self._exchange(shares, receivers)
        self.received += [part.reshape(-1).clone() for theirs in parts[:-1] for part in theirs]
        return parts

    def _open(self, opening: Any, filled: int = 0) -> Any:
        def watched(shares: Any) -> list[Tensor]:
            values = opening(shares)
            self.opened += [value.reshape(-1).clone() for value in values]
            kept = [value[..., : value.shape[-1] - filled] if filled else value for value in values]
            self.whole += [value.reshape(-1).clone() for value in kept]
            return values

        return watched

    def _learn(self, secret: Secret, what: str, **about: Any) -> Any:
        value = self._reveal(secret, what, **about)
        self.revealed.append(value.reshape(-1))
        return value


def watched_rows(kind: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Scores, labels and groups of 512 rows."""
    if kind == "classes":
        score, label, group = classes("distinct", 512, 3)
        return score, np.eye(3)[label], group
    if kind.startswith("numbers"):
        score, label, group = numbers("usual", 512)
        return (
            (score, label, group)
            if kind == "numbers"
            else (label / 2, np.roll(score, 9), 1 - group)
        )
    binary_score, binary_label = scores_and_labels("ties", 512)
    return binary_score, binary_label, (binary_score > -1).astype(np.int64)


def _watched(session: Any, kind: str) -> tuple[list[Any], ...]:
    score, label, group = watched_rows(kind)
    secrets = shared(session, score, 0), shared(session, label, 1)
    groups: dict[str, Any] = {"min_count": 10, "group_NG": shared(session, np.eye(3)[group], 0)}
    seen = Seen(session)
    if kind == "classes":
        multiclass.evaluate(session.engine, session.ledger, *secrets, **groups)
    elif kind == "binary":
        binary.evaluate(session.engine, session.ledger, *secrets, **groups)
    else:
        regression.evaluate(session.engine, session.ledger, *secrets, DEVIATION, **groups)
    views = (seen.received, seen.opened, seen.whole, seen.revealed)
    return *([part.numpy() for part in parts] for parts in views), seen.asked  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["binary", "classes", "numbers"])
def test_no_party_sees_a_score_a_label_or_an_order_of_rows(pair: Place, kind: str) -> None:
    score, label, _ = watched_rows(kind)
    rows = len(score)
    results = harness.run_parties(pair, _watched, kind)
    for party, views in results.items():
        assert not isinstance(views, BaseException), (party, views)
        received, opened, whole, revealed, _ = views
        # Each share by itself is uniform.
        bytes_seen = np.concatenate(received).view(np.uint8)
        uniform(bytes_seen)
        # Put together they are masked values, or follow from the shuffle's order alone.
        masked = [values for values in opened if not is_order(values)]
        assert (kind != "numbers") == any(map(is_order, opened))
        uniform(np.concatenate(masked).view(np.uint8))
        # Nothing that has a value for each row goes along with its score, label or place.
        columns = [*score.reshape(rows, -1).T, *label.reshape(rows, -1).T, np.arange(rows)]
        truths = np.array([(column - column.mean()) / column.std() for column in columns])
        for values in opened:
            whole = values[: len(values) // rows * rows].reshape(-1, rows).astype(np.float64)
            whole = whole[whole.std(axis=1) > 0]
            whole = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)
            assert (np.abs(whole @ truths.T / rows) < 6 / np.sqrt(rows)).all()
        # What the ledger opens are totals: few, and none of them a row's.
        assert sum(map(len, revealed)) < rows
        encoded = {round(value * 2**16) for value in score.flat} - {0}
        assert not encoded & {
            int(word) for values in whole if not is_order(values) for word in values
        }


def test_the_dealer_is_asked_for_shapes_and_nothing_that_depends_on_a_row(pair: Place) -> None:
    """Of other numbers it is asked the same; where rows are sorted, for other sizes of the same."""
    one, other = (harness.run_parties(pair, _watched, kind) for kind in ("numbers", "numbers 2"))
    assert one["alice"][-1] == other["alice"][-1] != []
    asked = harness.run_parties(pair, _watched, "binary")
    assert asked["bob"][-1] == []  # the first party asks for all
    known = {word for message in asked["alice"][-1] for word in words(message)}
    known -= {word for message in one["alice"][-1] for word in words(message)}
    assert not {word for word in known if not isinstance(word, int | str)}
    score, _, _ = watched_rows("binary")
    assert not {abs(round(value * 2**16)) for value in score if value} & known


def words(message: Any) -> Iterator[Any]:
    """Every single value in a message."""
    if isinstance(message, dict):
        message = [*message.items()]
    if isinstance(message, list | tuple):
        for part in message:
            yield from words(part)
    else:
        yield message


def is_order(values: NDArray[np.int64]) -> bool:
    return len(values) > 64 and np.array_equal(np.sort(values), np.arange(len(values)))


def uniform(seen: NDArray[np.uint8]) -> None:
    """Chi squared with 255 degrees of freedom exceeds 360 once in 10**5 times.

    Comparisons are packed 64 to a word and the last word is filled up with noughts, which adds
    less than 0.005 for each byte; plain values in a hundredth of the bytes would add more than
    0.02.
    """
    counts, wanted = np.bincount(seen, minlength=256), len(seen) / 256
    assert wanted > 100
    assert ((counts - wanted) ** 2 / wanted).sum() < 360 + 0.005 * len(seen)
