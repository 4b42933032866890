"""The ledger: every opening is on it, in order, and its page is what a reviewer can read."""

from typing import Any

import pytest
import torch
from tallystick.runtime.ledger import Ledger


class Engine:
    """Opens nothing; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, list[int]]] = []

    def open(self, secret: Any, receivers: list[int]) -> Any:
        self.asked.append((secret, receivers))
        return torch.zeros(2) if 0 in receivers else None


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Ledger(("alice", "bob", "carol"), engine)  # type: ignore[arg-type]


def test_what_is_revealed_is_on_the_ledger(ledger: Ledger, engine: Engine) -> None:
    secret = torch.zeros(2, 3)
    assert ledger.reveal(secret, "losses", why="progress") is not None
    assert ledger.reveal(secret, "weights", why="export", to=["carol", "bob"]) is None
    ledger.note("rows matched", why="everybody must know how many", count=1)
    assert [r for _, r in engine.asked] == [[0, 1, 2], [2, 1]]
    assert ledger.as_json() == [
        {"what": "losses", "to": ["alice", "bob", "carol"], "count": 6, "why": "progress"},
        {"what": "weights", "to": ["carol", "bob"], "count": 6, "why": "export"},
        {
            "what": "rows matched",
            "to": ["alice", "bob", "carol"],
            "count": 1,
            "why": "everybody must know how many",
        },
    ]


def test_an_opening_to_somebody_who_is_no_party_is_refused(ledger: Ledger, engine: Engine) -> None:
    with pytest.raises(ValueError, match="eve"):
        ledger.reveal(torch.zeros(1), "loss", why="no reason", to=["alice", "eve"])
    assert not engine.asked
    assert not ledger.entries


def test_an_opening_that_fails_stays_on_the_ledger(ledger: Ledger, engine: Engine) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    engine.open = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError):
        ledger.reveal(torch.zeros(1), "loss", why="progress")
    assert len(ledger.entries) == 1


@pytest.mark.parametrize(
    "other",
    [
        [("loss", 1, "w", None), ("loss", 1, "w", None)],
        [("Loss", 1, "w", None)],
        [("loss", 2, "w", None)],
        [("loss", 1, "v", None)],
        [("loss", 1, "w", ["alice"])],
        [("loss", 1, "w", ["bob", "alice", "carol"])],
        [],
    ],
)
def test_ledgers_that_differ_anywhere_have_other_digests(ledger: Ledger, other: Any) -> None:
    ledger.note("loss", count=1, why="w")
    theirs = Ledger(("alice", "bob", "carol"), Engine())  # type: ignore[arg-type]
    theirs.note("loss", count=1, why="w")
    assert theirs.digest() == ledger.digest()
    theirs.entries.clear()
    for what, count, why, to in other:
        theirs.note(what, count=count, why=why, to=to)
    assert theirs.digest() != ledger.digest()


def test_the_order_of_openings_counts(ledger: Ledger) -> None:
    theirs = Ledger(("alice", "bob", "carol"), Engine())  # type: ignore[arg-type]
    for one, names in ((ledger, ("a", "b")), (theirs, ("b", "a"))):
        for name in names:
            one.note(name, count=1, why="w")
    assert ledger.digest() != theirs.digest()


def test_the_page_puts_equal_openings_in_one_row(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.note("loss", count=2, why="progress")
    ledger.note("weights", count=5, why="export", to=["bob"])
    ledger.note("nothing", count=0, why="a test", to=[])
    lines = ledger.markdown("What train opened").splitlines()
    assert lines[0] == "## What train opened"
    assert "| loss | alice, bob, carol | 3 | 6 | progress |" in lines
    assert "| weights | bob | 1 | 5 | export |" in lines
    assert "| nothing | nobody | 1 | 0 | a test |" in lines


def test_the_page_of_a_step_without_openings_says_so(ledger: Ledger) -> None:
    assert "Nothing was opened." in ledger.markdown("What encode opened")


def test_no_name_breaks_out_of_its_cell(ledger: Ledger) -> None:
    ledger.note("a|b\n| <script> & c", count=1, why="x\r\ny")
    row = ledger.markdown("t").splitlines()[4]
    assert row == "| a\\|b \\| &lt;script> &amp; c | alice, bob, carol | 1 | 1 | x y |"
