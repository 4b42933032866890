"""Requests as they come over a link: the closed list, each field checked before it is used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from tallystick.runtime.dealer import bilinear
from tallystick.runtime.dealer.correlations import (
    MASKS,
    MAX_ELEMENTS,
    Correlation,
    Drawn,
    Name,
    Taken,
)
from tallystick.runtime.dealer.kinds import KINDS, MAX_TERMS, Options, Term
from tallystick.runtime.dealer.shapes import Shape
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.orders import Selection

MAX_DIMENSIONS = 8
_KINDS: Mapping[str, type[Correlation]] = {kind.KIND: kind for kind in KINDS}


def decode(content: Any) -> Correlation:
    """Read a request that came over a link.

    Raises:
        ProtocolViolation: a kind, field or size that is not on the list.
    """
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ProtocolViolation("a request of unknown kind reached the dealer")
    declared = {field.name: field.type for field in fields(_KINDS[kind])}
    try:
        if content.keys() != {"kind", *declared}:
            raise ValueError("other fields than the kind has")
        values = {name: _READERS[hint](content[name]) for name, hint in declared.items()}
        request = _KINDS[kind](**values)
        request.check()
    except (ValueError, OverflowError, IndexError):
        raise ProtocolViolation(f"a malformed request for {kind} reached the dealer") from None
    return request


def encode_name(name: Name) -> Any:
    """Return a mask's name as JSON values: its number, or the rows of a whole one."""
    if isinstance(name, Drawn):
        return name.number
    rows = name.rows
    return [name.table, rows.table_rows, rows.key, rows.begin, rows.count]


def decode_name(content: Any) -> Name:
    """Read a mask's name that came over a link.

    Raises:
        ProtocolViolation: it is none.
    """
    match content:
        case int(number) if type(number) is int and 0 <= number < MASKS:
            return Drawn(number)
        case [int(table), int(table_rows), str(key), int(begin), int(count)] if (
            all(type(number) is int for number in (table, table_rows, begin, count))
            and 0 <= table < MASKS
        ):
            rows = Selection(table_rows, key, begin, count)
            if rows.valid:
                return Taken(0, table, rows)
    raise ProtocolViolation("a mask of no proper name reached the dealer")


def decode_names(contents: Sequence[Any]) -> list[Name]:
    """Read the names of a request's operands.

    Raises:
        ProtocolViolation: one is none, or there are more orders to sort than a request needs.
    """
    names = [decode_name(content) for content in contents]
    if len({(n.rows.table_rows, n.rows.key) for n in names if isinstance(n, Taken)}) > 1:
        raise ProtocolViolation("a request that takes rows in several orders is not served")
    return names


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ELEMENTS:
        raise ValueError("not a whole number in range")
    return int(value)


def _shape(value: Any) -> Shape:
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        raise ValueError("not a shape")
    return tuple(_whole(size) for size in value)


def _shapes(value: Any) -> tuple[Shape, ...]:
    if not isinstance(value, list) or len(value) > 2 * MAX_TERMS:
        raise ValueError("not a list of shapes")
    return tuple(_shape(shape) for shape in value)


def _terms(value: Any) -> tuple[Term, ...]:
    if not isinstance(value, list) or len(value) > MAX_TERMS:
        raise ValueError("not a list of terms")
    return tuple(_term(term) for term in value)


def _term(value: Any) -> Term:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("not a term")
    operation, left, right, options = value
    if not isinstance(operation, str) or operation not in bilinear.OPERATIONS:
        raise ValueError("not an operation that is dealt for")
    return operation, _whole(left), _whole(right), _options(options)


def _options(value: Any) -> Options:
    if not isinstance(value, list) or not all(isinstance(o, list) and len(o) == 2 for o in value):
        raise ValueError("not a list of options")
    if not all(isinstance(name, str) for name, _ in value):
        raise ValueError("an option without a name")
    return tuple(
        (name, _shape(setting) if isinstance(setting, list) else _whole(setting))
        for name, setting in value
    )


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    int: _whole,
    Shape: _shape,
    tuple[Shape, ...]: _shapes,
    tuple[Term, ...]: _terms,
}
