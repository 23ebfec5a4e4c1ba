"""`check --watch`: looks again and again, and says what has changed since."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TextIO

from cyberlab.cli_check import Verdict
from cyberlab.cli_check_report import FAILED, Kept, Lines, Outcome, Report

_Key = tuple[str, str, str, str]
_NUMBERS = re.compile(r"\d+")


def watch(look: Callable[[Report], Verdict], every: float, *, as_json: bool, out: TextIO | None = None) -> int:
    """Look every ``every`` seconds until Ctrl-C; return the exit status of the newest look.

    A terminal shows the newest report whole; anything else the first, and then lines about what has changed. As JSON:
    an object a line, with the time, for each step that is new or has changed.
    """
    out = out or sys.stdout
    before: dict[_Key, tuple[object, ...]] | None = None
    states: dict[_Key, str] = {}
    status = 0
    redraws = out.isatty() and not as_json
    try:
        while True:
            report: Report = Lines(out) if (before is None or redraws) and not as_json else Kept()
            if redraws:
                out.write("\x1b[H\x1b[2J")
            verdict = look(report)
            now = {_key(outcome): _marks(outcome) for outcome in verdict.outcomes}
            changed = [item for item in verdict.outcomes if before is None or before.get(_key(item)) != _marks(item)]
            _tell(changed, states, first=before is None, as_json=as_json, redraws=redraws, every=every, out=out)
            before, status = now, verdict.status
            states = {_key(outcome): outcome.state for outcome in verdict.outcomes}
            pause(every)
    except KeyboardInterrupt:
        return status


def pause(seconds: float) -> None:
    """Sleep in the main thread; raise KeyboardInterrupt at once on Ctrl-C.

    time.sleep() would sleep on when the signal comes in the moment between Python's last look for one and the system
    call, or reaches another thread first. The wake-up descriptor is written to in either case.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            select.select([reader], [], [], seconds)
        finally:
            signal.set_wakeup_fd(before)


def _key(outcome: Outcome) -> _Key:
    return (outcome.cluster, outcome.node, outcome.backend, outcome.step)


def _marks(outcome: Outcome) -> tuple[object, ...]:
    """What counts as a change: not the time that it took, nor a number in a warning."""
    code = outcome.problem.code if outcome.problem else ""
    return (outcome.state, code, tuple(_NUMBERS.sub("#", line) for line in outcome.warnings))


def _tell(
    changed: Sequence[Outcome], states: dict[_Key, str], *, first: bool, as_json: bool, redraws: bool, every: float,
    out: TextIO,
) -> None:  # fmt: skip
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    if as_json:
        for outcome in changed:
            out.write(json.dumps({"at": at} | outcome.facts()) + "\n")
    elif redraws:
        out.write(f"\n{at}, again every {every:g} s; Ctrl-C ends it.\n")
        if not first:
            _lines(changed, states, at, out)
    elif not first:
        _lines(changed, states, at, out)
    out.flush()


def _lines(changed: Sequence[Outcome], states: dict[_Key, str], at: str, out: TextIO) -> None:
    for outcome in changed:
        place = " ".join(part for part in (outcome.place, outcome.name) if part)
        line = f"{at} {place}: {states.get(_key(outcome), 'new')} → {outcome.state}"
        if outcome.state == FAILED and outcome.problem is not None:
            line += f": {outcome.problem.advice.title} ({outcome.problem})"
        if outcome.warnings:
            line += f"; warning: {'; '.join(outcome.warnings)}"
        out.write(line + "\n")
