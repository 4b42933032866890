"""What the dealer deals: the parties' shares combine to what the plaintext relation says."""

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
from tallystick.runtime import orders
from tallystick.runtime.dealer import bilinear, correlations, digits, requests
from tallystick.runtime.dealer.correlations import (
    Correlation,
    Drawn,
    Name,
    Part,
    Taken,
    source,
)
from tallystick.runtime.dealer.kinds import (
    And,
    BitToRing,
    Gate,
    Harmonics,
    Nought,
    Permutation,
    Product,
    Sign,
    Truncation,
)
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.orders import Selection
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


def one(operation: str, left: Any, right: Any, bits: int, options: Any = ()) -> Product:
    return Product((tuple(left), tuple(right)), ((operation, 0, 1, options),), bits)


SIZES = st.integers(1, 5)
BITS = st.sampled_from([0, 0, 1, 16, 61])
REQUESTS: dict[type[Correlation], st.SearchStrategy[Correlation]] = {
    Product: st.one_of(
        st.builds(lambda shapes, bits: one("mul", *shapes, bits), broadcast(), BITS),
        st.builds(
            lambda n, bits: one("matmul", n[:2], n[1:], bits), st.tuples(SIZES, SIZES, SIZES), BITS
        ),
        st.builds(
            lambda shape, bits: Product(
                (shape, shape[1:], shape), (("mul", 0, 1, ()), ("mul", 2, 2, ())), bits
            ),
            st.tuples(SIZES, SIZES),
            BITS,
        ),
        st.builds(
            lambda n, bits: one(
                "conv2d",
                (2, n[0], 6, 7),
                (3, n[0], 2, 3),
                bits,
                (("dilation", (1, 1)), ("padding", (1, 0)), ("stride", (n[1], 2))),
            ),
            st.tuples(SIZES, SIZES),
            BITS,
        ),
    ),
    And: broadcast().map(lambda shapes: And(*shapes)),
    BitToRing: SHAPES.map(BitToRing),
    Truncation: st.builds(Truncation, SHAPES, st.integers(1, 61)),
    Harmonics: st.builds(
        Harmonics, SHAPES, st.integers(1, 5), st.integers(1, 52), st.integers(1, 39)
    ),
    Sign: st.builds(Sign, SHAPES, st.integers(0, 1)),
    Gate: SHAPES.map(Gate),
    Permutation: st.builds(
        Permutation, st.tuples(st.integers(0, 3), st.integers(0, 9)), st.integers(0, 1)
    ),
    Nought: st.builds(Nought, SHAPES, st.integers(1, 8)),
}


def dealt(request: Correlation, parties: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return masks and derived values, put together from what each party would hold."""
    keys, number = [new_key() for _ in range(parties)], random.randrange(1000)
    names = [named(part, i) for i, part in enumerate(request.operands)]
    sources = [[source(key, name) for key in keys] for name in names]
    p0s = correlations.deal(request, [Stream(key, number) for key in keys], sources)
    totals: list[Tensor] = []
    parts = (*request.operands, *request.masks, *request.derived)
    for rank, key in enumerate(keys):
        stream = Stream(key, number)
        held = [
            part.draw(source(key, name)) for part, name in zip(request.operands, names, strict=True)
        ]
        held += [part.draw(stream) for part in request.masks]
        held += [part.draw(stream) for part in request.derived] if rank else p0s
        if not totals:
            totals = held
            continue
        totals = [p.combine(a, b) for p, a, b in zip(parts, totals, held, strict=True)]
    for part, tensor in zip(parts, totals, strict=True):
        together = (parties * part.shape[0],) if part.sharing == "own" else part.shape
        assert tuple(tensor.shape) == together
        assert tensor.dtype == torch.int64
    count = len(parts) - len(request.derived)
    return totals[:count], totals[count:]


def named(part: Part, number: int) -> Name:
    """Name a mask of its own, or where the part has rows, some of a table of masks."""
    number = random.randrange(1000) * 8 + number
    if part.sharing != "sum" or not part.elements or random.random() < 0.5:
        return Drawn(number)
    table_rows = part.shape[0] + random.randrange(9) if part.shape else 1
    count = part.shape[0] if part.shape else 1
    key = random.choice(("", orders.key("test", number)))
    begin = random.randrange(table_rows - count + 1)
    return Taken(0, number, Selection(table_rows, key, begin, count))


def multiplied(term: Any, a: Tensor, b: Tensor) -> Tensor:
    """In float64 on 13-bit digits, which is exact, and put together modulo 2**64."""
    operation, _, _, options = term
    total: Any = 0
    for i in range(0, 64, 13):
        for j in range(0, 64 - i, 13):
            x, y = ((m >> s & 0x1FFF).double() for m, s in ((a, i), (b, j)))
            total = total + (getattr(torch, operation)(x, y, **dict(options)).long() << (i + j))
    return total


def relation(request: Correlation, masks: list[Tensor], derived: list[Tensor]) -> None:
    match request:
        case Product(terms=terms, bits=bits):
            total = sum(multiplied(t, masks[t[1]], masks[t[2]]) for t in terms)
            if bits:
                r = masks[-1] - total
                assert torch.equal(derived[0], (r & LOW) >> bits)
                assert torch.equal(derived[1], (r < 0).long())
            else:
                assert torch.equal(derived[0], total)
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
        case Sign(gates=gates):
            a, t = masks
            r = -a
            b = digits.unpack(t, r.numel()).reshape(r.shape) ^ (r < 0).long()
            assert torch.equal(derived[1], b)
            assert not gates or torch.equal(derived[2], a * b)
            public = torch.randint(-(2**62), 2**62, (r.numel(),)) * 2
            public[::3] = r.flatten()[::3]
            less, same = digits.look_up(derived[0], public, first=True)
            for j in range(digits.DIGITS):
                mine, other = ((v >> 4 * j) & (7 if j == 15 else 15) for v in (r.flatten(), public))
                assert torch.equal(digits.unpack(less[j], r.numel()), (other < mine).long())
                assert torch.equal(digits.unpack(same[j], r.numel()), (other == mine).long())
        case Permutation(shape=(_, n), owner=owner):
            keys = masks[1][owner * n : (owner + 1) * n]
            assert torch.equal(derived[0], masks[0][:, keys.sort().indices])
        case Nought(bits=bits):
            for v, row in enumerate(derived[0]):
                assert torch.equal(row, (masks[0] % 2**bits == v).long())
        case Gate():
            a, t, c = masks
            b = digits.unpack(t, a.numel()).reshape(a.shape) ^ (-a < 0).long()
            assert torch.equal(derived[0], c * b)
        case _:
            raise AssertionError(f"no relation is known for {request}")


def test_every_kind_of_request_is_tested_here() -> None:
    assert set(REQUESTS) == set(requests._KINDS.values())


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
        assert requests.decode(json.loads(json.dumps(request.encode()))) == request

    survives()


@pytest.mark.parametrize("shape", [(3,), (0,), (7, 2), (0, 4)])
def test_rows_of_a_mask_in_a_shape_that_does_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    rows = source(new_key(), Taken(0, 5, Selection(9, "", 2, 4)))
    with pytest.raises(ProtocolViolation, match="does not fit"):
        Part(shape).draw(rows)
    with pytest.raises(ProtocolViolation, match="single bits"):
        Part((4,), "bit").draw(rows)


def test_what_one_party_draws_says_nothing_of_the_masks() -> None:
    """A party's shares of the same request are the same whatever the others' keys are."""
    request, key = Truncation((1000,), 16), new_key()
    draws = [[part.draw(Stream(key, 3)) for part in request.masks] for _ in range(2)]
    assert torch.equal(draws[0][0], draws[1][0])
    masks, _ = dealt(request, 2)
    ones = sum(int(m).bit_count() if m >= 0 else 64 - int(~m).bit_count() for m in masks[0])
    assert abs(ones / 64_000 - 0.5) < 0.02


def test_any_request_is_dealt_or_refused_with_bounded_memory(fuzz: int) -> None:
    """20,000 requests by default, fitting ones and others; what passes can be dealt."""
    rng = random.Random(3 * fuzz)
    kinds = list(requests._KINDS)
    fields = ("shape", "left", "right", "bits", "shapes", "terms", "count", "owner")
    fields += ("period_bits", "precision_bits", "sharing", "masks", "gates")
    operations = (*sorted(bilinear.OPERATIONS), "einsum", "load", "")

    def value(name: str) -> Any:
        number = rng.choice((0, 1, 2, 3, 7, 16, 63, -1, 1 << 20, 1 << 33))
        shape = [rng.choice((0, 1, 2, 3, 3, 5, -1)) for _ in range(rng.randrange(5))]
        options = [[rng.choice(("stride", "padding", "groups", "out")), rng.choice((1, 2, 0))]]
        operation = rng.choice(("mul", "mul", "mul", rng.choice(operations)))
        terms = [[operation, 0, rng.choice((0, 1)), rng.choice(([], options))]]
        if rng.random() < 0.8:
            fitting = {"shape": shape, "left": shape, "right": shape}
            fitting |= {"shapes": [shape, shape], "terms": terms}
            return fitting.get(name, number)
        return rng.choice((number, shape, shape, shape, options, [], rng.choice(operations), None))

    outcomes: Counter[str] = Counter()
    for number in range(20_000 * fuzz):
        kind = requests._KINDS[rng.choice(kinds)]
        names = [f.name for f in dataclasses.fields(kind) if rng.random() < 0.97]
        names += [rng.choice(fields)] if rng.random() < 0.05 else []
        content = {"kind": kind.KIND, **{name: value(name) for name in names}}
        if number == 20_000 * fuzz - 1_000:
            tracemalloc.start()
        try:
            request = requests.decode(content)
        except ProtocolViolation:
            outcomes["refused"] += 1
            continue
        outcomes[request.KIND] += 1
        if sum(part.elements for part in (*request.operands, *request.derived)) < 10_000:
            dealt(request, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcomes["refused"] > 5000
    assert set(outcomes) == {"refused", *kinds}
    assert peak < 8 << 20


def test_a_request_over_the_limit_is_refused_before_anything_is_drawn() -> None:
    half = correlations.MAX_ELEMENTS // 2
    BitToRing((2, half)).check()
    for request in (
        BitToRing((2, half + 1)),
        one("mul", (half, 1), (1, half), 0),
        Product(((2, half + 1), (1,)), (("mul", 1, 1, ()),), 0),
        Harmonics((half,), 3, 20, 16),
    ):
        with pytest.raises(ProtocolViolation, match=r"exceeds .* elements"):
            request.check()


def test_a_request_that_takes_too_long_is_refused_though_it_is_small() -> None:
    """What counts is the multiplications: two such matrices have only 2**25 elements."""
    one("matmul", (1 << 11, 1 << 12), (1 << 12, 1 << 12), 0).check()
    wide = (1, 1, 1 << 12, 1 << 12)
    for request in (
        one("matmul", (1 << 12, 1 << 12), (1 << 12, 1 << 12), 0),
        one("conv2d", wide, (1, 1, 64, 64), 0),
        one("conv_transpose2d", wide, (1, 1, 64, 64), 0),
        one("conv2d_kernel", wide, (1, 1, 4033, 4033), 0, (("kernel", (64, 64)),)),
    ):
        with pytest.raises(ProtocolViolation, match=r"exceeds .* multiplications"):
            request.check()


def test_a_request_that_holds_too_much_on_the_way_is_refused_though_both_ends_are_small() -> None:
    many, few = 1 << 13, 1 << 9
    one("dot", (many, 1, few), (1, many, few), 0).check()  # a row at a time
    one("conv2d", (16, 64, 224, 224), (64, 64, 3, 3), 0, (("padding", (1, 1)),)).check()
    for request in (
        one("dot", (1, many, 1, few), (1, 1, many, few), 0),
        one("matmul", (1, many, many), (few, many, 1), 0),
        one("conv2d", (1, 1, many, many), (1, 1, 22, 22), 0, (("stride", (4, 4)),)),
        one("conv_transpose2d", (1, 1, many // 4, many // 4), (1, 1, 22, 22), 0),
    ):
        with pytest.raises(ProtocolViolation, match=r"would hold more than .* on the way"):
            request.check()


def test_parts_say_how_their_shares_combine() -> None:
    left, right = torch.tensor([5, -(2**63)]), torch.tensor([3, -1])
    for sharing, expected in (("sum", [8, 2**63 - 1]), ("xor", [6, 2**63 - 1])):
        part = Part((2,), sharing)
        both = part.combine(left.clone(), right)
        assert both.tolist() == expected
        assert torch.equal(part.remove(both, right), left)
