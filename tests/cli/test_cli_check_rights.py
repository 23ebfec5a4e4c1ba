"""`check` with fewer rights: a key with a forced command at a real sshd, a console-only user, a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.state import User
from tests.cli.conftest import SERVER, Shell
from tests.simulated_thread import running
from tests.sshd import Sshd, write_script

USER = "console@pve"
GATE = Path(SERVER).parent / "deploy" / "cyberlab-gate"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SimulatedCluster]:
    cluster = SimulatedCluster(tmp_path / "node", qemu=False, options=Options(refusal_delay=0.0))
    cluster.state.users[USER] = User(USER, permissions={"/vms": frozenset({"VM.Console"})})
    with running(cluster):
        yield cluster


def _steps(shell: Shell, environment: dict[str, str]) -> dict[str, Any]:
    for name, value in environment.items():
        shell.monkeypatch.setenv(name, value)
    shell.run("check", "--json")
    assert shell.err == ""
    return {row["step"]: row for row in json.loads(shell.out)}


def test_a_key_that_may_run_little(unmigrated: Shell, node: SimulatedCluster, tmp_path: Path) -> None:
    """What its forced command refuses is told by name, and sshd's limit is noticed where it may not be asked."""
    text = GATE.read_text().replace("('root@pam')", f"('{USER}')").replace("'[1-9][0-9]{0,8}';", "'(?!)';", 1)
    gate = tmp_path / "gate"
    gate.write_text(text)
    gate.chmod(0o755)
    write_script(tmp_path / "hostname", "#!/bin/sh\necho pve1\n")
    server = Sshd(
        tmp_path / "sshd", [tmp_path, node.bin_folder], host_keys=("ed25519",), gate=gate, extra="MaxSessions 5"
    )
    server.start()
    try:
        steps = _steps(
            unmigrated,
            node.environment() | server.settings() | {"PROXMOX_CONSOLE_USER": USER, "PROXMOX_WARM_WORKERS": "0"},
        )
    finally:
        server.stop()
    assert {name for name, row in steps.items() if row["state"] != "held"} == set()
    assert steps["sshd"]["found"] == {"max_sessions": 5, "max_startups": None, "forced_command": True}
    assert "the key may run certain commands alone" in steps["sshd"]["said"][0]
    assert steps["sshd"]["warnings"][0].startswith("MaxSessions is 5; ")
    assert steps["rights"]["found"]["refused_commands"] == ["switch machines", "take machines back to a snapshot"]
    assert "this key may not look" in steps["rights"]["said"][0]
    assert steps["ports"]["found"].keys() == {"console_ports_used"}


def test_a_console_user_without_its_privilege(unmigrated: Shell, node: SimulatedCluster) -> None:
    node.state.users[USER].permissions = {"/vms": frozenset({"VM.Audit"})}
    row = _steps(unmigrated, node.environment() | {"PROXMOX_CONSOLE_USER": USER})["rights"]
    assert row["problem"]["code"] == "permission-denied"
    assert row["problem"]["detail"] == f"{USER} lacks VM.Console on any machine"
    assert row["found"]["missing_privileges"] == ["VM.Console"]


def test_a_token_that_may_not_switch(unmigrated: Shell, node: SimulatedCluster) -> None:
    node.state.users[USER].permissions = {"/vms": frozenset({"VM.Audit", "VM.Console"})}
    node.state.tokens[f"{USER}!lab"] = "tokens-secret"
    steps = _steps(
        unmigrated,
        node.environment()
        | {
            "PROXMOX_SOURCE": "https",
            "PROXMOX_TOKEN_NAME": f"{USER}!lab",
            "PROXMOX_TOKEN_VALUE": "tokens-secret",
            "PROXMOX_TLS_CA_FILE": str(node.folder / "pve-root-ca.pem"),
        },
    )
    assert {name for name, row in steps.items() if row["state"] != "held"} == set()
    assert steps["rights"]["warnings"] == [
        f"{USER}!lab lacks VM.PowerMgmt: the portal cannot switch machines",
        f"{USER}!lab lacks VM.Snapshot.Rollback: the portal cannot take them back to a snapshot",
        f"{USER}!lab lacks Pool.Audit: the portal cannot show the pools that they are in",
    ]
    assert steps["ticket"]["found"]["clock_skew"] == 0
