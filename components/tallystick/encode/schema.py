"""Different rows of the same columns: are they the same, and can they be prepared by sums?"""

from collections.abc import Mapping

from tallystick.encode.layout import refused_together
from tallystick.encode.own import Columns
from tallystick.runtime.errors import ConfigError, DataError, ProtocolViolation
from tallystick.runtime.session import Session
from tallystick.tables.rules import CategoryRule, DateRule

MOST_NAMED = 10
"""So many differences between schemas stand in a message."""


def require_summable(columns: Columns) -> None:
    """Refuse rules that need more than sums, before anybody is dialled.

    Raises:
        ConfigError: naming the column and what can be done.
    """
    for name, kind in columns.kinds.items():
        rule = columns.rules.of(name, kind or "number")
        if isinstance(rule, CategoryRule):
            if not rule.order and not rule.announce:
                raise ConfigError(
                    f"column {name!r} is a category, and parties with different rows must agree "
                    "on its values: list them as order, or say announce: true so that the names "
                    "of common ones are told; or drop it"
                )
            continue
        number = rule.number() if isinstance(rule, DateRule) else rule
        if number.fill == "median" or number.clip or number.scale in ("minmax", "robust"):
            raise ConfigError(
                f"column {name!r}: median, clip, minmax and robust need more than sums, and are "
                "not to be had between parties with different rows; use fill: mean or a constant, "
                "and scale: standard or none"
            )


def agree_columns(session: Session, columns: Columns) -> None:
    """Compare the schemas of all parties, and bring the columns into the first party's order.

    Raises:
        DataError: they differ, and in what; at every party.
        ProtocolViolation: a party's message has another form.
    """
    answers = session.exchange({"columns": [[n, k] for n, k in columns.kinds.items()]})
    kinds: list[dict[str, str]] = []
    for party, answer in zip(session.parties, answers, strict=True):
        told = answer.get("columns")
        good = isinstance(told, list) and all(
            isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) for text in one)
            for one in told
        )
        if not good:
            raise ProtocolViolation(
                f"party {party!r} did not send its columns in the agreed form; check that it runs "
                "the same version of tallystick"
            )
        kinds.append({name: kind for name, kind in told or []})
    with refused_together(session):
        first, ours = session.parties[0], kinds[0]
        differing = [
            found
            for party, theirs in zip(session.parties, kinds, strict=True)
            for found in _differing(first, ours, party, theirs)
        ]
        if differing:
            raise DataError(
                "parties with different rows must hold the same columns: "
                f"{'; '.join(differing[:MOST_NAMED])}; rename, drop, or declare reading.types"
            )
        if not ours:
            raise ConfigError(
                "no party holds a feature: beside ids and the label there are no columns; "
                "bring a table with features"
            )
    # A column that is empty at one party is there what it is at the others.
    columns.kinds = {name: next((k[name] for k in kinds if k[name]), "") for name in ours}


def _differing(
    first: str, ours: Mapping[str, str], party: str, theirs: Mapping[str, str]
) -> list[str]:
    return [
        *(f"{name!r} is missing at {party!r}" for name in ours if name not in theirs),
        *(f"{name!r} is missing at {first!r}" for name in theirs if name not in ours),
        *(
            f"{name!r} is a {ours[name]} at {first!r} and a {theirs[name]} at {party!r}"
            for name in ours
            if name in theirs and len({ours[name], theirs[name], ""}) > 2
        ),
    ]
