"""What the real pvesh printed (tests/data/pvesh-transcripts.json), played again on whatever claims to be one."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cyberlab.simulator.state import MIB, ClusterState, Node, User, Vm

TRANSCRIPTS = json.loads((Path(__file__).parent.parent / "data" / "pvesh-transcripts.json").read_text())
LOCKED_START = "UPID:pve1:00000984:00052FF2:6B02E098:qmstart:104:root@pam:"
# What differs from machine to machine and from second to second; everything else must be equal.
VOLATILE = {
    "cert", "cpu", "digest", "endtime", "fingerprint", "issuer", "mem", "memhost", "meta", "notafter", "notbefore",
    "password", "pem", "pid", "pstart", "public-key-bits", "san", "smbios1", "snaptime", "ssl_fingerprint",
    "starttime", "subject", "ticket", "upid", "uptime", "vmgenid",
}  # fmt: skip
# The real task list held an error of a terminal that had been opened before; ours has other tasks in it.
TASK_LIST = ("get", "/nodes/pve1/tasks")


def observed() -> ClusterState:
    """The cluster on which the transcripts were taken."""
    names = ("VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.GuestAgent.Audit")
    names += ("VM.GuestAgent.FileRead", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.FileWrite", "VM.PowerMgmt")
    vms = [
        Vm(100, "pve1", "demo", running=True, tags="prod;web"),
        Vm(101, "pve1", "stopped-vm"),
        Vm(102, "pve1", "serialvm", running=True),
        Vm(103, "pve1", "diskvm", disk=1024 * MIB),
        Vm(104, "pve1", "lockedvm", lock="backup"),
        Vm(200, "pve2", "elsewhere"),
        Vm(300, "pve1", "container", kind="lxc", known=False),
    ]
    users = [User("gw@pve"), User("low@pve", permissions={"/vms/100": frozenset(names)}), User("root@pam")]
    return ClusterState(
        {"pve1": Node("pve1", "192.0.2.2", known=False)},
        {vm.vmid: vm for vm in vms},
        {user.userid: user for user in users},
    )


def _shape(value: Any) -> Any:
    """A value with everything volatile replaced by its type."""
    if isinstance(value, dict):
        return {
            key: ("number" if isinstance(item, int | float) else type(item).__name__)
            if key in VOLATILE
            else _shape(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_shape(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"UPID:pve1:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:", "UPID:pve1:…:", value)
    return value


def _parsed(stdout: str) -> list[Any]:
    """The lines, those that are JSON as values."""
    found: list[Any] = []
    for line in stdout.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(line)
    return found


def _compact(stdout: str) -> bool:
    """One line of JSON, sorted, without spaces."""
    line = stdout.splitlines()[-1]
    return line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Said(Protocol):
    """What a command ended with."""

    @property
    def exit(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


async def replay(run: Callable[[Sequence[str]], Awaitable[Said]]) -> None:
    """Run all of them in order, on the cluster on which they were taken; everything must be as it was."""
    upids: dict[str, str] = {}
    for entry in TRANSCRIPTS:
        argv = [upids.get(word, word) for word in entry["pvesh"]]
        if LOCKED_START in argv[1]:
            argv[1] = argv[1].replace(LOCKED_START, upids[LOCKED_START])
        got = await run(argv)
        told = " ".join(argv)
        assert (got.exit, got.stderr) == (entry["exit"], entry["stderr"]), told
        want, have = _parsed(entry["stdout"]), _parsed(got.stdout)
        if tuple(argv[:2]) == TASK_LIST:
            assert {*have[0][0]} == {*want[0][0]}, told
            assert len(have[0]) <= 3
        else:
            assert _shape(have) == _shape(want), told
        if got.stdout:
            assert got.stdout.endswith("\n")
            assert _compact(got.stdout), told
        if LOCKED_START in entry["stdout"] and entry["pvesh"][0] == "create":
            upids[LOCKED_START] = have[-1]
