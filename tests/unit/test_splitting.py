"""Splits that do not follow from the numbers of rows: by ids, by time, stratified."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.encode import splitting
from tallystick.encode.label import BINARY, NUMBER, Label
from tallystick.tables import split
from tallystick.tables.split import TEST, TRAIN, VALIDATION

IDS = [f"customer {number}" for number in range(400)]
FORMS = ("nfkc", "strip")


def by_ids(ids: list[str], seed: int, forms: tuple[str, ...] = FORMS) -> set[str]:
    """The ids that test."""
    half = len(ids) // 2
    chunks = [pa.array(ids[:half]), pa.array(ids[half:])]
    order = splitting.by_ids([pa.chunked_array(chunks)], forms, seed)
    assert sorted(order) == list(range(len(ids)))
    return {ids[row] for row in split.cut(order, 0.25).test_rows}


@given(st.randoms(), st.integers(0, 2**63 - 1))
def test_the_same_ids_test_whatever_the_order_of_rows(random: object, seed: int) -> None:
    shuffled = IDS.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert by_ids(shuffled, seed) == by_ids(IDS, seed)


def test_ids_that_are_one_when_matched_are_one_when_split() -> None:
    assert {i.strip() for i in by_ids([f" {i}" for i in IDS], 3)} == by_ids(IDS, 3)


def test_few_more_rows_move_few_rows_between_the_parts() -> None:
    more = [*IDS, "another", "and another"]
    assert len(by_ids(more, 3) - {"another", "and another"} - by_ids(IDS, 3)) <= 1


def test_other_seeds_give_splits_that_have_nothing_to_do_with_each_other() -> None:
    drawn = [by_ids(IDS, seed) for seed in range(60)]
    shared = [len(a & b) for number, a in enumerate(drawn) for b in drawn[:number]]
    # 25 of 100 expected, with a deviation of 3.75 for each pair.
    assert abs(np.mean(shared) - 25) < 0.5
    assert max(shared) < 25 + 6 * 3.75


def test_the_latest_rows_test_and_those_before_them_validate() -> None:
    times = np.random.default_rng(0).permutation(100).astype(float)
    parts = splitting.by_time(times, 0.2, 0.1)
    assert (parts[times >= 80] == TEST).all()
    assert (parts[(times >= 70) & (times < 80)] == VALIDATION).all()
    assert (parts[times < 70] == TRAIN).all()


@pytest.mark.parametrize("kind", [BINARY, NUMBER])
def test_each_part_has_the_same_portion_of_each_class(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = (rng.random(1000) < 0.07) * 1.0 if kind == BINARY else rng.lognormal(size=1000)
    label = Label(kind=kind, values_N=values, classes=("no", "yes") if kind == BINARY else ())
    parts = splitting.stratified(label, 0.2, 0.1)
    high = values > np.quantile(values, 0.9) if kind == NUMBER else values == 1
    for part, portion in ((TEST, 0.2), (VALIDATION, 0.1)):
        assert abs((parts == part).sum() - 1000 * portion) <= 5
        assert abs((parts[high] == part).sum() - high.sum() * portion) <= 1


def test_a_stratified_split_is_drawn_anew_each_time_and_not_from_what_others_know() -> None:
    label = Label(kind=BINARY, values_N=np.arange(200) % 2.0, classes=(0, 1))
    drawn = {splitting.stratified(label, 0.5, 0.0).tobytes() for _ in range(5)}
    assert len(drawn) == 5
