"""Shuffle, sort, partition and maximum of shares against plaintext; and what the parties see."""

from typing import Any

import numpy as np
import pytest
import torch
from tallystick.runtime.protocols import shuffle as shuffling
from tallystick.runtime.protocols import sort as sorting
from tallystick.runtime.protocols.shuffle import shuffle
from tallystick.runtime.protocols.tournament import winner
from torch import Tensor

from tests import harness
from tests.harness import Place

COUNTS = (0, 1, 2, 3, 9, 64, 65, 1000)


def shared(session: Any, values: Tensor) -> Tensor:
    mine = values if session.rank == 1 else None
    share: Tensor = session.engine.share_ring(mine, 1, values.shape)
    return share


def opened(session: Any, share: Tensor) -> Tensor:
    total: Tensor = session.engine.context.open_sum(share)
    return total


def keys(count: int, kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    span = {"distinct": 2**44, "ties": 5, "equal": 1}[kind]
    return torch.randint(-span, span, (count,), generator=generator)


def _sort(session: Any, counts: tuple[int, ...]) -> list[tuple[int, str]]:
    """Return what was sorted wrongly; a stable sort has one right answer only."""
    wrong = []
    for count in counts:
        for kind in ("distinct", "ties", "equal"):
            keys_N, number_N = keys(count, kind), torch.arange(count)
            columns_CN = shared(session, torch.stack([keys_N, number_N]))
            result = sorting.sort(session.engine.context, columns_CN[0], columns_CN)
            oracle = torch.argsort(keys_N, stable=True)
            if not torch.equal(opened(session, result), torch.stack([keys_N[oracle], oracle])):
                wrong.append((count, kind))
    return wrong


@pytest.mark.parametrize("counts", [COUNTS, pytest.param((100_000,), marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_rows_are_sorted_by_key_and_ties_keep_their_order(
    place: Place, counts: tuple[int, ...]
) -> None:
    results = harness.run_parties(place, _sort, counts, timeout_s=500)
    assert results == {party: [] for party in place.parties}


def _partition(session: Any) -> list[int]:
    wrong = []
    for count in COUNTS:
        marks_N = (keys(count, "distinct") > 0).long()
        columns_CN = shared(session, torch.stack([marks_N, torch.arange(count)]))
        result = sorting.partition(session.engine.context, columns_CN[0], columns_CN)
        order = torch.argsort(-marks_N, stable=True)
        if not torch.equal(opened(session, result), torch.stack([marks_N[order], order])):
            wrong.append(count)
    return wrong


def test_marked_rows_come_first_and_keep_their_order(place: Place) -> None:
    results = harness.run_parties(place, _partition)
    assert results == {party: [] for party in place.parties}


def _maximum(session: Any) -> list[int]:
    wrong = []
    for count in COUNTS[1:]:
        values = torch.stack([keys(count, "distinct"), -keys(count, "ties")])
        largest, _ = winner(session.engine.context, shared(session, values))
        if not torch.equal(opened(session, largest), values.amax(-1)):
            wrong.append(count)
    return wrong


def test_the_largest_value_is_found(place: Place) -> None:
    results = harness.run_parties(place, _maximum)
    assert results == {party: [] for party in place.parties}


def _shuffle(session: Any, times: int) -> tuple[list[list[int]], bool]:
    """Return where the rows of four went, and whether rows stayed whole."""
    rows = torch.arange(4)
    whole, seen = True, []
    for _ in range(times):
        share_CN = shared(session, torch.stack([rows, rows * 10]))
        result = opened(session, shuffle(session.engine.context, share_CN))
        whole &= torch.equal(result[0] * 10, result[1])
        seen.append(result[0].tolist())
    return seen, whole


def test_every_order_is_as_likely_as_any_other(place: Place) -> None:
    times = 600
    for seen, whole in harness.run_parties(place, _shuffle, times).values():
        assert whole
        found = np.unique(np.array(seen), axis=0, return_counts=True)[1]
        assert len(found) == 24
        # Chi squared with 23 degrees of freedom exceeds 58 once in 10**4 runs.
        assert ((found - times / 24) ** 2 / (times / 24)).sum() < 58


def _common(session: Any) -> list[list[int]]:
    context = session.engine.context
    return [shuffling._common_stream(context).elements((4,)).tolist() for _ in range(2)]


def test_every_shuffle_begins_with_an_order_that_the_parties_alone_know(place: Place) -> None:
    first, *others = harness.run_parties(place, _common).values()
    assert others == [first] * len(others)
    assert first[0] != first[1]


def _recorded(session: Any, keys_N: Tensor, columns_CN: Tensor) -> list[list[int]]:
    """Sort twenty times; return what was opened by exclusive or: signs' masks and comparisons."""
    context, comparisons = session.engine.context, []
    arrange = sorting.arrange

    def recording(count: int, less: Any) -> Any:
        def watched(left: Any, right: Any) -> Any:
            bits = less(left, right)
            comparisons.append([*left.tolist(), *right.tolist(), *bits.astype(int).tolist()])
            return bits

        return arrange(count, watched)

    sorting.arrange = recording
    for _ in range(150):
        sorting.sort(context, shared(session, keys_N), shared(session, columns_CN))
    return comparisons


@pytest.mark.parametrize("kind", ["distinct", "equal"])
def test_the_opened_comparisons_are_those_of_a_uniform_order(pair: Place, kind: str) -> None:
    """Of three rows: all six outcomes as often, even where all keys are equal."""
    keys_N = torch.tensor({"distinct": [1, 2, 3], "equal": [7, 7, 7]}[kind])
    results = harness.run_parties(pair, _recorded, keys_N, torch.stack([keys_N, keys_N]))
    assert results["alice"] == results["bob"]
    outcomes = np.unique(np.array(results["alice"])[:, -3:], axis=0, return_counts=True)[1]
    assert len(outcomes) == 6
    assert ((outcomes - 25) ** 2 / 25).sum() < 25.7  # once in 10**4, 5 degrees of freedom
