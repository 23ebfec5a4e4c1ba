"""`check` in this process, and what it says, step by step; no run may show a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.cli.conftest import Shell

STEPS = [
    "settings",
    "SSH",
    "sshd",
    "pvesh",
    "inventory",
    "ports",
    "auth cookie",
    "rights",
    "VM",
    "ticket",
    "TLS",
    "websocket",
    "VNC sign-in",
    "screen",
    "first pixels",
]
VNC_PASSWORD = "S3cret!`"  # what the simulated nodes of this process are made to give
_LINE = re.compile(rf"^([✓✗–]) ({'|'.join(STEPS)}) +(?:not tried|[0-9]+ ms)", re.MULTILINE)
_SECRET = re.compile(rf"PVEVNC:|PVE:|vncticket|{re.escape(VNC_PASSWORD)}")


@dataclass
class Checked:
    """How a check ended: each step's mark, its words in one line, and the closing words."""

    status: int
    marks: dict[str, str]
    said: dict[str, str]
    closing: str

    def failed(self) -> list[str]:
        """The steps with ✗."""
        return [step for step, mark in self.marks.items() if mark == "✗"]

    def explains(self, step: str, code: str, *words: str) -> None:
        """Assert that this step alone failed, with cause and mend and these words, and nothing behind it was tried."""
        assert self.failed() == [step], self.said
        assert self.status == 1
        said = self.said[step]
        assert re.search(r" cause: \S.* mend: \S", said), said
        assert said.endswith(f"more: docs/troubleshooting.md#{code}"), said
        for word in words:
            assert word in said, (word, said)
        assert set(self.marks.values()) - {"✓"} == ({"✗", "–"} if step != STEPS[-1] else {"✗"})
        assert self.closing.startswith(f"Failed: {step}. ")


def check(shell: Shell, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Run it with these settings; return its status and what it printed."""
    for name, value in environment.items():
        shell.monkeypatch.setenv(name, value)
    shell.monkeypatch.setenv("COLUMNS", "80")
    status = shell.run("check", *arguments)
    assert not _SECRET.search(shell.out + shell.err), shell.out + shell.err
    assert shell.err == ""
    return status, shell.out


def checked(shell: Shell, environment: Mapping[str, str], *arguments: str) -> Checked:
    """Run it and take its page apart."""
    status, out = check(shell, environment, *arguments)
    page, _, closing = out.rstrip().rpartition("\n\n")
    # Paths are not cut, so that they can be copied.
    assert [line for line in page.splitlines() if len(line) > 80 and max(map(len, line.split())) < 60] == []
    found = list(_LINE.finditer(page))
    ends = [match.start() for match in found[1:]] + [len(page)]
    said = {
        match[2]: " ".join(page[match.end() : end].split()) for match, end in zip(found, ends, strict=True)
    }  # fmt: skip
    assert list(said) == STEPS
    return Checked(status, {match[2]: match[1] for match in found}, said, " ".join(closing.split()))
