"""The public split and the public batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime import orders
from tallystick.runtime.errors import DataError
from tallystick.tables import split


def train_test(rows: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = split.by_number(rows, seed, fraction)
    return drawn.train_rows, drawn.test_rows


ROWS = st.integers(2, 500)
FRACTION = st.floats(0, 1, exclude_min=True, exclude_max=True)
SEED = st.integers(0, 2**63 - 1)


@given(ROWS, FRACTION, SEED)
def test_each_row_trains_or_tests_and_neither_side_is_empty(
    rows: int, fraction: float, seed: int
) -> None:
    train, test = train_test(rows, fraction, seed)
    assert sorted([*train, *test]) == list(range(rows))
    assert len(train) >= 1
    assert len(test) >= 1
    assert abs(len(test) - rows * fraction) <= 1
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()


@given(ROWS, FRACTION, SEED)
def test_all_parties_draw_the_same_split(rows: int, fraction: float, seed: int) -> None:
    for ours, theirs in zip(
        train_test(rows, fraction, seed), train_test(rows, fraction, seed), strict=True
    ):
        assert (ours == theirs).all()


def test_the_split_is_held_for_ever() -> None:
    # Drawn anew by another version, a model would be tested on rows that it was trained on.
    train, test = train_test(10, 0.3, 42)
    assert train.tolist() == [0, 2, 3, 4, 6, 7, 9]
    assert test.tolist() == [1, 5, 8]


def test_other_seeds_give_other_splits() -> None:
    found = {tuple(train_test(1000, 0.2, seed)[1]) for seed in range(20)}
    assert len(found) == 20


def test_every_row_has_the_same_chance_to_test() -> None:
    times = np.zeros(50)
    for seed in range(2000):
        times[train_test(50, 0.2, seed)[1]] += 1
    # 400 expected; five standard deviations of a binomial with p = 0.2.
    assert abs(times - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_single_row_cannot_be_split(rows: int) -> None:
    with pytest.raises(DataError, match=f"{rows} rows cannot be split"):
        train_test(rows, 0.2, 0)


@given(st.integers(0, 300), st.integers(1, 64), SEED, st.integers(0, 100))
def test_batches_cover_each_row_once_and_keep_the_short_last_one(
    rows: int, batch_size: int, seed: int, epoch: int
) -> None:
    found = split.positions(rows, batch_size, seed, epoch)
    assert sorted(row for batch in found for row in batch) == list(range(rows))
    assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert all(0 < len(batch) <= batch_size for batch in found)
    again = split.positions(rows, batch_size, seed, epoch)
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


def test_each_epoch_is_shuffled_anew() -> None:
    epochs = {tuple(np.concatenate(split.positions(200, 32, 7, epoch))) for epoch in range(10)}
    assert len(epochs) == 10


def test_batches_and_split_use_other_coins() -> None:
    first, second = (orders.order(100, orders.key(purpose, 1)) for purpose in "ab")
    assert (first != second).any()


def test_orders_that_are_read_by_turns_are_those_that_are_drawn_anew() -> None:
    keys = ["", *(orders.key("test", number) for number in range(4))]
    for key in keys * 2:
        whole = np.concatenate([piece.positions() for piece in orders.pieces(100, 7, key)])
        assert (whole == orders.order(100, key)).all()
