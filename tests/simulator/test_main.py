"""The simulator as a process of its own: one line, then silence, and an end with its parent."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests import patience

ROOT = Path(__file__).resolve().parent.parent.parent


@asynccontextmanager
async def _process(state: Path, *more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, object]]]:
    argv = [sys.executable, "-W", "error", "-m", "cyberlab.simulator", "--state", str(state), "--no-qemu", *more]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        rest, trouble = await asyncio.wait_for(process.communicate(), patience.SECONDS)
        assert (rest, trouble, process.returncode) == (b"", b"", 0)


@pytest.mark.gen_test
async def test_it_ends_with_its_parent(state_dir: Path) -> None:
    async with _process(state_dir, "--with-parent") as (process, ready):
        environment = ready["environment"]
        assert isinstance(environment, dict)
        assert {name for name in environment if name.endswith("PATH")} == {"PROXMOX_SSH_KEY_PATH"}
        assert Path(environment["PROXMOX_SSH_KEY_PATH"]).stat().st_mode & 0o777 == 0o600
        known = Path(environment["PROXMOX_SSH_KNOWN_HOSTS"]).read_text()
        assert f":{environment['PROXMOX_SSH_PORT']} ssh-ed25519 " in known.replace(",[localhost]", " ssh-ed25519 ")
        assert process.returncode is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.gen_test
async def test_it_ends_by_signal(state_dir: Path, number: signal.Signals) -> None:
    async with _process(state_dir) as (process, _):
        process.send_signal(number)
        assert await process.wait() == 0


@pytest.mark.gen_test
async def test_keys_and_ports_stay(state_dir: Path) -> None:
    async with _process(state_dir, "--with-parent") as (_, first):
        ports = [str(first["environment"][name]) for name in ("PROXMOX_SSH_PORT", "PROXMOX_HOST")]  # type: ignore[index]
    ssh, api = ports[0], ports[1].rpartition(":")[2]
    keys = {path.name: path.read_bytes() for path in state_dir.iterdir() if path.is_file()}
    async with _process(state_dir, "--with-parent", "--ssh-port", ssh, "--api-port", api) as (_, second):
        assert second == first
        assert {path.name: path.read_bytes() for path in state_dir.iterdir() if path.is_file()} == keys


@pytest.mark.gen_test
async def test_several_nodes_and_what_they_did(tmp_path: Path) -> None:
    arguments = (
        "--with-parent",
        "--name",
        "north",
        "--nodes",
        "2",
        "--address",
        "127.0.0.31",
        "--machines",
        "3",
        "--cores",
        "4",
    )
    async with _process(tmp_path, *arguments) as (process, ready):
        found = tomllib.loads(str(ready["clusters_toml"]))["cluster"][0]
        assert [node["ssh_host"] for node in found["node"]] == ["127.0.0.31", "127.0.0.32"]
        process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline()) == {
            "cpu": {"pve1": {}, "pve2": {}},
            "ssh": {"pve1": 0, "pve2": 0},
        }


@pytest.mark.gen_test
async def test_a_lab_of_further_machines(tmp_path: Path) -> None:
    async with _process(tmp_path, "--with-parent", "--lab", "3") as (_, ready):
        machines = ready["vms"]
        assert isinstance(machines, list)
        assert [vm["name"] for vm in machines if vm["name"].startswith("lab-")] == ["lab-01", "lab-02", "lab-03"]
        assert "kali-07" in {vm["name"] for vm in machines}
