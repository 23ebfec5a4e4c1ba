"""Bar charts as SVG, by hand: they follow the reader's light or dark theme and need no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT = 760, 190, 80
BAR, GAP, GROUP_GAP, TOP = 15, 3, 14, 78
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 15px; }
  .value { font-size: 11.5px; fill: #57606a; }
  .ours { font-weight: 600; }
  .grid { stroke: #d0d7de; }
  .s0 { fill: #0b6bcb; } .s1 { fill: #e08a00; } .s2 { fill: #6f42c1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .value { fill: #9da7b3; } .grid { stroke: #3d444d; }
    .s0 { fill: #58a6ff; } .s1 { fill: #f0a83c; } .s2 { fill: #b392f0; }
  }
"""


def words(value: float) -> str:
    """A figure with two or three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Scale:
    """From figures to pixels."""

    def __init__(self, values: Sequence[float], *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        self._most = max(values, default=1.0)
        self._least = 10 ** math.floor(math.log10(min(values, default=1.0))) if logarithmic else 0.0
        if logarithmic and self._most <= self._least * 1.2:
            self._most = self._least * 10

    def at(self, value: float) -> float:
        if self._logarithmic:
            share = math.log(value / self._least) / math.log(self._most / self._least)
        else:
            share = value / self._most
        return share * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> list[float]:
        if self._logarithmic:
            exponents = range(round(math.log10(self._least)), math.floor(math.log10(self._most)) + 1)
            return [10.0**exponent for exponent in exponents]
        step = 10 ** math.floor(math.log10(self._most))
        step *= 0.5 if self._most / step < 3 else 1
        return [step * count for count in range(int(self._most / step) + 1)]


def bars(
    title: str, unit: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]], *, logarithmic: bool
) -> str:
    """A chart of horizontal bars, a group for each label; infinity is shown as "starved", None not at all."""
    known = [value for values in series.values() for value in values if value and math.isfinite(value)]
    scale = Scale(known, logarithmic=logarithmic)
    group = len(series) * (BAR + GAP) + GROUP_GAP
    height = TOP + len(labels) * group + 28
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="12" y="24">{escape(title)}</text>',
    ]
    x = 12.0
    for index, name in enumerate(series):
        out.append(f'<rect class="s{index}" x="{x:.0f}" y="38" width="12" height="12" rx="2"/>')
        out.append(f'<text x="{x + 18:.0f}" y="49">{escape(name)}</text>')
        x += 34 + 7.2 * len(name)
    bottom = TOP + len(labels) * group - GROUP_GAP
    for tick in scale.ticks():
        at = LEFT + scale.at(tick)
        out.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{bottom + 4}"/>')
        out.append(f'<text class="value" x="{at:.1f}" y="{bottom + 20}" text-anchor="middle">{words(tick)}</text>')
    out.append(f'<text class="value" x="{WIDTH - 12}" y="{bottom + 20}" text-anchor="end">{escape(unit)}</text>')
    for row, label in enumerate(labels):
        y = TOP + row * group
        middle = y + (len(series) * (BAR + GAP) - GAP) / 2 + 4.5
        emphasis = ' class="ours"' if row == 0 else ""
        out.append(f'<text{emphasis} x="{LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>')
        for index, values in enumerate(series.values()):
            value = values[row]
            top = y + index * (BAR + GAP)
            if value is None or math.isnan(value):
                continue
            width = scale.at(value) if math.isfinite(value) else WIDTH - LEFT - RIGHT
            text = words(value) if math.isfinite(value) else "starved"
            out.append(
                f'<rect class="s{index}" x="{LEFT}" y="{top}" width="{max(width, 1):.1f}" height="{BAR}" rx="2"/>'
            )
            out.append(f'<text class="value" x="{LEFT + width + 6:.1f}" y="{top + 12}">{text}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
