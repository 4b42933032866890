"""Why ids that should match may not: what the shapes of two parties' ids tell."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.runtime.errors import ProtocolViolation

MOST_COMPARED = 5
LEAST_PART = 0.01
"""Rarer shapes are not compared: a shape that few ids have says more of those few than of all."""

ASK = (
    "check that all sides use the same id columns and spell ids the same way, or agree on a "
    "smaller minimum; with compare_shapes on all sides, this message says what is likely to differ"
)
_WIDTH = re.compile(r"\{\d+\}")

Shapes = Mapping[str, float]
"""The part of a party's ids that has each shape."""


def told(commonest: Shapes) -> dict[str, float]:
    """Return the shapes that a party tells the others, if all have agreed to compare them."""
    kept = [(name, part) for name, part in commonest.items() if part >= LEAST_PART]
    return dict(kept[:MOST_COMPARED])


def parsed(party: str, answer: Mapping[str, Any]) -> dict[str, float]:
    """Check what another party has told.

    Raises:
        ProtocolViolation: it is of another form.
    """
    match answer:
        case {"shapes": dict(found), **rest} if (
            not rest
            and len(found) <= MOST_COMPARED
            and all(isinstance(name, str) and len(name) <= 200 for name in found)
            and all(type(part) in (int, float) and 0 <= part <= 1 for part in found.values())
        ):
            # What another party wrote goes to this one's log: nothing in it may break the line.
            return {"".join(filter(str.isprintable, name)): part for name, part in found.items()}
    raise ProtocolViolation(
        f"party {party!r} sent no proper shapes of ids; "
        "check that it runs the same version of tallystick"
    )


def advice(parties: Sequence[str], shapes: Sequence[Shapes]) -> str:
    """Say which difference in how ids are written is likely.

    Args:
        parties: their names.
        shapes: what each party has told.
    """
    for first in range(len(parties)):
        for second in range(first + 1, len(parties)):
            reason = _difference(shapes[first], shapes[second])
            if reason:
                return (
                    f"the ids of {parties[first]!r} look like {_show(shapes[first])}, those of "
                    f"{parties[second]!r} like {_show(shapes[second])}: {reason}"
                )
    return (
        f"the ids of all sides look alike ({_show(shapes[0])}), so they are probably different "
        "ids: check that all sides use the same id columns, and tables of the same customers; or "
        "agree on a smaller minimum"
    )


def _difference(ours: Shapes, theirs: Shapes) -> str | None:
    """Name the first cause that would explain why two sets of shapes differ."""
    left, right = set(ours), set(theirs)
    if left & right and _overlap(ours, theirs) > 1 / 2:
        return None
    hashed = [any("hex(" in shape for shape in side) for side in (left, right)]
    if hashed[0] != hashed[1]:
        return "one side's ids are hashes; hash them on every side in the same way, or on none"
    for change, remedy in (
        (_without_case, "upper and lower case differ; add 'case' to normalise on all sides"),
        (_without_ends, "there is white space at the ends; add 'strip' to normalise on all sides"),
        (_as_integer, "leading zeros or '.0' differ; add 'integer' to normalise on all sides"),
        (
            _without_signs,
            "separators differ; write them on every side in the same way, or drop them",
        ),
        (
            lambda shape: _as_integer(_without_signs(_without_case(shape))),
            "case, separators and leading zeros differ; write ids on every side in the same way",
        ),
    ):
        if {change(shape) for shape in left} & {change(shape) for shape in right}:
            return remedy
    return "they are written in different ways; check that all sides use the same id columns"


def _overlap(ours: Shapes, theirs: Shapes) -> float:
    return sum(min(part, theirs.get(shape, 0.0)) for shape, part in ours.items())


def _without_case(shape: str) -> str:
    return _WIDTH.sub("", shape.replace("A", "a"))


def _without_ends(shape: str) -> str:
    return shape.strip()


def _as_integer(shape: str) -> str:
    digits = re.sub(r"\.9(\{\d+\})?9*$", "", shape.strip())
    return re.sub(r"9(\{\d+\}|9)*", "9", digits)


def _without_signs(shape: str) -> str:
    return re.sub(r"[^\w{}]|_", "", shape)


def _show(shapes: Shapes) -> str:
    return ", ".join(f"{name!r} ({part:.0%})" for name, part in shapes.items()) or "nothing common"
