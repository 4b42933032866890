"""The base of every step's configuration: where a KFP task's arguments become checked values."""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from tallystick.runtime.errors import ConfigError

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_PUBLIC = (str, int, float, bool)
JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepConfig:
    """What every step is told: who it is, whom it meets, and where the ledger's page goes."""

    party: str
    """The name of the party that this process works for."""
    session: str
    """The name of the joint execution, agreed by the parties before they start."""
    consortium: Path
    """The consortium file: parties in rank order, their addresses and certificates, the dealer."""
    identity: Path
    """The folder with this party's ``tls.key`` and ``tls.crt``."""
    join_timeout_s: int = 300
    """How long to wait for the other parties to come, in seconds."""
    reveals: Path
    """Where the page that lists every opened value is written."""

    MEMBERS: ClassVar[frozenset[str]] = frozenset()
    """Fields that name parties: one, several, or nobody."""
    LOCAL: ClassVar[frozenset[str]] = frozenset({"party", "join_timeout_s"})
    """Fields that may differ between parties, beside those that hold a path."""

    def __post_init__(self) -> None:
        """Check what holds for every step."""
        for name in ("party", "session"):
            value = getattr(self, name)
            if not _NAME.fullmatch(value):
                raise ConfigError(
                    f"{name} must be 1 to 100 letters, digits, '-', '_' or '.', and begin with a "
                    f"letter or digit, not {value[:120]!r}"
                )
        self.require(1 <= self.join_timeout_s <= 86_400, "join_timeout_s", "from 1 to 86400")

    def require(self, holds: bool, field: str, allowed: str) -> None:
        """Refuse a field's value, naming it and what is allowed.

        Raises:
            ConfigError: ``holds`` is false.
        """
        if not holds:
            value = getattr(self, field)
            # The peers hear of this, and a party's own text may be an address with credentials.
            own = (field in self.LOCAL and isinstance(value, str)) or isinstance(value, Path)
            raise ConfigError(f"{field} must be {allowed}" + ("" if own else f", not {value!r}"))

    def require_members(self, parties: Sequence[str]) -> None:
        """Refuse a name that is no party's.

        Args:
            parties: those who take part.

        Raises:
            ConfigError: names the field.
        """
        for field in sorted(self.MEMBERS):
            named = getattr(self, field)
            for name in named if isinstance(named, tuple) else (named,):
                if name and name not in parties:
                    raise ConfigError(
                        f"{field} names {name!r}, who takes no part; the parties are "
                        f"{', '.join(parties)}"
                    )

    @classmethod
    def from_task(cls, arguments: Mapping[str, object]) -> Self:
        """Build the configuration from a component's ``locals()``.

        Args:
            arguments: by field name. Artifacts become the path they are stored at; whole floats
                become integers where one is declared (KFP's JSON knows only floats); lists become
                tuples.

        Raises:
            ConfigError: a field is missing, or its value is of the wrong kind.
        """
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name in arguments:
                values[field.name] = _as_declared(
                    field.name, hints[field.name], arguments[field.name]
                )
            elif field.default is field.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{cls.__module__}: the parameter {field.name!r} is missing")
        return cls(**values)

    def joint(self) -> dict[str, JSON]:
        """Return what all parties must agree on, by field name."""
        hints = typing.get_type_hints(type(self))
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in self.LOCAL
            and (hints[field.name] in _PUBLIC or typing.get_origin(hints[field.name]) is tuple)
        }


def _plain(value: Any) -> JSON:
    return list(value) if isinstance(value, tuple) else value


def _as_declared(name: str, hint: Any, value: Any) -> Any:
    if hint is object:
        return value
    if hint is Path:
        path = getattr(value, "path", value)
        if not isinstance(path, str | Path) or not str(path):
            raise ConfigError(f"{name} must be a path, not {_kind(path)}")
        return Path(path)
    if hint == Path | None:
        return None if value is None else _as_declared(name, Path, value)
    if typing.get_origin(hint) is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or value != int(value):
            raise ConfigError(f"{name} must be a whole number, not {value!r}")
        return int(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str | Path):
        return str(value)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        (item, _) = typing.get_args(hint)
        return tuple(_as_declared(f"an entry of {name}", item, entry) for entry in value)
    kind = (
        getattr(hint, "__name__", str(hint)) if not isinstance(hint, types.GenericAlias) else "list"
    )
    found = repr(value) if hint in (int, float, bool) else _kind(value)
    raise ConfigError(f"{name} must be a {kind}, not {found}")


def _kind(value: object) -> str:
    """Say what a value is instead of showing it: it may be an address with credentials."""
    return f"a {type(value).__name__}" if value else "empty"
