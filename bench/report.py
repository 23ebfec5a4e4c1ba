"""What was measured, in words: the table on the terminal, docs/performance.md and its plots."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plots
from contenders import KINDS

Figures = dict[str, Any]
QUICK = """
**This page is from a quick run on a machine that had other work to do: rough figures.** `make bench` makes better ones.
"""


@dataclass(frozen=True)
class Goal:
    """One line of what is to be reached; ``limits`` says what stands in the way, from profiles, if it is missed."""

    words: str
    measurement: str
    key: str
    most: float
    ratio: bool = True  # of the gateway to HAProxy, else the gateway's own figure
    unit: str = "×"
    least: bool = False  # at least, not at most
    limits: str = ""


LOOP = (
    "asyncio's event loop and the few Python functions of a turn; the system calls, OpenSSL and the kernel's copies "
    "are those of HAProxy"
)
GOALS = (
    Goal("CPU s/GB at 16 KiB frames, one stream", "16k1", "cpu_gb", 0.95, limits=LOOP),
    Goal("CPU s/GB at 16 KiB frames, 50 streams", "16k50", "cpu_gb", 0.75, limits=LOOP),
    Goal("CPU s/GB at 1 KiB frames, one stream", "1k1", "cpu_gb", 1.2, limits=LOOP),
    Goal(
        "CPU per keystroke, 50 consoles", "keys50", "cpu_us", 1.5,
        limits="two turns of asyncio's loop and the RFB message taken apart and framed anew, in Python: about half of "
        "the gateway's CPU; the other half is what HAProxy uses altogether",
    ),
    Goal("keystroke p99 beside 20 streams of 10 MB/s", "paced", "p99_ms", 1.5, limits=LOOP),
    Goal(
        "keystroke p99 beside 20 streams without limit", "unlimited", "p99_ms", 5.0,
        limits="each stream's turn of at most 64 KiB, twice for a keystroke and its answer",
    ),
    Goal("slowest of them, as a share of the mean", "unlimited", "slowest", 0.5, ratio=False, unit="", least=True),
    Goal("KiB per idle console", "idle", "rss_kib", 40, ratio=False, unit=" KiB", limits="OpenSSL's own connection"),
    Goal(
        "CPU of the idle thousands, % of a core", "many", "quiet_cpu", 2, ratio=False, unit=" %",
        limits="a ping and its answer for each console every 30 s, and asking every 10 s whether each may stay open",
    ),
    Goal(
        "gateway CPU per opening, tickets aside", "idle", "opening_cpu_ms", 5, ratio=False, unit=" ms",
        limits="the TLS handshake, Tornado's upgrade, and two transactions in the database",
    ),
)  # fmt: skip


def reached(result: Figures, goal: Goal) -> float | None:
    """What the run has for a goal; None where it was not measured."""
    source = result["ratios"] if goal.ratio else result["medians"].get("gateway", {})
    return source.get(goal.measurement, {}).get(goal.key)


def holds(goal: Goal, value: float) -> bool:
    return value >= goal.most if goal.least else value <= goal.most


def show(result: Figures) -> None:
    """The goals, on the terminal."""
    for goal in GOALS:
        value = reached(result, goal)
        if value is not None:
            sign = "≥" if goal.least else "≤"
            verdict = "reached" if holds(goal, value) else "MISSED"
            print(f"  {verdict:<8} {goal.words}: {value:.2f}{goal.unit} (to reach: {sign} {goal.most:g}{goal.unit})")


def number(value: float | None, digits: int = 2) -> str:
    """A figure with about three digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "starved"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{0 if value >= 30 else 1 if value >= 10 else digits}f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


class Page:
    """docs/performance.md, from one run's figures."""

    def __init__(self, result: Figures) -> None:
        self.result = result
        self.medians: dict[str, dict[str, dict[str, float]]] = result["medians"]
        self.names = [name for name in KINDS if name in self.medians]

    def get(self, name: str, measurement: str, key: str) -> float | None:
        return self.medians.get(name, {}).get(measurement, {}).get(key)

    def rows(self, *columns: Callable[[str], str]) -> list[list[str]]:
        return [[KINDS[name].label, *(column(name) for column in columns)] for name in self.names]

    def cell(self, measurement: str, key: str, digits: int = 2) -> Callable[[str], str]:
        return lambda name: number(self.get(name, measurement, key), digits)

    def pair(self, measurement: str) -> Callable[[str], str]:
        """p50 / p99 in ms."""
        first, second = self.cell(measurement, "p50_ms"), self.cell(measurement, "p99_ms")
        return lambda name: "starved" if first(name) == "starved" else f"{first(name)} / {second(name)}"

    def goals(self) -> str:
        rows, notes = [], []
        for goal in GOALS:
            value = reached(self.result, goal)
            if value is None:
                continue
            good = holds(goal, value)
            sign = "≥" if goal.least else "≤"
            name = goal.words if not goal.ratio else f"{goal.words}, HAProxy = 1"
            if goal.measurement == "many":
                name = name.replace(
                    "the idle thousands", f"{self.get('gateway', 'many', 'consoles'):,.0f} idle consoles"
                )
            rows.append(
                [name, f"{sign} {goal.most:g}{goal.unit}", f"{number(value)}{goal.unit}", "yes" if good else "no"]
            )
            if not good and goal.limits:
                notes.append(f"- **{goal.words}**: what is left is {goal.limits}.")
        text = table(["what", "to reach", "measured", "reached"], rows)
        return text + ("\n\nWhat limits the missed ones, from profiles:\n\n" + "\n".join(notes) if notes else "")

    def bulk(self) -> str:
        columns = [
            column
            for measurement in ("16k1", "16k50", "1k1", "1k50")
            for column in (self.cell(measurement, "mb_s"), self.cell(measurement, "cpu_gb"))
        ]
        head = ["", "16 KiB, 1 stream: MB/s", "CPU s/GB", "50 streams: MB/s", "CPU s/GB"]
        head += ["1 KiB, 1 stream: MB/s", "CPU s/GB", "50 streams: MB/s", "CPU s/GB"]
        rows = self.rows(*columns)
        direct = [number(self.get("direct", measurement, "mb_s")) for measurement in ("16k1", "16k50", "1k1", "1k50")]
        rows.append(["no proxy: the load alone, encrypting and decrypting", *(x for d in direct for x in (d, "–"))])
        return table(head, rows)

    def broken(self) -> str:
        found = [f"{KINDS[name].short}: {count}" for name, count in self.result.get("broken", {}).items()]
        return (
            f"Streams that arrived with bytes missing or out of place: {', '.join(found) or 'none'}.\n" if found else ""
        )

    def keystrokes(self) -> str:
        head = ["", "1 console: CPU µs", "p50 / p99 ms", "50 consoles: CPU µs", "p50 / p99 ms", "keystrokes/s"]
        return table(
            head,
            self.rows(
                self.cell("keys1", "cpu_us"), self.pair("keys1"),
                self.cell("keys50", "cpu_us"), self.pair("keys50"), self.cell("keys50", "keys_s"),
            ),
        )  # fmt: skip

    def fairness(self) -> str:
        head = ["", "20 × 10 MB/s: p50 / p99 ms", "carried MB/s", "without limit: p50 / p99 ms", "carried MB/s"]
        head += ["slowest stream / mean"]
        return table(
            head,
            self.rows(
                self.pair("paced"), self.cell("paced", "mb_s"), self.pair("unlimited"), self.cell("unlimited", "mb_s"),
                self.cell("unlimited", "slowest"),
            ),
        )  # fmt: skip

    def idle(self) -> str:
        head = ["", "consoles", "KiB each, RSS", "PSS", "PSS after a picture", "openings/s", "CPU ms per opening"]
        return table(
            head,
            self.rows(
                self.cell("idle", "consoles"), self.cell("idle", "rss_kib"), self.cell("idle", "pss_kib"),
                self.cell("idle", "drawn_kib"), self.cell("idle", "openings_s"), self.cell("idle", "opening_cpu_ms"),
            ),
        )  # fmt: skip

    def many(self) -> str:
        found = self.medians.get("gateway", {}).get("many")
        if found is None:
            return ""
        return (
            f"One gateway held {number(found['consoles'])} idle consoles at {number(found['pss_kib'])} KiB each, lost "
            f"{found['lost']:.0f} of them in {self.result['pace']['quiet']:.0f} quiet seconds and used "
            f"{number(found['quiet_cpu'])} % of a core meanwhile (pings, their answers, and asking whether each may "
            f"stay open). Opening them took {number(found['opening_cpu_ms'])} ms of CPU each."
        )

    def machine(self) -> str:
        return "\n".join(f"- {name}: {version}" for name, version in self.result["machine"].items())

    def text(self) -> str:
        pace = self.result["pace"]
        return f"""# What the console gateway reaches, measured

`make bench` measures this gateway beside six other ways to carry a console and writes this page, in one run on one
machine: **compare within the page, never with figures from elsewhere**. Rounds of {pace["window"]:g} s for every
measurement, each contender in turn: {pace["repeat"]}. Medians are shown, and ratios are medians of each round's ratio.
{"" if pace["repeat"] > 1 else QUICK}
The gateway is the portal itself: real sign-in, authorization, console log, both RFB handshakes, every keystroke
looked at. Only Proxmox's tickets cost nothing here. All the others pass bytes through.

{self.goals()}

## Bulk

![CPU seconds per gigabyte](images/bench-bulk.svg)

{self.bulk()}

Where a contender's CPU is not used up, the load generator or the machine was the limit: then CPU s/GB is the figure
to read. websockify gets RFB without websocket frames, since it cannot dial a websocket.

{self.broken()}
## Keystrokes

![CPU per keystroke](images/bench-keys.svg)

From the key to its answer; each typist presses the next key as soon as the last one shows.

{self.keystrokes()}

## Fairness

![Waiting for a keystroke beside twenty streams](images/bench-fairness.svg)

One typist, beside twenty consoles that stream 16 KiB frames.

{self.fairness()}

## Idle consoles

![Memory per idle console](images/bench-idle.svg)

A fresh process opens them, ten at a time; the difference of its memory before and after, per console. "After a
picture": when each has drawn 200 KB since.

{self.idle()}

{self.many()}

## How it was measured

- The contender has one core, with all its threads and children; the load generator (`bench/load`, C) has another: the
  upstream (TLS 1.3, AES-256-GCM, RSA 2048, websockets, RFB with VNC authentication) and all browsers in one thread,
  which after every 64 KiB of bulk looks for keystrokes first. TLS towards the upstream is verified by every contender.
- CPU is what the kernel accounts to the contender's processes over the measured window; memory is from `smaps_rollup`.
- Bulk comes in full TLS records, as a busy server writes them, whatever the size of the frames in them.
- It needs a C compiler and OpenSSL's headers (Debian: gcc, libssl-dev), and of nginx, haproxy and caddy those that
  are to be measured; what else the contenders need is put into an environment of its own (`bench/requirements.txt`).
- `bench/run.py --help` has the options; `--quick` is for work on the relay, `--only gateway,haproxy` for the ratios.

Measured with:

{self.machine()}
"""


def write(result: Figures, docs: Path) -> None:
    """Write docs/performance.md and docs/images/bench-*.svg."""
    page = Page(result)
    (docs / "performance.md").write_text(page.text())
    images = docs / "images"
    images.mkdir(exist_ok=True)
    names = page.names
    labels = [KINDS[name].short for name in names]

    def series(measurement: str, key: str) -> list[float | None]:
        return [page.get(name, measurement, key) for name in names]

    for file, title, unit, parts, logarithmic in (
        ("bulk", "CPU seconds per gigabyte; less is better", "s/GB",
         {"16 KiB frames, 1 stream": series("16k1", "cpu_gb"), "16 KiB frames, 50 streams": series("16k50", "cpu_gb"),
          "1 KiB frames, 1 stream": series("1k1", "cpu_gb")}, True),
        ("keys", "CPU per keystroke and its answer; less is better", "µs",
         {"50 consoles": series("keys50", "cpu_us"), "1 console": series("keys1", "cpu_us")}, False),
        ("fairness", "Keystroke beside 20 streams, 99th percentile; less is better", "ms",
         {"10 MB/s each": series("paced", "p99_ms"), "without limit": series("unlimited", "p99_ms")}, True),
        ("idle", "Memory per idle console; less is better", "KiB",
         {"after opening": series("idle", "pss_kib"), "after a picture": series("idle", "drawn_kib")}, True),
    ):  # fmt: skip
        (images / f"bench-{file}.svg").write_text(plots.bars(title, unit, labels, parts, logarithmic=logarithmic))
