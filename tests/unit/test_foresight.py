"""What is asked of the dealer ahead: all that a loop needs, and in the end nothing else."""

from collections.abc import Iterator, Sequence

import pytest
from tallystick.runtime import orders
from tallystick.runtime.dealer.correlations import Correlation, Name, Taken
from tallystick.runtime.dealer.foresight import MAX_AHEAD, Ago, Count, Foresight
from tallystick.runtime.dealer.kinds import BitToRing, Product, Truncation
from tallystick.runtime.dealer.takes import Takes
from tallystick.runtime.orders import Selection

TABLE, ROWS = 7, 2000


def selections(number: int, batches: int, last: int) -> Iterator[Selection]:
    """The rows of each batch, in an order that nobody can guess from those before."""
    key = orders.key(f"turn {number}", 0)
    for batch in range(batches):
        yield Selection(ROWS, key, 8 * batch, 8)
    yield Selection(ROWS, key, 8 * batches, last)


def turn(
    number: int, batches: int, last: int
) -> Iterator[tuple[Selection | None, int, Correlation, Sequence[Ago]]]:
    """A turn of a training loop.

    For each request: the rows that are taken before, how many masks are drawn before, the request,
    and how long before each of its operands was drawn or taken.
    """
    for rows in selections(number, batches, last):
        taken: Selection | None = rows
        for layer in range(5):
            shape = (rows.count, layer + 1)
            product = Product((shape, shape), (("mul", 0, 1, ()),), bits=16)
            # A mask that serves twice: the operands of the second product are older.
            yield taken, 2, product, (Ago(1, rows.count), Ago(1, 0))
            yield None, 1, product, (Ago(3, 0), Ago(1, rows.count))
            yield None, 0, Truncation(shape, 16), ()
            taken = None
    for size in range(20):
        yield None, 0, BitToRing((size,)), ()


def fits(request: Correlation, names: Sequence[Name]) -> bool:
    """Whether the dealer can serve it: what is taken has as many rows as the operand."""
    shapes = request.shapes if isinstance(request, Product) else ()
    return all(
        name.rows.count == shape[0]
        for name, shape in zip(names, shapes, strict=True)
        if isinstance(name, Taken)
    )


@pytest.mark.parametrize(("batches", "last"), [(1, 3), (4, 3), (30, 3), (30, 8)])
def test_from_the_third_turn_on_all_is_asked_ahead_and_nothing_in_vain(
    batches: int, last: int
) -> None:
    takes, drawn = Takes(), 0
    takes.foretell(
        (TABLE, rows) for number in range(6) for rows in selections(number, batches, last)
    )
    foresight = Foresight(takes.get)
    waits, asked, needed = [0] * 5, [0] * 5, 0
    for number in range(5):
        for rows, fresh, request, ago in turn(number, batches, last):
            if rows is not None:
                takes.take(TABLE, rows)
            drawn += fresh
            masks = Count(drawn, takes.count)
            names = foresight.names(masks, ago)
            assert names is not None
            known = foresight.needs(request, names, masks)
            ahead = foresight.ahead()
            assert all(fits(*wanted) for wanted in ahead)
            waits[number] += not known
            asked[number] += (not known) + len(ahead)
        needed = sum(1 for _ in turn(number, batches, last))
    assert waits[0] >= 35
    assert waits[1] < 20
    assert waits[2:] == [0, 0, 0]
    assert abs(sum(asked[2:]) - 3 * needed) <= MAX_AHEAD


def test_what_is_taken_is_what_was_foretold() -> None:
    takes = Takes()
    first, *others = selections(0, 200, 1)
    takes.foretell((TABLE, rows) for rows in [first, *others])
    assert takes.get(150) == Taken(150, TABLE, others[149])
    takes.take(TABLE, first)
    with pytest.raises(ValueError, match="foretold"):
        takes.take(TABLE, first)
    for rows in others:
        takes.take(TABLE, rows)
    assert takes.get(takes.count - 1) == Taken(200, TABLE, others[-1])
    assert takes.get(0) is None, "what nobody asks for any more is forgotten"
    assert takes.get(takes.count) is None, "nobody said what follows"
    assert takes.take(TABLE, first) == Taken(201, TABLE, first)
    takes.foretell([(TABLE, others[0])])
    assert takes.get(202) == Taken(202, TABLE, others[0])
