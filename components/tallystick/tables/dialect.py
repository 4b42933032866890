"""How a party's CSV file is written: what its owner declares, and what the file itself shows."""

import codecs
import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tallystick.runtime.errors import ConfigError, DataError

DELIMITERS = ",;\t|"
TYPES = ("number", "category", "date")
_MARKS = {
    codecs.BOM_UTF8: "utf8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """How to read a table; of a Parquet file only ``types`` and ``missing`` count."""

    delimiter: str = ""
    """One character; by default what the first lines show."""
    quote: str = '"'
    """One character; empty where nothing is quoted."""
    encoding: str = ""
    """Such as latin-1; by default what the byte order mark says, or UTF-8."""
    decimal: str = "."
    """What stands before the fraction of a number."""
    missing: tuple[str, ...] = ()
    """What else stands for no value, beside nothing at all."""
    types: Mapping[str, str] = field(default_factory=dict)
    """By column: number, category, date, or a date's form as in ``date:%d.%m.%Y``."""

    @classmethod
    def parse(cls, given: Mapping[str, Any], parameter: str = "reading") -> Self:
        """Take it from the parameter of a job.

        Raises:
            ConfigError: names the key, and what is allowed.
        """

        def require(holds: bool, key: str, allowed: str) -> None:
            if not holds:
                raise ConfigError(f"{parameter}.{key} must be {allowed}")

        known = {"delimiter", "quote", "encoding", "decimal", "missing", "types"}
        for key in given:
            if key not in known:
                raise ConfigError(
                    f"{parameter} has no key {key!r}; it knows {', '.join(sorted(known))}"
                )
        for key, most in (("delimiter", 1), ("quote", 1), ("encoding", 40), ("decimal", 1)):
            value = given.get(key, "")
            require(
                isinstance(value, str) and len(value) <= most, key, f"text of at most {most} signs"
            )
        if encoding := given.get("encoding", ""):
            try:
                codecs.lookup(encoding)
            except LookupError:
                require(False, "encoding", "the name of an encoding, such as utf-8 or latin-1")
        missing, types = given.get("missing", []), given.get("types", {})
        is_list = isinstance(missing, list | tuple)
        require(is_list and all(isinstance(m, str) for m in missing), "missing", "a list of texts")
        require(isinstance(types, Mapping), "types", "a mapping from column to type")
        for kind in types.values():
            good = isinstance(kind, str) and (kind in TYPES or kind.startswith("date:%"))
            require(good, "types", f"of {', '.join(TYPES)} or a form such as date:%d.%m.%Y")
        return cls(**{**given, "missing": tuple(missing), "types": dict(types)})

    def delimiter_of(self, head: bytes, name: str) -> str:
        """Return the delimiter of a file that begins so.

        Raises:
            DataError: its beginning is no text.
        """
        if self.delimiter:
            return self.delimiter
        lines = [line for line in self._text(head, name).splitlines() if line.strip()][:2]
        counts = {
            delimiter: [len(row) for row in csv.reader(lines, delimiter=delimiter)]
            for delimiter in DELIMITERS
        }
        # One that cuts header and first row alike is likelier than one that does not.
        return max(
            DELIMITERS, key=lambda d: (len(set(counts[d])) == 1 and max(counts[d]) > 1, counts[d])
        )

    def header_of(self, head: bytes, name: str) -> list[str]:
        """Return the fields of the first line of a file that begins so."""
        lines = [line for line in self._text(head, name).splitlines() if line.strip()][:1]
        return next(csv.reader(lines, delimiter=self.delimiter_of(head, name)), [])

    def encoding_of(self, head: bytes) -> str:
        """Return the encoding of a file that begins so."""
        if self.encoding:
            return self.encoding
        return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf8")

    def _text(self, head: bytes, name: str) -> str:
        # The head may end within a character.
        decoder = codecs.getincrementaldecoder(self.encoding_of(head))()
        try:
            return str(decoder.decode(head))
        except UnicodeDecodeError:
            raise not_text(name) from None


def not_text(name: str) -> DataError:
    """Say that a file is not text in the encoding that it should have."""
    return DataError(
        f"{name!r} cannot be read as CSV; save it as comma-separated text in UTF-8, or declare "
        "how it is written, as in reading: {encoding: latin-1}"
    )
