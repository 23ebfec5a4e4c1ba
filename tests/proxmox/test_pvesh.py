"""pvesh's answers, as they were recorded from a real node, and what may not reach its shell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import trouble
from cyberlab.proxmox.answers import TaskStatus, Upid, console_ticket, vm_path
from cyberlab.proxmox.command import CommandResult
from cyberlab.proxmox.pvesh import answer, arguments, command_line, failure
from cyberlab.proxmox.trouble import meaning
from tests.proxmox.oddities import LOCALE
from tests.proxmox.replay import RECORDED

TRANSCRIPTS: list[dict[str, Any]] = json.loads(RECORDED.read_text())
FAILED_START = "UPID:pve1:00000984:00052FF2:6B02E098:qmstart:104:root@pam:"


def shown(transcript: dict[str, Any]) -> str:
    return " ".join(transcript["pvesh"][:2])


def result(transcript: dict[str, Any]) -> CommandResult:
    return CommandResult(transcript["exit"], transcript["stdout"], transcript["stderr"])


def out(stdout: str) -> CommandResult:
    return CommandResult(0, stdout, "")


@pytest.mark.parametrize("transcript", [one for one in TRANSCRIPTS if one["exit"] == 0], ids=shown)
def test_every_answer_is_understood(transcript: dict[str, Any]) -> None:
    got = answer(result(transcript))
    assert got == json.loads(transcript["stdout"].strip().split("\n")[-1])
    assert isinstance(got, str) == ("UPID" in str(got)[:5]), "a task answers with its UPID"
    if isinstance(got, str):
        assert Upid.parse(got) == Upid(got, "pve1")


@pytest.mark.parametrize(
    ("transcript", "code"),
    zip(
        [one for one in TRANSCRIPTS if one["exit"] != 0],
        [
            problems.VM_GONE, problems.NODE_OFFLINE, problems.VM_GONE, problems.PVESH_FAILED, problems.VM_STOPPED,
            problems.PVESH_FAILED, problems.PVESH_FAILED,
        ],
        strict=True,
    ),
    ids=lambda value: shown(value) if isinstance(value, dict) else value,
)  # fmt: skip
def test_every_failure_has_a_cause(transcript: dict[str, Any], code: str) -> None:
    with pytest.raises(Problem) as caught:
        answer(result(transcript))
    assert caught.value.code == code
    assert caught.value.detail == f"exit {transcript['exit']}: {transcript['stderr'].splitlines()[0]}"


def test_an_answer_is_the_last_line() -> None:
    assert answer(out('snapshotting …\n{"not":"this"}\n\n"UPID"\n \n')) == "UPID"
    assert answer(out("")) is None, "calls that return nothing print nothing"
    assert answer(out("\n")) is None
    assert answer(out('{"a":"line\u2028separator\x85"}\n')) == {"a": "line\u2028separator\x85"}
    for garbage in ("Welcome\n", "[1,2\n", '"UPID"\ntrailing words\n'):
        with pytest.raises(Problem) as caught:
            answer(out(garbage))
        assert caught.value.code == problems.PVESH_FAILED


def test_words_on_stderr_are_no_failure() -> None:
    assert answer(CommandResult(0, "1\n", "perl: warning: Setting locale failed.\n")) == 1


@pytest.mark.parametrize(
    ("stderr", "exit_status", "code"),
    [
        ("VM is locked (backup)", 255, problems.VM_LOCKED),
        ("CT is locked (snapshot-delete)", 255, problems.VM_LOCKED),
        ("unable to find free port (5900-6000)", 255, problems.NO_FREE_PORT),
        ("cluster not ready - no quorum?", 2, problems.NODE_OFFLINE),
        ("ssh: connect to host 192.0.2.3 port 22: Connection timed out\n", 255, problems.NODE_OFFLINE),
        ("root@192.0.2.3: Permission denied (publickey).", 255, problems.PVESH_FAILED),
        ("please run as root", 255, problems.PVESH_MISSING),
        ("bash: line 1: pvesh: command not found", 127, problems.PVESH_MISSING),
        ("/bin/sh: 1: pvesh: not found", 127, problems.PVESH_MISSING),
        ("bash: line 1: perl: command not found", 127, problems.PVESH_MISSING),
        ("storage 'x': not found", 2, problems.PVESH_FAILED),
        ("can't lock file '/var/lock/qemu-server/lock-104.conf' - got timeout", 255, problems.VM_LOCKED),
        ("", 127, problems.PVESH_MISSING),
        ("", 126, problems.PVESH_MISSING),
        ("", 255, problems.PVESH_FAILED),
        ("snapshot 'x' does not exist", 2, problems.SNAPSHOT_GONE),
        ("VM quit/powerdown failed - got timeout", 255, problems.SHUTDOWN_IGNORED),
    ],
)
def test_what_pvesh_means(stderr: str, exit_status: int, code: str) -> None:
    assert failure(exit_status, stderr).code == code


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            "\n  400 unable to parse boolean option\npvesh create <api_path> [OPTIONS]\n",
            "400 unable to parse boolean option",
        ),
        (LOCALE + "VM is locked (backup)\nmore\n", "VM is locked (backup)"),
        ("WARN: use of 'x' is deprecated\nVM 101 not running\n", "VM 101 not running"),
        ("WARN: nothing else\n", "WARN: nothing else"),
        (
            "400 Parameter verification failed.\nstart: property is not defined in schema\npvesh create <api_path>\n",
            "400 Parameter verification failed. start: property is not defined in schema",
        ),
        (LOCALE, "perl: warning: Setting locale failed."),
        ("", ""),
    ],
)
def test_the_line_that_tells_the_cause(stderr: str, said: str) -> None:
    assert failure(255, stderr).detail == f"exit 255: {said}"


def test_meaning_of_a_tasks_end() -> None:
    assert meaning("VM 101 not running") == problems.VM_STOPPED
    assert meaning("anything") == problems.PVESH_FAILED


def test_no_secret_in_a_problem() -> None:
    ticket = "Ab&+%#;!:PVEVNC:6B02E094::m7JM/+=="
    for secret in (ticket, ticket[9:], "PVE:root@pam:6B02E097::c2ln", "PVEAuthCookie=abc", "PVEAPIToken=a@b!c=d-e"):
        detail = failure(1, f"bad value '{secret} in it\nmore").detail
        assert "***" in detail
        assert not any(part in detail for part in ("m7JM", "c2ln", "abc", "d-e", "Ab&+"))
    assert len(failure(1, "x" * 5000).detail) < 250
    got = console_ticket(
        {"port": "5900", "ticket": ticket, "password": "Ab&+%#;!", "user": "root@pam", "upid": FAILED_START}
    )
    assert "Ab&+" not in repr(got)
    assert "m7JM" not in repr(got)


@pytest.mark.parametrize(
    ("row", "password"),
    [
        ({"ticket": "PVEVNC:6B02E094::sig"}, "PVEVNC:6"),
        ({"ticket": "PVEVNC:6B02E094::sig", "password": ""}, "PVEVNC:6"),
        ({"ticket": "pass:wrd:PVEVNC:6B02E094::sig", "password": "pass:wrd"}, "pass:wrd"),
        ({"ticket": "pass:wrd:PVEVNC:6B02E094::sig"}, "pass:wrd"),
        ({"ticket": "PVEVNC:6B02E094::sig", "password": "longer than eight"}, "longer t"),
    ],
    ids=["before 2026-04", "empty", "since", "prefix alone", "RFB uses eight"],
)
def test_the_vnc_password_of_any_version(row: dict[str, Any], password: str) -> None:
    common = {"port": "5907", "user": "root@pam", "upid": FAILED_START, "cert": "PEM", "future": [1]}
    got = console_ticket(common | row)
    assert (got.password, got.ticket, got.port, got.node_host, got.certificate) == (
        password, row["ticket"], 5907, "pve1", "PEM"
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"port": None},
        {"port": "no"},
        {"port": "22"},
        {"port": "6000"},
        {"ticket": ""},
        {"ticket": 5},
        {"user": None},
        {"upid": "no"},
    ],
)
def test_an_answer_that_is_no_ticket(change: dict[str, Any]) -> None:
    row = {"port": "5900", "ticket": "PVEVNC:6B02E094::sig", "user": "root@pam", "upid": FAILED_START}
    with pytest.raises(Problem) as caught:
        console_ticket(row | change)
    assert caught.value.code == problems.PVESH_FAILED


def test_upids() -> None:
    remote = f'Requesting HA start for VM 100"{FAILED_START}"'
    assert Upid.parse(remote) == Upid(FAILED_START, "pve1"), "log and UPID as one string"
    assert Upid.parse("UPID:n-1:00000984:000052FF2:6B02E098:vncshell::user@pve!token:").node == "n-1"
    for bad in (
        "",
        None,
        7,
        "UPID:",
        FAILED_START[:-1],
        FAILED_START.replace("104", "../../x"),
        FAILED_START.replace("pve1", "a/b"),
    ):
        with pytest.raises(Problem):
            Upid.parse(bad)


@pytest.mark.parametrize(
    ("status", "ok"),
    [
        (TaskStatus(False, "OK"), True),
        (TaskStatus(False, "WARNINGS: 2"), True),
        (TaskStatus(True), False),
        (TaskStatus(True, "OK"), False),
        (TaskStatus(False), False),
        (TaskStatus(False, "VM is locked (backup)"), False),
        (TaskStatus(False, "broken pipe "), False),
    ],
)
def test_when_a_task_is_well(status: TaskStatus, ok: bool) -> None:
    assert status.ok is ok


@pytest.mark.parametrize(
    ("node", "kind", "vmid"),
    [
        ("pve1/../x", "qemu", 1), ("", "qemu", 1), ("-pve", "qemu", 1), ("pve%31", "qemu", 1), ("pve1\n", "qemu", 1),
        ("pve1", "../access", 1), ("pve1", "qemu", 0), ("pve1", "qemu", -5), ("a" * 64, "qemu", 1), ("p v", "lxc", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_a_path(node: str, kind: str, vmid: int) -> None:
    with pytest.raises(ValueError, match="no"):
        vm_path(node, kind, vmid)


def test_paths() -> None:
    assert vm_path("pve-1", "qemu", 100) == "/nodes/pve-1/qemu/100"


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_command_line_can_carry(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one
        command_line(arguments("set", "/x", {"name": value}))


def test_the_words_are_all_lower_case() -> None:
    """They are looked for in lower-cased text."""
    assert all(words == words.lower() for words, _ in trouble._MEANINGS)
