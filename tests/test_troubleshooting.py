"""Proxmox's own words: each has its entry in docs/troubleshooting.md; those that we read mean the same code."""

from __future__ import annotations

import re

import pytest

from cyberlab import problems
from cyberlab.proxmox.trouble import meaning
from tests.test_docs import TROUBLE

# What Proxmox VE and what belongs to it say; the second: the code that the portal takes the words for, if any.
WORDS = [
    ("401 No ticket", ""),
    ("401 no token", ""),
    ("401 Authentication failed!", ""),
    ("401 authentication failure", ""),
    ("Permission denied - invalid csrf token", ""),
    ("permission denied - invalid PVEVNC ticket", ""),
    ("Permission check failed (/vms/103, VM.Console)", ""),
    ("Parameter verification failed.", ""),
    ("unsupported websocket-version ''", ""),
    ("missing websocket-key", ""),
    ('{"data":{"port":"5902"}}', ""),
    ("Timeout while waiting for port '5901' to get ready!", ""),
    ("unable to find free port (5900-6000)", problems.NO_FREE_PORT),
    ("Configuration file 'nodes/nope/qemu-server/100.conf' does not exist", problems.VM_GONE),
    ("VM is locked (backup)", problems.VM_LOCKED),
    ("CT is locked (snapshot)", problems.VM_LOCKED),
    ("can't lock file '/var/lock/qemu-server/lock-100.conf'", problems.VM_LOCKED),
    ("VM 101 not running", problems.VM_STOPPED),
    ("CT 300 not running", problems.VM_STOPPED),
    ("VM 100 already running", ""),
    ("CT 300 already running", ""),
    ("VM is paused - cannot shutdown", problems.SHUTDOWN_IGNORED),
    ("container did not stop", problems.SHUTDOWN_IGNORED),
    ("snapshot 'clean' does not exist", problems.SNAPSHOT_GONE),
    ("can't rollback, 'clean' is not most recent snapshot on 'zfs:vm-1-disk-0'", problems.SNAPSHOT_NOT_NEWEST),
    ("cluster not ready - no quorum?", problems.NODE_OFFLINE),
    ("hostname lookup 'nope' failed", problems.NODE_OFFLINE),
    ("ssh: connect to host 192.0.2.4 port 22:", problems.NODE_OFFLINE),
    ("no such cluster node 'pve9'", problems.NODE_OFFLINE),
    ("596", ""),
    ("please run as root", problems.PVESH_MISSING),
    ("pvesh: command not found", problems.PVESH_MISSING),
    ("this key may not run that", ""),
    ("Connect failed", ""),
    ("Unable to open channel", ""),
    ("Error reading SSH protocol banner", ""),
    ("connect to 'localhost:5900' failed: Connection refused", ""),
    ("Authentication failed", ""),
    ("authentication request failed", ""),
    ("broken pipe", ""),
    ("WARNINGS: 2", ""),
    ("certificate has expired", ""),
    ("1006", ""),
]


def _entries() -> dict[re.Pattern[str], str]:
    """What stands between backticks in the first column, as a pattern (… is anything) -> the row."""
    section = TROUBLE.read_text().partition("## Proxmox's own words\n")[2].partition("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ")][1:]
    found = {}
    for row in rows:
        cells = row.strip("| ").split(" | ")
        assert len(cells) == 3, row
        assert all(len(cell) > 3 for cell in cells), row
        for words in re.findall(r"`([^`]+)`", cells[0]):
            found[re.compile(".+".join(re.escape(part) for part in words.split("…")))] = row
    return found


@pytest.mark.parametrize(("words", "code"), WORDS, ids=[words for words, _ in WORDS])
def test_they_have_an_entry_with_cause_and_mend(words: str, code: str) -> None:
    rows = [row for pattern, row in _entries().items() if pattern.fullmatch(words)]
    assert rows, f"docs/troubleshooting.md, “Proxmox's own words”, has no row for: {words}"
    if code:
        assert meaning(words) == code
        assert f"(#{code})" in rows[0]


def test_all_that_the_portal_reads_are_listed() -> None:
    """Each of our own patterns is met by one of the words here, or by one that differs in the shell that says it."""
    from cyberlab.proxmox.trouble import _MEANINGS

    elsewhere = {
        "pvesh: not found",
        "perl: not found",
        "can't locate pve",
        "permission denied (publickey",
        "powerdown failed",
    }
    said = " ".join(words.lower() for words, _ in WORDS)
    assert [words for words, _ in _MEANINGS if words not in said and words not in elsewhere] == []
