"""Charts as SVG, drawn by hand: a plotting library's are ten times as long and have no dark theme.

A chart stands inline in the page, which has the style once, or by itself as a file (for MLflow).
The same numbers give the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 390.0, 26.0, 252.0

_LIGHT = "--ink:#1f2428;--soft:#5c656d;--line:#dfdcd4;--a:#266296;--b:#b25026;--back:#fff"
_DARK = "--ink:#e7e6e2;--soft:#a0a8af;--line:#343a40;--a:#7ab4e8;--b:#e89264;--back:#1d2125"
STYLE = f"""
.chart {{ {_LIGHT}; font: 11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
@media screen and (prefers-color-scheme: dark) {{ .chart {{ {_DARK} }} }}
.chart text {{ fill: var(--soft); }}
.chart .said {{
  fill: var(--ink); font-weight: 600; stroke: var(--back); stroke-width: 3; paint-order: stroke;
}}
.chart .grid {{ stroke: var(--line); }}
.chart .guide {{ stroke: var(--soft); stroke-dasharray: 4 4; fill: none; }}
.chart .line {{ fill: none; stroke-width: 2; stroke-linejoin: round; }}
.chart .a.line {{ stroke: var(--a); }}
.chart .b.line {{ stroke: var(--b); }}
.chart .a.mark, .chart .a.bar {{ fill: var(--a); }}
.chart .b.mark, .chart .b.bar {{ fill: var(--b); }}
.chart .ring {{ fill: var(--back); stroke: var(--ink); stroke-width: 2; }}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; ``name`` stands in the legend, ``tone`` is a or b."""

    points: Sequence[tuple[float, float]]
    name: str = ""
    tone: str = "a"
    marks: bool = True


@dataclass(frozen=True, slots=True)
class Ring:
    """A point that is pointed at, with what it is."""

    x: float
    y: float
    said: str
    above: bool = False
    """Whether the words stand above it, where the line falls to the right."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it shows, and round values that enclose all of it."""

    name: str
    ticks: Sequence[float]
    per_cent: bool = False

    def label(self, tick: float) -> str:
        """Write a tick."""
        return f"{tick * 100:g} %" if self.per_cent else f"{tick:,g}"

    def part(self, value: float) -> float:
        """Say where on the axis a value lies, from 0 to 1."""
        return (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])


UNIT = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def line_chart(
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    *,
    said: str,
    guide: tuple[tuple[float, float], tuple[float, float]] | None = None,
    rings: Sequence[Ring] = (),
) -> str:
    """Draw lines over two axes.

    Args:
        x: the lower axis.
        y: the left axis.
        lines: what is drawn.
        said: the chart in words, for those who do not see it.
        guide: ends of a dashed line to compare with.
        rings: points that are pointed at.
    """
    parts = [_axes(x, y)]
    if guide:
        (x0, y0), (x1, y1) = (_place(x, y, *end) for end in guide)
        parts.append(f'<path class="guide" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')
    for line in lines:
        places = [_place(x, y, *point) for point in line.points]
        joined = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline class="{line.tone} line" points="{joined}"/>')
        if line.marks and len(places) <= 60:
            parts += [
                f'<circle class="{line.tone} mark" cx="{px:.1f}" cy="{py:.1f}" r="2.5"><title>'
                f"{escape(x.name)} {vx:.3g}, {escape(y.name)} {vy:.3g}</title></circle>"
                for (px, py), (vx, vy) in zip(places, line.points, strict=True)
            ]
    for ring in rings:
        px, py = _place(x, y, ring.x, ring.y)
        anchor, shift = ("start", 9) if px < (LEFT + RIGHT) / 2 else ("end", -9)
        title = f"<title>{escape(ring.said)}</title>"
        parts.append(f'<circle class="ring" cx="{px:.1f}" cy="{py:.1f}" r="4.5">{title}</circle>')
        level = py - 8 if ring.above else py + 15
        parts.append(
            f'<text class="said" x="{px + shift:.1f}" y="{level:.1f}" '
            f'text-anchor="{anchor}">{escape(ring.said)}</text>'
        )
    parts.append(_legend([(line.tone, line.name) for line in lines if line.name]))
    return _svg(parts, said)


def bar_chart(
    x: Axis,
    y: Axis,
    bars: Sequence[tuple[float, float, Sequence[float]]],
    *,
    said: str,
    names: Sequence[str] = (),
    guide: float | None = None,
) -> str:
    """Draw bars, each from x0 to x1, of one or two heights on each other.

    Args:
        x: the lower axis.
        y: the left axis.
        bars: x0, x1 and heights of each.
        said: the chart in words.
        names: of the heights, for the legend.
        guide: a dashed line at this height.
    """
    parts = [_axes(x, y)]
    for x0, x1, heights in bars:
        base = 0.0
        for tone, height in zip("ab", heights, strict=False):
            left, top = _place(x, y, x0, base + height)
            right, bottom = _place(x, y, x1, base)
            parts.append(
                f'<rect class="{tone} bar" x="{left + 0.8:.1f}" y="{top:.1f}" '
                f'width="{max(right - left - 1.6, 0.5):.1f}" height="{bottom - top:.1f}"/>'
            )
            base += height
    if guide is not None:
        _, level = _place(x, y, x.ticks[0], guide)
        parts.append(f'<path class="guide" d="M{LEFT} {level:.1f}H{RIGHT}"/>')
    parts.append(_legend(list(zip("ab", names, strict=False))))
    return _svg(parts, said)


def ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values that enclose ``low`` and ``high``."""
    spread = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(spread / 4))
    size *= next(factor for factor in (1, 2, 5, 10) if spread / (size * factor) <= 5)
    first, last = math.floor(low / size), math.ceil(high / size)
    return [float(f"{index * size:.12g}") for index in range(first, max(last, first + 1) + 1)]


def _place(x: Axis, y: Axis, vx: float, vy: float) -> tuple[float, float]:
    return LEFT + x.part(vx) * (RIGHT - LEFT), BOTTOM - y.part(vy) * (BOTTOM - TOP)


def _axes(x: Axis, y: Axis) -> str:
    parts = []
    for tick in y.ticks:
        _, level = _place(x, y, x.ticks[0], tick)
        parts.append(f'<path class="grid" d="M{LEFT} {level:.1f}H{RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{y.label(tick)}</text>'
        )
    for tick in x.ticks:
        place, _ = _place(x, y, tick, y.ticks[0])
        anchor = "end" if place > RIGHT - 8 else "middle"
        parts.append(
            f'<text x="{place:.1f}" y="{BOTTOM + 17}" text-anchor="{anchor}">{x.label(tick)}</text>'
        )
    middle = (LEFT + RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{BOTTOM + 38}" text-anchor="middle">{escape(x.name)}</text>'
    )
    level = (TOP + BOTTOM) / 2
    parts.append(
        f'<text x="12" y="{level}" text-anchor="middle" transform="rotate(-90 12 {level})">'
        f"{escape(y.name)}</text>"
    )
    return "".join(parts)


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    parts, place = [], LEFT
    for tone, name in entries:
        parts.append(f'<rect class="{tone} bar" x="{place}" y="6" width="10" height="10"/>')
        parts.append(f'<text x="{place + 15}" y="15">{escape(name)}</text>')
        place += 30 + 6 * len(name)
    return "".join(parts)


def standalone(chart: str) -> str:
    """Return a chart as an SVG file."""
    namespace, back = "http://www.w3.org/2000/svg", ".chart { background: var(--back); }"
    begin = chart.index(">") + 1
    style = f"<style>{STYLE}{back}</style>"
    return f'{chart[: begin - 1]} xmlns="{namespace}">{style}{chart[begin:]}'


def _svg(parts: Sequence[str], said: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )
