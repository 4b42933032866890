"""Who holds what: the parties tell each other their column names and settle one joint order."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tallystick.runtime.errors import ConfigError, PeerError, ProtocolViolation
from tallystick.runtime.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The joint table's columns, which every party knows."""

    features: Mapping[str, tuple[str, ...]]
    """Each party's feature columns in its file's order, parties in rank order."""
    label_owner: str

    @classmethod
    def agree(cls, session: Session, features: list[str], *, holds_label: bool, label: str) -> Self:
        """Exchange the column names.

        Args:
            session: the joined session.
            features: this party's feature columns.
            holds_label: whether this party's table has the label.
            label: the label's column.

        Raises:
            ConfigError: not exactly one party holds the label, or none holds a feature; it is
                raised at every party.
            ProtocolViolation: a party's message has another form.
        """
        answers = session.exchange({"features": features, "holds_label": holds_label})
        by_party: dict[str, tuple[str, ...]] = {}
        owners: list[str] = []
        for party, answer in zip(session.parties, answers, strict=True):
            by_party[party], holds = _checked(party, answer)
            owners += [party] if holds else []
        try:
            return cls._settled(by_party, owners, label)
        except ConfigError:
            # Every party finds the same error. Once all have heard from each other again, none is
            # blamed by another for having stopped first.
            with contextlib.suppress(PeerError):
                session.exchange({"layout": "refused"})
            raise

    @classmethod
    def _settled(
        cls, by_party: Mapping[str, tuple[str, ...]], owners: Sequence[str], label: str
    ) -> Self:
        if not owners:
            raise ConfigError(
                f"no party holds the label {label!r}; {_holdings(by_party)}; "
                "name a column that exactly one party holds"
            )
        if len(owners) > 1:
            raise ConfigError(
                f"the label {label!r} is held by {' and '.join(map(repr, owners))}; exactly one "
                "party may hold it: rename or drop that column at the others"
            )
        layout = cls(features=by_party, label_owner=owners[0])
        names = [column["name"] for column in layout.columns()]
        if not names:
            raise ConfigError(
                "no party holds a feature: beside ids and the label there are no columns; "
                "bring a table with features"
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"two parties' columns are both called {twice[0]!r} once their owners' names stand "
                "before them; rename one"
            )
        return layout

    def columns(self) -> list[dict[str, str]]:
        """Return name and owner of each column of the shares, in order."""
        return [
            {"name": f"{party}.{name}", "owner": party}
            for party, names in self.features.items()
            for name in names
        ]


def _checked(party: str, answer: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    features, holds = answer.get("features"), answer.get("holds_label")
    if (
        not isinstance(features, list)
        or not all(isinstance(name, str) and name for name in features)
        or not isinstance(holds, bool)
    ):
        raise ProtocolViolation(
            f"party {party!r} did not send its column names in the agreed form; "
            "check that it runs the same version of tallystick"
        )
    return tuple(features), holds


def _holdings(by_party: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(
        f"{party!r} holds {', '.join(names) or 'no columns beside ids'}"
        for party, names in by_party.items()
    )
