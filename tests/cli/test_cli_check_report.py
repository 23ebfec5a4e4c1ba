"""How `check` looks: on a terminal, in a pipe, without colour, without Unicode, and as JSON."""

from __future__ import annotations

import io
import json
import re

import pytest

from cyberlab import problems
from cyberlab.cli_check_report import FAILED, HELD, SKIPPED, Json, Lines, Outcome, count
from cyberlab.problems import Problem

FINE = Outcome("pve", "SSH", HELD, 61, ("root@pve1.example.edu:22",))
WARNED = Outcome("pve", "TLS", HELD, 12, ("signed by somebody", "SHA-256: " + "0f" * 32), ("it ends soon",))
BAD = Outcome(
    "pve", "ticket", FAILED, 20_003, ("It went wrong",), (), Problem(problems.NO_FREE_PORT, "exit 25"), "docs/x.md#y"
)
LATER = Outcome("pve", "websocket", SKIPPED)


class Terminal(io.StringIO):
    """A stream that is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def _lines(out: io.TextIOBase, *outcomes: Outcome) -> Lines:
    lines = Lines(out)  # type: ignore[arg-type]
    for outcome in outcomes:
        if outcome.state != SKIPPED:
            lines.begin(outcome.step)
        lines.done(outcome)
    lines.end("That was all.")
    return lines


def test_a_page_in_a_pipe() -> None:
    out = io.StringIO()
    _lines(out, FINE, WARNED, BAD, LATER)
    assert out.getvalue() == (
        "✓ SSH              61 ms  root@pve1.example.edu:22\n"
        "✓ TLS              12 ms  signed by somebody\n"
        f"  SHA-256: {'0f' * 32}\n"
        "  warning: it ends soon\n"
        "✗ ticket        20003 ms  It went wrong\n"
        "  cause:   A Proxmox host has 100 console ports (5900-5999); all are in use.\n"
        "  mend:    End consoles that nobody looks at, Proxmox's own pages included.\n"
        "  detail:  exit 25\n"
        "  more:    docs/x.md#y\n"
        "– websocket    not tried\n"
        "\n"
        "That was all.\n"
    )


def test_a_terminal_shows_the_step_that_is_being_tried() -> None:
    out = Terminal()
    lines = Lines(out)
    lines.begin("SSH")
    assert out.getvalue() == "  SSH …"
    lines.done(FINE)
    assert out.getvalue() == "  SSH …\r\x1b[K\x1b[32m✓\x1b[0m SSH              61 ms  root@pve1.example.edu:22\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    out = Terminal()
    _lines(out, FINE, WARNED, BAD, LATER)
    assert not re.search(r"\x1b\[[0-9;]*m", out.getvalue())
    assert "✗ ticket " in out.getvalue()


def test_an_empty_no_color_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    out = Terminal()
    _lines(out, BAD)
    assert "\x1b[1;31m✗\x1b[0m ticket" in out.getvalue()


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_words_wrap_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    command = "/a/path/" + "x" * 90
    out = io.StringIO()
    _lines(out, Outcome("pve", "TLS", FAILED, 1, ("words " * 40,), (), Problem(problems.INTERNAL, command)))
    assert command in out.getvalue()
    others = [line for line in out.getvalue().splitlines() if command not in line]
    assert max(map(len, others)) <= max(min(columns, 100), 25 + 30)


def test_the_same_cause_is_told_once() -> None:
    out = io.StringIO()
    _lines(out, BAD, BAD)
    assert out.getvalue().count("mend:") == 1
    assert "  cause:   the same as above\n  detail:  exit 25\n" in out.getvalue()


def test_a_terminal_without_unicode() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    _lines(out, FINE, Outcome("pve", "screen", FAILED, 1, ("“kali” – 1 × 1",)), LATER)
    out.flush()
    said = raw.getvalue().decode("ascii")
    assert [line[:5] for line in said.splitlines()[:3]] == ["+ SSH", "x scr", "- web"]
    assert "?kali? ? 1 ? 1" in said


def test_json_is_one_list_at_the_end() -> None:
    out = io.StringIO()
    report = Json(out)
    for outcome in (FINE, BAD, LATER):
        report.begin(outcome.step)
        report.done(outcome)
    assert out.getvalue() == ""
    report.end("That was all.")
    steps = json.loads(out.getvalue())
    assert [step["state"] for step in steps] == ["held", "failed", "not tried"]
    assert steps[1]["problem"]["code"] == "no-free-port"
    assert steps[1]["problem"]["detail"] == "exit 25"
    assert steps[1]["more"] == "docs/x.md#y"


def test_count() -> None:
    assert [count(number, "step") for number in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
