"""Keys follow from the contributions of all parties, which are checked."""

import pytest
from tallystick.psi import keys


class Exchange:
    """A session of which only the exchange is there."""

    def __init__(self, *others: object) -> None:
        self.others, self.parties, self.name = others, ("alice", "bob"), "credit-1"

    def exchange(self, message: dict) -> list:
        self.sent = message
        return [message, *self.others]


GOOD = {"contribution": "ab" * 32, "ids": 3}


def test_keys_depend_on_every_contribution_the_purpose_and_the_session() -> None:
    session = Exchange(GOOD)
    joint, sizes = keys.meet(session, 2)
    assert sizes == (2, 3)
    own = bytes.fromhex(session.sent["contribution"])
    theirs = bytes.fromhex(GOOD["contribution"])
    same = keys.JointKeys("credit-1", own + theirs)
    assert joint.key("a") == same.key("a")
    others = [
        same.key("b"),
        keys.JointKeys("credit-2", own + theirs).key("a"),
        keys.JointKeys("credit-1", theirs + own).key("a"),
    ]
    assert len({joint.key("a"), *others}) == 4


def test_contributions_are_fresh() -> None:
    sent = set()
    for _ in range(3):
        session = Exchange(GOOD)
        keys.meet(session, 2)
        sent.add(session.sent["contribution"])
    assert len(sent) == 3


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**GOOD, "contribution": "ab"},
        {**GOOD, "contribution": 7},
        {**GOOD, "contribution": "zz" * 32},
        {**GOOD, "ids": -1},
        {**GOOD, "ids": 1.5},
        {**GOOD, "ids": True},
        {**GOOD, "ids": 1 << 60},
        {"contribution": GOOD["contribution"]},
    ],
)
def test_a_poor_contribution_is_refused_and_its_sender_named(answer: dict) -> None:
    with pytest.raises(keys.ProtocolViolation, match="party 'bob'"):
        keys.meet(Exchange(answer), 2)
