"""What the dealer deals: the parties' shares combine to what the plaintext relation says.

And what it is asked: whatever the bytes, a request is one of the list or refused.
"""

import dataclasses
import json
import math
import random
import tracemalloc
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tallystick.runtime.dealer import correlations, digits
from tallystick.runtime.dealer.correlations import (
    And,
    BitToRing,
    Correlation,
    Harmonics,
    Part,
    Permutation,
    Product,
    SignMask,
    Square,
    Truncation,
)
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.randomness import Stream, new_key
from torch import Tensor

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
LOW = torch.iinfo(torch.int64).max


@st.composite
def broadcast(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = draw(SHAPES)
    narrow = tuple(1 if draw(st.booleans()) else n for n in shape)
    narrow = narrow[draw(st.integers(0, len(narrow))) :]
    return (shape, narrow) if draw(st.booleans()) else (narrow, shape)


SIZES = st.integers(1, 5)
REQUESTS: dict[type[Correlation], st.SearchStrategy[Correlation]] = {
    Product: st.one_of(
        broadcast().map(lambda shapes: Product("mul", *shapes)),
        st.tuples(SIZES, SIZES, SIZES).map(lambda n: Product("matmul", n[:2], n[1:])),
        st.tuples(SIZES, SIZES).map(
            lambda n: Product(
                "conv2d",
                (2, n[0], 6, 7),
                (3, n[0], 2, 3),
                (("dilation", (1, 1)), ("padding", (1, 0)), ("stride", (n[1], 2))),
            )
        ),
    ),
    Square: SHAPES.map(Square),
    And: broadcast().map(lambda shapes: And(*shapes)),
    BitToRing: SHAPES.map(BitToRing),
    Truncation: st.builds(Truncation, SHAPES, st.integers(1, 61)),
    Harmonics: st.builds(
        Harmonics, SHAPES, st.integers(1, 5), st.integers(1, 52), st.integers(1, 39)
    ),
    SignMask: SHAPES.map(SignMask),
    Permutation: st.builds(
        Permutation, st.tuples(st.integers(0, 3), st.integers(0, 9)), st.integers(0, 1)
    ),
}


def dealt(request: Correlation, parties: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return masks and derived values, put together from what each party would hold."""
    keys, number = [new_key() for _ in range(parties)], random.randrange(1000)
    p0s = correlations.deal(request, [Stream(key, number) for key in keys])
    totals: list[Tensor] = []
    for rank, key in enumerate(keys):
        stream = Stream(key, number)
        held = [part.draw(stream) for part in request.masks]
        held += [part.draw(stream) for part in request.derived] if rank else p0s
        if not totals:
            totals = held
            continue
        parts = (*request.masks, *request.derived)
        totals = [p.combine(a, b) for p, a, b in zip(parts, totals, held, strict=True)]
    count = len(request.masks)
    for part, tensor in zip((*request.masks, *request.derived), totals, strict=True):
        together = (parties * part.shape[0],) if part.sharing == "own" else part.shape
        assert tuple(tensor.shape) == together
        assert tensor.dtype == torch.int64
    return totals[:count], totals[count:]


def relation(request: Correlation, masks: list[Tensor], derived: list[Tensor]) -> None:
    match request:
        case Product("mul"):
            assert torch.equal(derived[0], masks[0] * masks[1])
        case Product("matmul"):
            right = masks[1].T
            slow = [
                [sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in right]
                for row in masks[0]
            ]
            wrapped = [[(v + 2**63) % 2**64 - 2**63 for v in row] for row in slow]
            assert derived[0].tolist() == wrapped
        case Product("conv2d"):
            options: Any = dict(request.options)
            # In float64 on 13-bit digits, which is exact, and put together modulo 2**64.
            total = torch.zeros(request.derived[0].shape, dtype=torch.int64)
            for i in range(0, 64, 13):
                for j in range(0, 64 - i, 13):
                    a, b = (((m >> s) & 0x1FFF) for m, s in zip(masks, (i, j), strict=True))
                    exact = torch.conv2d(a.double(), b.double(), **options).long()
                    total += exact << (i + j)
            assert torch.equal(derived[0], total)
        case Square():
            assert torch.equal(derived[0], masks[0] * masks[0])
        case And():
            assert torch.equal(derived[0], masks[0] & masks[1])
        case BitToRing():
            assert torch.equal(derived[0], masks[0])
            assert ((masks[0] == 0) | (masks[0] == 1)).all()
        case Truncation(bits=bits):
            assert torch.equal(derived[0], (masks[0] & LOW) >> bits)
            assert torch.equal(derived[1], (masks[0] < 0).long())
        case Harmonics():
            for value, function in zip(derived, (math.sin, math.cos), strict=True):
                for k in range(request.count):
                    for r, got in zip(
                        masks[0].flatten().tolist(), value[k].flatten().tolist(), strict=True
                    ):
                        turn = r % 2**request.period_bits * (k + 1) % 2**request.period_bits
                        exact = function(2 * math.pi * turn / 2**request.period_bits)
                        allowed = 0.5 + 2.0 ** (request.precision_bits - 46)
                        assert abs(got - exact * 2**request.precision_bits) <= allowed
        case SignMask():
            r, t = masks
            bits = digits.unpack(t, r.numel()).reshape(r.shape)
            assert torch.equal(derived[1], bits ^ (r < 0).long())
            public = torch.randint(-(2**62), 2**62, (r.numel(),)) * 2
            less, same = digits.look_up(derived[0].reshape(digits.WORDS, -1), public)
            for j in range(digits.DIGITS):
                mine, other = digits.digit(r.flatten(), j), digits.digit(public, j)
                assert torch.equal(digits.unpack(less[j], r.numel()), (other < mine).long())
                assert torch.equal(digits.unpack(same[j], r.numel()), (other == mine).long())
        case Permutation(shape=(_, n), owner=owner):
            keys = masks[1][owner * n : (owner + 1) * n]
            assert torch.equal(derived[0], masks[0][:, keys.sort().indices])
        case _:
            raise AssertionError(f"no relation is known for {request}")


def test_every_kind_of_request_is_tested_here() -> None:
    assert set(REQUESTS) == set(correlations._KINDS.values())


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.KIND)
@pytest.mark.parametrize("parties", [2, 3])
def test_what_is_dealt_fulfils_its_relation(kind: type[Correlation], parties: int) -> None:
    @settings(max_examples=25, deadline=None)
    @given(REQUESTS[kind])
    def holds(request: Correlation) -> None:
        request.check()
        relation(request, *dealt(request, parties))

    holds()


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.KIND)
def test_a_request_survives_its_journey(kind: type[Correlation]) -> None:
    @settings(max_examples=50, deadline=None)
    @given(REQUESTS[kind])
    def survives(request: Correlation) -> None:
        assert correlations.decode(json.loads(json.dumps(request.encode()))) == request

    survives()


def test_what_one_party_draws_says_nothing_of_the_masks() -> None:
    """A party's shares of the same request are the same whatever the others' keys are."""
    request, key = Square((1000,)), new_key()
    draws = [[part.draw(Stream(key, 3)) for part in request.masks] for _ in range(2)]
    assert torch.equal(draws[0][0], draws[1][0])
    masks, _ = dealt(request, 2)
    ones = sum(int(m).bit_count() if m >= 0 else 64 - int(~m).bit_count() for m in masks[0])
    assert abs(ones / 64_000 - 0.5) < 0.02


MALFORMED = [
    None,
    [],
    "square",
    {},
    {"kind": "eval"},
    {"kind": None},
    {"kind": ["square"], "shape": [1]},
    {"kind": {"a": 1}},
    {"kind": "square"},
    {"kind": "square", "shape": None},
    {"kind": "square", "shape": 5},
    {"kind": "square", "shape": ""},
    {"kind": "square", "shape": "ab"},
    {"kind": "square", "shape": [1.5]},
    {"kind": "square", "shape": [True]},
    {"kind": "square", "shape": [-1, 5]},
    {"kind": "square", "shape": [-2, -3]},
    {"kind": "square", "shape": [[2]]},
    {"kind": "square", "shape": ["2"]},
    {"kind": "square", "shape": [1] * 100_000},
    {"kind": "square", "shape": [1 << 28]},
    {"kind": "square", "shape": [1 << 40]},
    {"kind": "square", "shape": [0, 1 << 30, 1 << 30, 1 << 30]},
    {"kind": "square", "shape": [5], "masks": [1]},
    {"kind": "square", "shape": [5], "check": 1},
    {"kind": "square", "shape": [5], "extra": 1},
    {"kind": "permutation", "shape": [5], "owner": 0},
    {"kind": "permutation", "shape": [1, 2, 5], "owner": 0},
    {"kind": "permutation", "shape": [1, 5], "owner": -1},
    {"kind": "truncation", "shape": [5], "bits": 62},
    {"kind": "truncation", "shape": [5], "bits": 0},
    {"kind": "truncation", "shape": [5], "bits": "7"},
    {"kind": "truncation", "shape": [5]},
    {"kind": "harmonics", "shape": [5], "count": 65, "period_bits": 5, "precision_bits": 5},
    {"kind": "harmonics", "shape": [5], "count": -1, "period_bits": 5, "precision_bits": 5},
    {"kind": "harmonics", "shape": [5], "count": 5, "period_bits": 60, "precision_bits": 5},
    {"kind": "and", "left": [2], "right": [3]},
    {"kind": "and", "left": [1 << 27, 1], "right": [1, 1 << 27]},
    {"kind": "product", "operation": "eval", "left": [2], "right": [2], "options": []},
    {"kind": "product", "operation": "__class__", "left": [2], "right": [2], "options": []},
    {"kind": "product", "operation": ["mul"], "left": [2], "right": [2], "options": []},
    {"kind": "product", "operation": "matmul", "left": [2, 3], "right": [2, 3], "options": []},
    {"kind": "product", "operation": "mul", "left": [2], "right": [2], "options": [["out", 1]]},
    {"kind": "product", "operation": "mul", "left": [2], "right": [2], "options": [1]},
    {"kind": "product", "operation": "mul", "left": [2], "right": [2], "options": "ab"},
    {"kind": "product", "operation": "mul", "left": [-1], "right": [-1], "options": []},
    {
        "kind": "product",
        "operation": "conv2d",
        "left": [1, 1, 5, 5],
        "right": [1, 1, 2, 2],
        "options": [["stride", 0]],
    },
    {
        "kind": "product",
        "operation": "conv2d",
        "left": [1, 1, 5, 5],
        "right": [1, 1, 2, 2],
        "options": [["padding", 1 << 30]],
    },
]


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: json.dumps(content)[:60])
def test_a_malformed_request_is_refused(content: Any) -> None:
    with pytest.raises(ProtocolViolation):
        correlations.decode(content)


def test_any_request_is_dealt_or_refused_with_bounded_memory(fuzz: int) -> None:
    """20,000 requests by default, fitting ones and others; what passes can be dealt."""
    rng = random.Random(3 * fuzz)
    kinds = list(correlations._KINDS)
    fields = ("shape", "left", "right", "bits", "operation", "options", "count", "owner")
    fields += ("period_bits", "precision_bits", "sharing", "masks")
    operations = (*sorted(Product.OPERATIONS), "einsum", "load", "")

    def value(name: str) -> Any:
        number = rng.choice((0, 1, 2, 3, 7, 16, 63, -1, 1 << 20, 1 << 33))
        shape = [rng.choice((0, 1, 2, 3, 3, 5, -1)) for _ in range(rng.randrange(5))]
        options = [[rng.choice(("stride", "padding", "groups", "out")), rng.choice((1, 2, 0))]]
        if rng.random() < 0.8:
            fitting = {"shape": shape, "left": shape, "right": shape, "options": []}
            return fitting.get(name, number)
        return rng.choice((number, shape, shape, shape, options, [], rng.choice(operations), None))

    outcomes: Counter[str] = Counter()
    for number in range(20_000 * fuzz):
        kind = correlations._KINDS[rng.choice(kinds)]
        names = [f.name for f in dataclasses.fields(kind) if rng.random() < 0.97]
        names += [rng.choice(fields)] if rng.random() < 0.05 else []
        content = {"kind": kind.KIND, **{name: value(name) for name in names}}
        if "operation" in content and rng.random() < 0.9:
            content["operation"] = rng.choice(operations[:6])
        if number == 20_000 * fuzz - 1_000:
            tracemalloc.start()
        try:
            request = correlations.decode(content)
        except ProtocolViolation:
            outcomes["refused"] += 1
            continue
        outcomes[request.KIND] += 1
        if sum(part.elements for part in (*request.masks, *request.derived)) < 10_000:
            dealt(request, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcomes["refused"] > 5000
    assert set(outcomes) == {"refused", *kinds}
    assert peak < 8 << 20


def test_a_request_over_the_limit_is_refused_before_anything_is_drawn() -> None:
    half = correlations.MAX_ELEMENTS // 2
    Square((2, half)).check()
    for request in (
        Square((2, half + 1)),
        Product("mul", (half, 1), (1, half)),
        Harmonics((half,), 3, 20, 16),
    ):
        with pytest.raises(ProtocolViolation, match="exceeds"):
            request.check()


def test_parts_say_how_their_shares_combine() -> None:
    left, right = torch.tensor([5, -(2**63)]), torch.tensor([3, -1])
    for sharing, expected in (("sum", [8, 2**63 - 1]), ("xor", [6, 2**63 - 1])):
        part = Part((2,), sharing)
        assert part.combine(left, right).tolist() == expected
        assert torch.equal(part.remove(part.combine(left, right), right), left)
