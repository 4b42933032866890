"""Truncation, comparison and linear combinations of shares, against plaintext integers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import harness
from tests.harness import Place

AT_ONCE = 1 << 18


def integers(count: int, seed: int) -> Tensor:
    """Ring elements below 2**62 in magnitude: of every size, both signs, the rims among them."""
    generator = torch.Generator().manual_seed(seed)
    full = torch.randint(-(2**62) + 1, 2**62, (count,), generator=generator)
    values = full >> torch.randint(0, 62, (count,), generator=generator)
    rims = [0, 1, -1, 2**62 - 1, -(2**62) + 1, 2**61, -(2**61), 2**16, -(2**16), 2**16 - 1]
    values[: len(rims)] = torch.tensor(rims)
    return values


def shared(session: Any, values: Tensor, owner: int = 0) -> Tensor:
    mine = values if session.rank == owner else None
    share: Tensor = session.engine.share_ring(mine, owner, values.shape)
    return share


def opened(session: Any, share: Tensor) -> Tensor:
    """Open ring elements as they are; float64 would not hold them."""
    total: Tensor = session.engine.context.open_sum(share)
    return total


def _truncate(session: Any, count: int, bits: tuple[int, ...]) -> dict[int, tuple[int, int]]:
    """Return for each number of bits the least and the largest difference from the floor."""
    found = {}
    for number in bits:
        worst = (0, 0)
        for seed in range(0, count, AT_ONCE):
            values = integers(min(AT_ONCE, count - seed), seed + number)
            share = shared(session, values, seed % session.world_size)
            result = opened(session, session.engine.truncate(share, number))
            difference = result - (values >> number)
            worst = (
                min(worst[0], int(difference.min())),
                max(worst[1], int(difference.max())),
            )
        found[number] = worst
    return found


def off_by_one_at_most(results: dict[str, Any], bits: tuple[int, ...]) -> None:
    for party, found in results.items():
        assert not isinstance(found, BaseException), (party, found)
        assert found.keys() == set(bits)
        for number, (least, largest) in found.items():
            assert -1 <= least <= largest <= 1, (number, least, largest)


def test_a_million_truncations_are_off_by_one_at_most(place: Place) -> None:
    bits = (16, 1, 61)
    count = 700_000
    results = harness.run_parties(place, _truncate, count // 2, bits, timeout_s=100)
    off_by_one_at_most(results, bits)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_million_truncations_are_off_by_one_at_most(place: Place) -> None:
    results = harness.run_parties(place, _truncate, 10**7, (16,), timeout_s=1100)
    off_by_one_at_most(results, (16,))


def _compare(session: Any, count: int) -> tuple[int, int]:
    """Return how many signs were wrong, and how many of them were no bit."""
    engine = session.engine
    # The whole ring, not only what a product leaves: the comparison is exact everywhere.
    values = integers(count, 5)
    values[count // 2 :] <<= 1
    values[-4:] = torch.tensor([-(2**63), 2**63 - 1, -(2**63) + 1, -1])
    secret = engine.from_share(shared(session, values, 1))
    bits = opened(session, engine.negative(secret).share)
    return int((bits != (values < 0).long()).sum()), int(((bits < 0) | (bits > 1)).sum())


def test_the_sign_of_a_value_is_exact_over_the_whole_ring(place: Place) -> None:
    results = harness.run_parties(place, _compare, 200_000)
    assert results == dict.fromkeys(place.parties, (0, 0))


def _compare_sizes(session: Any) -> list[bool]:
    """Sizes around a word of 64 packed bits, and shapes of several dimensions."""
    engine, right = session.engine, []
    for shape in ((0,), (1,), (63,), (64,), (65,), (128,), (3, 0), (2, 3, 11), ()):
        values = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        secret = engine.share(values if session.rank == 0 else None, 0, shape)
        bits = session.ledger.reveal(engine.negative(secret), "sign", why="a test")
        right.append(bits.shape == values.shape and bool((bits == (values < 0)).all()))
    return right


def test_comparisons_keep_every_shape(place: Place) -> None:
    results = harness.run_parties(place, _compare_sizes)
    assert results == dict.fromkeys(place.parties, [True] * 9)


def _combine(session: Any) -> list[float]:
    """Return the error of several combinations, as a part of what is allowed."""
    engine = session.engine
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(1000, generator=generator, dtype=torch.float64) * 8 for _ in range(3)]
    secrets = [
        engine.share(v if session.rank == i % 2 else None, i % 2, v.shape)
        for i, v in enumerate(values)
    ]
    parts = []
    for factors in ((1.0, 0.9, -0.1), (0.5, 0.0, 3.0), (1 / 128, -0.001, 0.0), (-2.0, 1e-3, 7.5)):
        terms = list(zip(secrets, factors, strict=True))
        result = session.ledger.reveal(engine.combine(terms), "sum", why="a test")
        exact = sum(v * f for v, f in zip(values, factors, strict=True))
        used = [abs(f) for f in factors if f]
        # 12 significant bits of the smallest factor, a unit of truncation, the inputs' rounding.
        step = min(used) * 2.0**-12
        allowed = sum(v.abs().max() for v in values) * step + (2 + sum(used)) * 2.0**-16
        parts.append(float((result - exact).abs().max() / allowed))
    return parts


def test_linear_combinations_hold_their_precision(place: Place) -> None:
    for party, parts in harness.run_parties(place, _combine).items():
        assert not isinstance(parts, BaseException), (party, parts)
        assert max(parts) <= 1, parts


def _open_to_some(session: Any) -> list[list[float] | None]:
    engine = session.engine
    found = []
    for receivers in (None, ["alice"], ["bob"], ["bob", "alice"], [session.parties[-1]], []):
        values = torch.tensor([1.5, -2.25])
        secret = engine.share(values if session.rank == 0 else None, 0, (2,))
        result = session.ledger.reveal(secret, "values", why="a test", to=receivers)
        found.append(None if result is None else result.tolist())
    return found


def test_a_value_is_opened_to_those_who_are_named_and_to_nobody_else(place: Place) -> None:
    results = harness.run_parties(place, _open_to_some)
    last = place.parties[-1]
    for party in place.parties:
        learns = [True, party == "alice", party == "bob", party in ("alice", "bob"), party == last]
        expected = [[1.5, -2.25] if yes else None for yes in (*learns, False)]
        assert results[party] == expected, party
    page = (place.folder / "alice" / "reveals.md").read_text()
    assert "| values | nobody | 1 | 2 | a test |" in page


def _matrices(session: Any) -> float:
    engine = session.engine
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(37, 11, generator=generator, dtype=torch.float64)
    y = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    shared_x = engine.share(x if session.rank == 0 else None, 0, x.shape)
    shared_y = engine.share(y if session.rank == 1 else None, 1, y.shape)
    worst = 0.0
    for result, exact in (
        (shared_x @ shared_y, x @ y),
        ((shared_x[:11].t() * 3) @ shared_x[:11], x[:11].t() * 3 @ x[:11]),
        (shared_x * shared_x, x * x),
        (shared_x.square(), x * x),
        (shared_x.div(7), x / 7),
        (shared_x.sum(0), x.sum(0)),
        (shared_x - 1.5, x - 1.5),
    ):
        found = session.ledger.reveal(result, "result", why="a test")
        # Inputs are rounded by half a unit each, eleven products add up, one truncation.
        allowed = 2.0**-16 * (2 + 11 * 3 * (x.abs().max() + y.abs().max()))
        worst = max(worst, float((found - exact).abs().max() / allowed))
    return worst


def test_products_and_sums_of_shares_agree_with_plaintext(place: Place) -> None:
    for party, worst in harness.run_parties(place, _matrices).items():
        assert not isinstance(worst, BaseException), (party, worst)
        assert worst <= 1


def _shares(session: Any) -> tuple[list[int], list[int]]:
    """Return this party's shares of two sharings of one value."""
    values = torch.full((2000,), 7)
    return tuple(shared(session, values).tolist() for _ in range(2))  # type: ignore[return-value]


def test_a_share_alone_is_uniform_and_never_the_same_twice(place: Place) -> None:
    results = harness.run_parties(place, _shares)
    for first, second in results.values():
        assert len({*first, *second}) == 4000
        ones = sum((value % 2**64).bit_count() for value in first)
        assert abs(ones / (64 * 2000) - 0.5) < 0.01
    total = [sum(column) % 2**64 for column in zip(*(r[0] for r in results.values()), strict=True)]
    assert total == [7] * 2000


def _noughts(session: Any) -> tuple[list[int], list[list[int]]]:
    """Return a share of nought, and what each stream that another party has too would draw next."""
    from tallystick.runtime.adaptation import world

    share = session.engine.share_ring(None, 0, (20,))
    streams = world._streams
    assert streams is not None
    return share.tolist(), [s.elements((2,)).tolist() for s in (*streams.earlier, *streams.later)]


def test_all_the_others_together_are_needed_to_know_a_partys_share_of_nought(
    tmp_path: Path,
) -> None:
    place = harness.make_place(tmp_path, 4)
    with harness.dealer(place):
        found = [*harness.run_parties(place, _noughts).values()]
    assert not any(isinstance(one, BaseException) for one in found), found
    total = sum(torch.tensor(share) for share, _ in found)
    assert bool((torch.as_tensor(total) == 0).all())
    for one, (share, streams) in enumerate(found):
        assert len(set(share)) == 20
        assert len(streams) == 3
        for other, (_, theirs) in enumerate(found):
            # One stream for each two: whoever is left out of a conspiracy has one with its victim.
            assert one == other or len([s for s in streams if s in theirs]) == 1
