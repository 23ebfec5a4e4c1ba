"""How `check` tells what it found: a line a step as it goes for people, or JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from cyberlab.problems import Problem

HELD, FAILED, SKIPPED = "held", "failed", "not tried"
_NAME = 12  # the longest name of a step
_INDENT = _NAME + 13
_LABEL = 8
_WIDEST = 100
_MARKS = {HELD: "✓", FAILED: "✗", SKIPPED: "–"}
_PLAIN_MARKS = {HELD: "+", FAILED: "x", SKIPPED: "-"}
_COLOURS = {HELD: "32", FAILED: "1;31", SKIPPED: "2"}
_WARNING = "33"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step ended; ``said`` and ``warnings`` are lines for the admin, without secrets."""

    cluster: str  # empty for what concerns no cluster
    step: str
    state: str
    milliseconds: int = 0
    said: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None
    more: str = ""  # where to read on
    backend: str = ""  # whose step it is: a way to sign in
    node: str = ""  # empty for what concerns no node, or the only one where nobody named it
    found: dict[str, object] = field(default_factory=dict)  # what was measured (docs/troubleshooting.md)

    @property
    def name(self) -> str:
        """What the closing words call it."""
        return f"{self.backend} {self.step}".strip()

    @property
    def place(self) -> str:
        """Where it was tried: CLUSTER/NODE, CLUSTER, or nothing."""
        return "/".join(part for part in (self.cluster, self.node) if part)

    def facts(self) -> dict[str, object]:
        """The same for JSON; names stay, new ones may come."""
        problem = self.problem
        return {
            "cluster": self.cluster,
            "node": self.node,
            "backend": self.backend,
            "step": self.step,
            "state": self.state,
            "milliseconds": self.milliseconds,
            "said": self.said,
            "warnings": self.warnings,
            "found": self.found,
            "problem": problem and {
                "code": problem.code,
                "cause": problem.advice.cause,
                "mend": problem.advice.mend,
                "detail": problem.detail,
            },
            "more": self.more,
        }  # fmt: skip


class Report(Protocol):
    """Takes the outcomes as they come."""

    def heading(self, words: str) -> None:
        """What follows is about this cluster or node."""
        ...

    def begin(self, step: str) -> None:
        """A step is being tried."""
        ...

    def done(self, outcome: Outcome) -> None:
        """It has ended, or is not tried."""
        ...

    def end(self, words: str) -> None:
        """There is no further step; ``words`` sum it up."""
        ...


class Lines:
    """For people: on a terminal with the step that is being tried, and in colour unless NO_COLOR is set."""

    def __init__(self, out: TextIO) -> None:
        """Looks at the terminal's abilities once."""
        self._out = out
        self._live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._colour = self._live and not os.environ.get("NO_COLOR")  # https://no-color.org
        self._width = min(_WIDEST, shutil.get_terminal_size().columns)
        self._explained: set[str] = set()
        self._fresh = True
        self._marks = _MARKS
        try:
            "✓✗–“”".encode(out.encoding or "utf-8")
        except UnicodeEncodeError:
            self._marks = _PLAIN_MARKS
            if reconfigure := getattr(out, "reconfigure", None):
                reconfigure(errors="replace")

    def heading(self, words: str) -> None:
        """A line of its own above what is about one cluster or node."""
        self._clear()
        self._out.write(f"{'' if self._fresh else chr(10)}{self._paint(words, '1')}\n")
        self._fresh = False

    def begin(self, step: str) -> None:
        """Show what is being waited for; done() overwrites it."""
        if self._live:
            self._out.write(f"  {step} …")
            self._out.flush()

    def done(self, outcome: Outcome) -> None:
        """One line, and below it what there is to say."""
        self._clear()
        self._fresh = False
        took = "not tried" if outcome.state == SKIPPED else f"{outcome.milliseconds:6d} ms"
        mark = self._paint(self._marks[outcome.state], _COLOURS[outcome.state])
        first, *others = outcome.said or ("",)
        head = f"{mark} {outcome.step:<{_NAME}} {took:>9}"
        self._out.write(f"{head}  {self._wrap(first, _INDENT)}".rstrip() + "\n")
        for line in others:
            self._out.write(f"  {self._wrap(line, 2)}\n")
        for line in outcome.warnings:
            self._labelled("warning", line, _WARNING)
        if outcome.problem is not None:
            self._explain(outcome.problem)
        if outcome.more:
            self._labelled("more", outcome.more)
        self._out.flush()

    def _clear(self) -> None:
        if self._live:
            self._out.write("\r\x1b[K")

    def _explain(self, problem: Problem) -> None:
        advice = problem.advice
        if problem.code in self._explained:
            self._labelled("cause", "the same as above")
        else:
            self._labelled("cause", advice.cause)
            self._labelled("mend", advice.mend or advice.user)
        self._explained.add(problem.code)
        if problem.detail:
            self._labelled("detail", problem.detail)

    def end(self, words: str) -> None:
        """The closing line."""
        self._out.write(f"\n{self._wrap(words, 0)}\n")
        self._out.flush()

    def _labelled(self, label: str, text: str, colour: str = "") -> None:
        painted = self._paint(f"{label}:".ljust(_LABEL), colour)
        self._out.write(f"  {painted} {self._wrap(text, 2 + _LABEL + 1)}\n")

    def _wrap(self, text: str, indent: int) -> str:
        # Commands, paths and fingerprints stay whole: they are there to be copied.
        width = max(30, self._width - indent)
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        return f"\n{' ' * indent}".join(lines)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self._colour else text


class Json:
    """For programs: one list at the end."""

    def __init__(self, out: TextIO) -> None:
        """Nothing is written before the end."""
        self._out = out
        self._outcomes: list[Outcome] = []

    def heading(self, words: str) -> None:
        """Each step tells its place by itself."""

    def begin(self, step: str) -> None:
        """Nothing yet."""

    def done(self, outcome: Outcome) -> None:
        """Keep it."""
        self._outcomes.append(outcome)

    def end(self, words: str) -> None:
        """The list of steps."""
        json.dump([outcome.facts() for outcome in self._outcomes], self._out, indent=2)
        self._out.write("\n")


class Kept:
    """Keeps the outcomes for somebody else to tell."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def heading(self, words: str) -> None:
        """Each step tells its place by itself."""

    def begin(self, step: str) -> None:
        """Nothing to show."""

    def done(self, outcome: Outcome) -> None:
        """Keep it."""
        self.outcomes.append(outcome)

    def end(self, words: str) -> None:
        """Nothing to add."""


def report_for(as_json: bool) -> Report:
    """The one that was asked for, on standard output."""
    return Json(sys.stdout) if as_json else Lines(sys.stdout)


def count(number: int, noun: str) -> str:
    """“1 step”, “2 steps”."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
