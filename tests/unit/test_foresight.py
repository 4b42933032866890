"""What is asked of the dealer ahead: all that a loop needs, and in the end nothing else."""

from collections.abc import Iterator

import pytest
from tallystick.runtime.dealer.foresight import MAX_AHEAD, Foresight, Wanted
from tallystick.runtime.dealer.kinds import BitToRing, Product, Truncation


def turn(batches: int, last: int) -> Iterator[tuple[int, Wanted]]:
    """A turn of a training loop: how many masks are drawn before each request, and the request."""
    for rows in (*[8] * batches, last):
        for layer in range(5):
            shape = (rows, layer + 1)
            product = Product((shape, shape), (("mul", 0, 1, ()),), bits=16)
            # A mask that serves twice: the operands of the second product are older.
            yield 2, (product, (2, 1))
            yield 1, (product, (3, 1))
            yield 0, (Truncation(shape, 16), ())
    for size in range(20):
        yield 0, (BitToRing((size,)), ())


@pytest.mark.parametrize(("batches", "last"), [(1, 3), (4, 3), (30, 3), (30, 8)])
def test_from_the_third_turn_on_all_is_asked_ahead_and_nothing_in_vain(
    batches: int, last: int
) -> None:
    foresight, masks = Foresight(), 0
    waits, asked, needed = [0] * 5, [0] * 5, 0
    for number in range(5):
        for drawn, (request, ago) in turn(batches, last):
            masks += drawn
            operands = [masks - n for n in ago]
            known = foresight.needs(request, operands, masks)
            waits[number] += not known
            asked[number] += (not known) + len(foresight.ahead())
        needed = sum(1 for _ in turn(batches, last))
    assert waits[0] >= 35
    assert waits[1] < 20
    assert waits[2:] == [0, 0, 0]
    assert abs(sum(asked[2:]) - 3 * needed) <= MAX_AHEAD
