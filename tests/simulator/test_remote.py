"""The simulated node behind the real OpenSSH: its sshd in front, our executables on root's PATH."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.pvesh import Outcome
from tests.services import require
from tests.simulator.clients import DEADLINE, execute


async def _program(*argv: str) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode())


@pytest.mark.gen_test
async def test_the_executables_say_what_the_node_says(cluster: SimulatedCluster) -> None:
    pvesh = str(cluster.bin_folder / "pvesh")
    for argv in (
        ["get", "/version", "--output-format", "json"],
        ["get", "/nodes/pve1/qemu/999/status/current", "--output-format", "json"],
        ["get", "/no/such/é", "--output-format", "json"],
    ):
        assert await _program(pvesh, *argv) == await cluster.pvesh.run(argv)
    perl = await _program(str(cluster.bin_folder / "perl"), "-e", "print 1")
    assert perl.exit == 127


@pytest.mark.gen_test
async def test_setsid_starts_and_leaves(cluster: SimulatedCluster) -> None:
    cluster.options.task_duration = 0.2
    start = ["create", "/nodes/pve1/qemu/101/status/start", "--output-format", "json"]
    argv = [str(cluster.bin_folder / "setsid"), "-f", str(cluster.bin_folder / "pvesh"), *start]
    process = await asyncio.create_subprocess_exec(*argv, stdin=-3, stdout=-3, stderr=-3)
    assert await process.wait() == 0
    while not cluster.tasks.finished("pve1"):
        await asyncio.sleep(0.01)
    assert cluster.guests[101].running


@pytest.mark.gen_test
async def test_a_caller_who_is_killed_breaks_the_task(cluster: SimulatedCluster) -> None:
    cluster.options.task_duration = 0.3
    start = ["create", "/nodes/pve1/qemu/101/status/start", "--output-format", "json"]
    process = await asyncio.create_subprocess_exec(str(cluster.bin_folder / "pvesh"), *start, stdin=-3)
    while not cluster.tasks.active("pve1"):
        await asyncio.sleep(0.01)
    process.kill()
    await process.wait()
    while not (ended := cluster.tasks.finished("pve1")):
        await asyncio.sleep(0.01)
    assert ended[0].status == "broken pipe "


@contextmanager
def _openssh(cluster: SimulatedCluster, folder: Path) -> Iterator[int]:
    """A real sshd for our own user; its privilege separation folder is the system's."""
    program = require("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {cluster.folder}/ssh_host_ed25519_key\n"
        f"AuthorizedKeysFile {cluster.folder}/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\n"
        f"PermitRootLogin yes\nSetEnv PATH={cluster.bin_folder}:/usr/bin:/bin\n"
    )
    process = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        while b"Server listening" not in (line := process.stderr.readline()):
            assert line, "sshd did not start"
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE)
        process.stderr.close()


@pytest.mark.gen_test
async def test_behind_the_real_sshd(cluster: SimulatedCluster, tmp_path: Path) -> None:
    def run(port: int) -> Outcome:
        client = paramiko.SSHClient()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {cluster.known_hosts.read_text().split(' ', 1)[1]}")
        client.load_host_keys(str(tmp_path / "known"))
        with client:
            client.connect(
                "127.0.0.1", port, getpass.getuser(), key_filename=str(cluster.key_path), allow_agent=False,
                look_for_keys=False, timeout=DEADLINE,
            )  # fmt: skip
            # By full path: a root shell's own start-up files may put other folders in front.
            pvesh = cluster.bin_folder / "pvesh"
            return execute(client, f"{pvesh} get /nodes/pve1/qemu/101/status/current --output-format json")

    with _openssh(cluster, tmp_path) as port:
        got = await asyncio.to_thread(run, port)
    assert (got.exit, got.stderr) == (0, "")
    assert json.loads(got.stdout)["name"] == "metasploit-2"
