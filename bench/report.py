"""What a run of the benchmark found, in words: the goals on the terminal, tables and plots for docs/performance.md."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import KINDS

BEGIN, END = "<!-- measured: written by `make bench` -->", "<!-- end of what was measured -->"


@dataclass(frozen=True)
class Goal:
    """One line of what the gateway is held to."""

    text: str
    limit: float
    value: Callable[[dict[str, Any]], float]
    at_least: bool = False

    def line(self, result: dict[str, Any]) -> tuple[str, str, str, str]:
        """Text, goal, figure and verdict; a figure that was not measured is a dash."""
        try:
            value = self.value(result)
        except KeyError:
            value = math.nan
        goal = f"{'≥' if self.at_least else '≤'} {self.limit:g}"
        if math.isnan(value):
            return self.text, goal, "–", "not measured"
        held = value >= self.limit if self.at_least else value <= self.limit
        return self.text, goal, f"{value:.2f}", "reached" if held else "missed"


def _ratio(measurement: str, figure: str) -> Callable[[dict[str, Any]], float]:
    return lambda result: result["ratios"][measurement][figure]


def _own(measurement: str, figure: str) -> Callable[[dict[str, Any]], float]:
    return lambda result: result["medians"]["gateway"][measurement][figure]


GOALS = (
    Goal("CPU per byte, 16 KiB frames, one stream: times HAProxy's", 0.95, _ratio("16k1", "cpu_gb")),
    Goal("CPU per byte, 16 KiB frames, 50 streams: times HAProxy's", 0.75, _ratio("16k50", "cpu_gb")),
    Goal("CPU per byte, 1 KiB frames, one stream: times HAProxy's", 1.2, _ratio("1k1", "cpu_gb")),
    Goal("CPU per keystroke, 50 consoles, RFB parsing and all: times HAProxy's", 1.5, _ratio("keys50", "cpu_us")),
    Goal("keystroke p99 beside 20 streams of 10 MB/s: times HAProxy's", 1.5, _ratio("paced", "p99_ms")),
    Goal("keystroke p99 beside 20 unlimited streams: times HAProxy's", 5, _ratio("unlimited", "p99_ms")),
    Goal("slowest of 20 unlimited streams: share of the mean", 0.5, _own("unlimited", "slowest"), at_least=True),
    Goal("memory of an idle console, KiB", 40, _own("idle", "pss_kib")),
    Goal("5,000 idle consoles: per cent of a core", 2, _own("many", "quiet_cpu")),
    Goal("opening a console: CPU ms, tickets aside", 5, _own("idle", "opening_cpu_ms")),
)

# Heading of the table's column, measurement, figure, decimals.
COLUMNS = (
    ("MB/s, 16 KiB", "16k1", "mb_s", 0),
    ("CPU s/GB", "16k1", "cpu_gb", 2),
    ("50 streams", "16k50", "cpu_gb", 2),
    ("MB/s, 1 KiB", "1k1", "mb_s", 0),
    ("CPU s/GB", "1k1", "cpu_gb", 2),
    ("key, CPU µs", "keys50", "cpu_us", 0),
    ("key p50 ms", "keys1", "p50_ms", 2),
    ("key p99 ms", "keys1", "p99_ms", 2),
    ("KiB idle", "idle", "pss_kib", 0),
    ("openings/s", "idle", "openings_s", 0),
)
FAIRNESS = (
    ("paced p50 ms", "paced", "p50_ms", 2),
    ("p99 ms", "paced", "p99_ms", 2),
    ("MB/s", "paced", "mb_s", 0),
    ("unlimited p50 ms", "unlimited", "p50_ms", 2),
    ("p99 ms", "unlimited", "p99_ms", 2),
    ("MB/s", "unlimited", "mb_s", 0),
    ("slowest / mean", "unlimited", "slowest", 2),
)
PLOTS = (
    ("bulk", "CPU seconds per gigabyte, 16 KiB frames, 50 streams", "16k50", "cpu_gb"),
    ("small-frames", "CPU seconds per gigabyte, 1 KiB frames", "1k1", "cpu_gb"),
    ("keystrokes", "keystroke p99 in ms beside 20 streams of 10 MB/s", "paced", "p99_ms"),
    ("idle", "KiB of memory per idle console", "idle", "pss_kib"),
)


def show(result: dict[str, Any]) -> None:
    """The goals, on the terminal."""
    for text, goal, value, verdict in (goal.line(result) for goal in GOALS):
        print(f"  {text:<72} {goal:>7} {value:>8}  {verdict}")


def write(result: dict[str, Any], docs: Path) -> None:
    """Renew what docs/performance.md says was measured, and the plots; what people wrote around it stays."""
    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{_measured(result)}{END}{after}")
    (docs / "images").mkdir(exist_ok=True)
    for name, title, measurement, figure in PLOTS:
        (docs / "images" / f"bench-{name}.svg").write_text(_plot(title, _bars(result, measurement, figure)))


def _measured(result: dict[str, Any]) -> str:
    parts = ["\n### Against the goals\n", _table(("", "goal", "measured", ""), [goal.line(result) for goal in GOALS])]
    parts += ["\n### Everybody, on one core\n", _contenders(result, COLUMNS)]
    parts += ["\n### A keystroke beside 20 consoles that stream\n", _contenders(result, FAIRNESS)]
    parts += [f"\n![{title}](images/bench-{name}.svg)\n" for name, title, _, _ in PLOTS]
    pace, versions = result["pace"], result["machine"]
    parts.append(
        f"\nMedians of {pace['repeat']} rounds of {pace['window']:g} s; idle figures with {pace['idle']:,} consoles "
        f"(websockify: 100), {pace['many']:,} for the row that says so. "
        + "; ".join(f"{name} {version}" for name, version in versions.items())
        + ".\n"
    )
    return "\n".join(parts)


def _contenders(result: dict[str, Any], columns: tuple[tuple[str, str, str, int], ...]) -> str:
    rows = []
    for name, kind in KINDS.items():
        known = result["medians"].get(name)
        if known is not None:
            figures = [_figure(known, measurement, figure, digits) for _, measurement, figure, digits in columns]
            rows.append((kind.label, *figures))
    direct = result["medians"].get("direct")
    if direct is not None:
        figures = [_figure(direct, measurement, figure, digits) for _, measurement, figure, digits in columns]
        rows.append(("no proxy: the load generator alone", *figures))
    return _table(("", *(heading for heading, *_ in columns)), rows)


def _figure(known: dict[str, dict[str, float]], measurement: str, figure: str, digits: int) -> str:
    value = known.get(measurement, {}).get(figure, math.nan)
    if math.isnan(value):
        return "–"
    return "starved" if math.isinf(value) else f"{value:,.{digits}f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _bars(result: dict[str, Any], measurement: str, figure: str) -> list[tuple[str, float]]:
    bars = []
    for name in KINDS:
        value = result["medians"].get(name, {}).get(measurement, {}).get(figure, math.nan)
        if not math.isnan(value):
            bars.append(("CyberLab" if name == "gateway" else name, value))
    return bars


def _plot(title: str, bars: list[tuple[str, float]]) -> str:
    """A horizontal bar each; colours that hold on a light and on a dark page. Less is better in all of them.

    A bar far beyond the others is cut, and its figure says so.
    """
    finite = sorted(value for _, value in bars if math.isfinite(value))
    top = min(finite[-1], 4 * finite[len(finite) // 2]) if finite else 1.0
    height = 44 + 30 * len(bars)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" role="img" '
        f'aria-label="{html.escape(title)}" font-family="system-ui, sans-serif" font-size="14">',
        f'<text x="8" y="22" fill="#808890" font-weight="600">{html.escape(title)} (less is better)</text>',
    ]
    for index, (name, value) in enumerate(bars):
        y = 38 + 30 * index
        width = 440 * min(value, top) / top
        colour = "#4257cf" if name == "CyberLab" else "#8b95a7"
        shown = "starved" if math.isinf(value) else f"{value:.3g}" + (" →" if value > top else "")
        out += [
            f'<text x="130" y="{y + 15}" text-anchor="end" fill="#808890">{html.escape(name)}</text>',
            f'<rect x="140" y="{y}" width="{width:.1f}" height="20" rx="3" fill="{colour}"/>',
            f'<text x="{148 + width:.1f}" y="{y + 15}" fill="#808890">{shown}</text>',
        ]
    return "\n".join([*out, "</svg>"]) + "\n"
