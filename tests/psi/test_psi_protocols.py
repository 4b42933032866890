"""Both protocols against a plaintext join, over real links, with two parties and three."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallystick.psi.matches import Matches, TooFewMatch

from tests.psi.room import Outcome, Room

NAMES = ("alice", "bob", "carol")
Values = Sequence[tuple[str, ...]]
# Few letters, so that sets meet; among them what encodings and files stumble over.
VALUE = st.text("aé\u212b,\x00\U0001f600", min_size=1, max_size=3)
SLOWLY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
protocols = pytest.mark.parametrize("protocol", ["aided", "ecdh"])


def check(outcome: Outcome) -> None:
    """Every party has exactly the rows of a plaintext join, in one order."""
    sets = outcome.values
    expected = set.intersection(*(set(values) for values in sets.values()))
    first, *others = [outcome.rows(name) for name in sets]
    assert set(first) == expected
    assert len(first) == len(expected)
    assert all(rows == first for rows in others)
    assert {outcome.of[name].size for name in sets} == {len(expected)}
    assert len({outcome.of[name].row_order for name in sets}) == 1
    assert all(
        outcome.of[name].sizes == tuple(len(values) for values in sets.values()) for name in sets
    )
    assert len({ledger.digest() for ledger in outcome.ledgers.values()}) == 1


def singles(*values: str) -> Values:
    return [(value,) for value in values]


def named(sets: Sequence[Values]) -> dict[str, Values]:
    return dict(zip(NAMES, sets, strict=False))


def numbers(first: int, last: int, seed: int = 0) -> Values:
    order = np.random.default_rng(seed).permutation(np.arange(first, last))
    return [(f"id{number:07}",) for number in order]


@protocols
@pytest.mark.parametrize("parties", [2, 3])
@SLOWLY
@given(data=st.data())
def test_any_sets_give_what_a_plaintext_join_gives(
    room: Room, protocol: str, parties: int, data: st.DataObject
) -> None:
    columns = data.draw(st.integers(1, 2))
    ids = st.lists(st.tuples(*[VALUE] * columns), unique=True, max_size=12)
    check(room.intersect(protocol, {name: data.draw(ids) for name in NAMES[:parties]}))


@protocols
@pytest.mark.parametrize(
    "sets",
    [
        ([], []),
        (singles("a"), []),
        ([], singles("a")),
        (singles("a"), singles("a")),
        (singles("a", "b"), singles("c", "d")),
        (singles("a", "b", "c"), singles("c", "b", "a")),
        ([("a", "b,c"), ("a", "b")], [("a,b", "c"), ("a", "b")]),
        (numbers(0, 3000), numbers(2999, 3001)),
        (singles("a"), singles("a"), singles("a")),
        (numbers(0, 300), numbers(100, 400), numbers(200, 500)),
        (numbers(0, 100), numbers(0, 100), numbers(200, 300)),
        ([], numbers(0, 10), numbers(0, 10)),
    ],
    ids=[
        "empty",
        "one empty",
        "the other empty",
        "one element",
        "disjoint",
        "identical",
        "two columns",
        "one of many",
        "three of one",
        "three",
        "two of three",
        "one of three empty",
    ],
)
def test_special_sets(room: Room, protocol: str, sets: Sequence[Values]) -> None:
    check(room.intersect(protocol, named(sets)))


@pytest.mark.parametrize("parties", [2, 3])
def test_a_hundred_thousand_with_skewed_sizes_aided(room: Room, parties: int) -> None:
    sets = (numbers(0, 100_000), numbers(99_000, 101_000, 1), numbers(98_000, 160_000, 2))
    check(room.intersect("aided", named(sets[:parties])))


def test_batches_and_ranges_of_every_size(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small batches and ranges a small test goes round every loop more than once."""
    from tallystick.psi import opening, ring, runs, store
    from tallystick.runtime.dealer import intersection

    monkeypatch.setattr(ring, "BATCH_POINTS", 50)
    monkeypatch.setattr(ring, "WORK_POINTS", 7)
    monkeypatch.setattr(intersection, "RANGE_ROWS", 20)
    monkeypatch.setattr(opening, "CHUNK", 10)
    monkeypatch.setattr(runs, "RUN_RECORDS", 30)
    monkeypatch.setattr(runs, "HELD_BYTES", 2000)
    monkeypatch.setattr(store, "HELD_BYTES", 2000)
    for protocol in ("aided", "ecdh"):
        sets = (numbers(0, 230), numbers(100, 251), numbers(120, 600))
        check(room.intersect(protocol, named(sets), minimum=40))
        check(room.intersect(protocol, named(sets[:2]), workers=2))


@protocols
def test_the_order_of_rows_is_new_in_each_session(room: Room, protocol: str) -> None:
    sets = {"alice": numbers(0, 60), "bob": numbers(10, 70)}
    first, second = (room.intersect(protocol, sets) for _ in range(2))
    assert set(first.rows("alice")) == set(second.rows("alice"))
    assert first.rows("alice") != second.rows("alice")
    assert first.rows("alice") != sorted(first.rows("alice"))
    assert first.of["alice"].row_order != second.of["alice"].row_order


# Who learns


@protocols
@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("receiver", ["alice", "bob"])
def test_one_receiver_learns_its_rows_and_nobody_else_anything(
    room: Room, protocol: str, parties: int, receiver: str
) -> None:
    sets = dict(
        zip(NAMES[:parties], (numbers(0, 50), numbers(20, 70), numbers(30, 80)), strict=False)
    )
    outcome = room.intersect(protocol, sets, result="receiver", receiver=receiver, minimum=3)
    expected = set.intersection(*(set(values) for values in sets.values()))
    assert set(outcome.rows(receiver)) == expected
    assert outcome.of[receiver].size == len(expected)
    for name in sets.keys() - {receiver}:
        assert outcome.of[name] == Matches(sizes=outcome.of[receiver].sizes, size=None)
    assert len({ledger.digest() for ledger in outcome.ledgers.values()}) == 1
    assert [entry.to for entry in outcome.ledgers["alice"].entries] == [tuple(sets), (receiver,)]
    # The ledger that all have does not tell the others how many match.
    assert [entry.count for entry in outcome.ledgers["alice"].entries] == [1, 50]


@protocols
@pytest.mark.parametrize("parties", [2, 3])
def test_the_size_alone_is_what_all_learn(room: Room, protocol: str, parties: int) -> None:
    sets = dict(
        zip(NAMES[:parties], (numbers(0, 50), numbers(20, 70), numbers(30, 80)), strict=False)
    )
    outcome = room.intersect(protocol, sets, result="size")
    size = len(set.intersection(*(set(values) for values in sets.values())))
    for name in sets:
        assert (outcome.of[name].size, outcome.of[name].positions) == (size, None)
        assert [entry.what for entry in outcome.ledgers[name].entries] == ["rows matched"]


@protocols
@pytest.mark.parametrize("result", ["all", "receiver", "size"])
def test_below_the_minimum_every_party_gets_the_same_error(
    room: Room, protocol: str, result: str
) -> None:
    sets = {"alice": numbers(0, 50), "bob": numbers(40, 90), "carol": numbers(30, 80)}
    receiver = "bob" if result == "receiver" else ""
    outcome = room.intersect(protocol, sets, minimum=11, result=result, receiver=receiver)
    for name in sets:
        assert isinstance(outcome.of[name], TooFewMatch)
        assert outcome.ledgers[name].entries == []
    enough = room.intersect(protocol, sets, minimum=10, result=result, receiver=receiver)
    assert all(isinstance(enough.of[name], Matches) for name in sets)
