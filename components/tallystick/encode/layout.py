"""Who holds what: the parties tell each other, and settle one joint table.

Two messages, both seen by all parties: what a party holds (rows, the label's kind, whether it has
the group and what rows are split by), and then the names of its features, which follow from the
split. An error that all parties find is raised once all have heard from each other again, so that
none is blamed by another for having stopped first.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tallystick.encode import label as labels
from tallystick.encode.own import OwnRows
from tallystick.runtime.errors import ConfigError, DataError, PeerError, ProtocolViolation
from tallystick.runtime.session import Session

VERTICAL, HORIZONTAL = LAYOUTS = ("vertical", "horizontal")


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdings:
    """What each party holds, by its name, in rank order."""

    rows: Mapping[str, int]
    label: Mapping[str, Any]
    """The label's kind and number of classes, and their names if they are told."""
    label_owner: str
    """Empty where every party holds it, for its own rows."""
    groups: int
    """How many groups there are; 0 without a group column."""
    group_owner: str
    time_owner: str
    """Who holds what rows are split by; empty if nobody or everybody."""

    @classmethod
    def agree(
        cls,
        session: Session,
        own: OwnRows,
        *,
        layout: str,
        label: str,
        group: str,
        split_column: str,
        tell_classes: bool,
    ) -> Self:
        """Exchange what each party holds.

        Args:
            session: the joined session.
            own: this party's rows.
            layout: "vertical" or "horizontal".
            label: the label's column.
            group: the group column; empty without one.
            split_column: the column that rows are split by; or empty.
            tell_classes: whether the label's owner tells the names of the classes.

        Raises:
            ConfigError: something is held by none or by too many; raised at every party.
            DataError: the tables do not fit together; raised at every party.
            ProtocolViolation: a party's message has another form.
        """
        told: dict[str, Any] = {"rows": own.rows, "label": None, "group": None}
        if own.label is not None:
            told["label"] = {"kind": own.label.kind, "classes": len(own.label.classes)}
            if tell_classes and own.label.classes:
                told["label"]["names"] = [str(name) for name in own.label.classes]
        if own.group is not None:
            told["group"] = len(own.group.classes)
        told["splits"] = own.times_N is not None
        answers = dict(zip(session.parties, session.exchange(told), strict=True))
        for party, answer in answers.items():
            _check_holdings(party, answer)
        with refused_together(session):
            return cls._settled(answers, layout, label, group, split_column)

    @classmethod
    def _settled(
        cls,
        answers: Mapping[str, Mapping[str, Any]],
        layout: str,
        label: str,
        group: str,
        split_column: str,
    ) -> Self:
        rows = {party: answer["rows"] for party, answer in answers.items()}
        if layout == VERTICAL and len(set(rows.values())) > 1:
            counts = ", ".join(f"{party!r} has {count}" for party, count in rows.items())
            raise DataError(
                f"the parties do not bring the same rows: {counts}; match them by psi first, or "
                "say layout: horizontal if they are different rows"
            )
        label_owner = _owner(
            {party: answer["label"] is not None for party, answer in answers.items()},
            layout,
            f"the label {label!r}",
        )
        found = [answer["label"] for answer in answers.values() if answer["label"] is not None]
        if any(one != found[0] for one in found):
            kinds = ", ".join(sorted({str(one["kind"]) for one in found}))
            raise DataError(
                f"the label {label!r} is not of one kind at all parties ({kinds}); declare "
                "label_kind and label_classes"
            )
        group_owner, groups = "", 0
        if group:
            holds = {party: answer["group"] is not None for party, answer in answers.items()}
            group_owner = _owner(holds, layout, f"the group column {group!r}")
            groups = max(answer["group"] or 0 for answer in answers.values())
        time_owner = ""
        if split_column:
            holds = {party: answer["splits"] for party, answer in answers.items()}
            time_owner = _owner(holds, layout, f"the column {split_column!r} to split by")
        return cls(
            rows=rows,
            label=found[0],
            label_owner=label_owner,
            groups=groups,
            group_owner=group_owner,
            time_owner=time_owner,
        )


def _owner(holds: Mapping[str, bool], layout: str, what: str) -> str:
    """Return who holds a column; empty if every party does, for its own rows."""
    owners = [party for party, own in holds.items() if own]
    if layout == HORIZONTAL:
        if len(owners) < len(holds):
            lacking = ", ".join(repr(party) for party in holds if party not in owners)
            raise ConfigError(
                f"{lacking} does not hold {what}; with layout: horizontal every party holds all "
                "columns"
            )
        return ""
    if not owners:
        raise ConfigError(f"no party holds {what}; name a column that exactly one party holds")
    if len(owners) > 1:
        raise ConfigError(
            f"{what} is held by {' and '.join(map(repr, owners))}; exactly one party may hold it: "
            "rename or drop that column at the others"
        )
    return owners[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The joint table's columns, which every party knows."""

    features: Mapping[str, tuple[str, ...]]
    """Each party's features in its file's order, parties in rank order."""
    shape: tuple[int, ...]
    """Of one row of all features."""
    as_they_are: bool
    """Whether every party shares its values as they are."""

    @classmethod
    def agree(
        cls, session: Session, names: Sequence[str], shape: Sequence[int], as_they_are: bool
    ) -> Self:
        """Exchange the names of features, when parties hold different columns.

        Args:
            session: the joined session.
            names: this party's features.
            shape: of one row of them.
            as_they_are: whether its preparation changes no value.

        Raises:
            ConfigError: nobody holds a feature, or they do not go together; at every party.
            ProtocolViolation: a party's message has another form.
        """
        told = {"features": list(names), "shape": list(shape), "as_they_are": as_they_are}
        answers = dict(zip(session.parties, session.exchange(told), strict=True))
        for party, answer in answers.items():
            _check_features(party, answer)
        with refused_together(session):
            return cls._settled(answers)

    @classmethod
    def _settled(cls, answers: Mapping[str, Mapping[str, Any]]) -> Self:
        features = {party: tuple(answer["features"]) for party, answer in answers.items()}
        shapes = [tuple(answer["shape"]) for answer in answers.values() if answer["features"]]
        if not shapes:
            raise ConfigError(
                "no party holds a feature: beside ids and the label there are no columns; "
                "bring a table with features"
            )
        if len(shapes) > 1 and any(len(shape) > 1 for shape in shapes):
            holders = " and ".join(repr(party) for party, names in features.items() if names)
            raise ConfigError(
                f"{holders} bring features, and some of them are images; images stand alone: drop "
                "the other features"
            )
        shape = shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes),)
        as_they_are = all(answer["as_they_are"] for answer in answers.values())
        layout = cls(features=features, shape=shape, as_they_are=as_they_are)
        names = [column["name"] for column in layout.columns()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"two features are both called {twice[0]!r} once their owners' names stand "
                "before them; rename one"
            )
        return layout

    @property
    def widths(self) -> dict[str, int]:
        """How many values each party brings to a row."""
        if len(self.shape) > 1:
            return {party: math.prod(self.shape) * bool(n) for party, n in self.features.items()}
        return {party: len(names) for party, names in self.features.items()}

    def columns(self) -> list[dict[str, str]]:
        """Return name and owner of each column of the shares, in order."""
        return [
            {"name": f"{party}.{name}", "owner": party}
            for party, names in self.features.items()
            for name in names
        ]


@contextlib.contextmanager
def refused_together(session: Session) -> Iterator[None]:
    """Let all parties hear from each other once more before an error that all of them find."""
    try:
        yield
    except (ConfigError, DataError):
        with contextlib.suppress(PeerError):
            session.exchange({"layout": "refused"})
        raise


def _is_count(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_holdings(party: str, answer: Mapping[str, Any]) -> None:
    label, group = answer.get("label"), answer.get("group")
    good = (
        _is_count(answer.get("rows"), 1)
        and isinstance(answer.get("splits"), bool)
        and (group is None or (_is_count(group, 2) and group <= labels.MOST_CLASSES))
    )
    if label is not None:
        good = good and isinstance(label, dict) and label.get("kind") in labels.KINDS
        good = good and _is_count(label.get("classes")) and label["classes"] <= labels.MOST_CLASSES
        names = label.get("names", []) if good else None
        good = good and isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not good:
        raise _poor(party, "what it holds")


def _check_features(party: str, answer: Mapping[str, Any]) -> None:
    names, shape = answer.get("features"), answer.get("shape")
    good = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    good = good and isinstance(shape, list) and len(shape) in (1, 3)
    good = good and isinstance(answer.get("as_they_are"), bool)
    if not (
        good
        and all(_is_count(length) for length in shape or ())
        and (shape == [len(names or ())] or (len(shape or ()) == 3 and len(names or ()) == 1))
    ):
        raise _poor(party, "its column names")


def _poor(party: str, what: str) -> ProtocolViolation:
    return ProtocolViolation(
        f"party {party!r} did not send {what} in the agreed form; "
        "check that it runs the same version of tallystick"
    )
