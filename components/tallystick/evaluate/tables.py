"""Tables of the page: for numbers side by side, and for confusion counts."""

import math
from collections.abc import Iterable, Sequence
from html import escape


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Make a table that a narrow screen shows as blocks.

    Args:
        columns: name and kind (a class of the page's style) of each.
        rows: cells, which are HTML already.
    """
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}"' + (f' data-name="{name}:"' if index else "") + f">{cell}</td>"
            for index, ((name, kind), cell) in enumerate(zip(columns, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Make a square of counts. Rows: the truth."""
    rows = ""
    for actual, counts in enumerate(matrix):
        total = max(sum(counts), 1)
        cells = "".join(
            f'<td class="{"hit" if called == actual else "miss"}" '
            f'style="--share:{count / total:.3f}"><b>{count:,}</b>'
            f"<span>{count / total:.1%}</span></td>"
            for called, count in enumerate(counts)
        )
        rows += f'<tr><th scope="row">truly {escape(names[actual])}</th>{cells}</tr>'
    head = "".join(f'<th scope="col">called {escape(name)}</th>' for name in names)
    size = "confusion" if len(names) <= 4 else "confusion small"
    # A narrow screen scrolls: cells do not shrink below what their counts need.
    width = 5.5 + (4.5 if len(names) <= 4 else 3.4) * len(names)
    opened = f'<table class="{size}{" many" * (len(names) > 12)}" style="min-width: {width:g}rem">'
    return (
        f'<div class="scroll">{opened}<thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def number(value: float) -> str:
    """Write a number for people."""
    if not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size == 0 or 0.001 <= size < 10:
        return f"{value:.3f}"
    return f"{value:,.1f}" if 10 <= size < 1e7 else f"{value:.3g}"
