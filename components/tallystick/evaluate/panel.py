"""A part of the page: a chart or a table, with its title and what to say of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A part of the page."""

    name: str
    """Of the figure's file."""
    title: str
    figure: str = ""
    """A chart, if it has one."""
    body: str = ""
    """A table, as HTML."""
    note: str = ""
    wide: bool = False


ROWS = ("rows", "number")
"""The column of a table that counts rows."""
