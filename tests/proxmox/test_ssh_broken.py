"""Connections that break: under a command, while idle, all at once, and with the whole server."""

from __future__ import annotations

import asyncio
import signal

import paramiko
import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import ssh
from cyberlab.proxmox.ssh import CHANNELS, SshPool
from cyberlab.settings import ClusterSettings
from tests.proxmox.calls import UNTIL_GO, code_of, lines, run, until
from tests.proxmox.conftest import MakePool
from tests.proxmox.stub import stub_server
from tests.sshd import DEADLINE, Sshd, free_port


@pytest.mark.gen_test
async def test_a_broken_connection_is_replaced_for_what_changes_nothing(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(run(pool, f"echo >> ran; {UNTIL_GO}; wc -l < ran", idempotent=True))
    await until(lambda: lines(sshd.folder / "ran") == 1)
    sshd.signal_connections(signal.SIGKILL)
    await until(lambda: lines(sshd.folder / "ran") == 2)
    (sshd.folder / "go").touch()
    assert int((await running).stdout) == 2


@pytest.mark.gen_test
async def test_but_only_once(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(code_of(pool, f"echo >> ran; {UNTIL_GO}", idempotent=True))
    for times in (1, 2):
        await until(lambda times=times: lines(sshd.folder / "ran") == times)
        sshd.signal_connections(signal.SIGKILL)
    assert await running == problems.SSH_REFUSED
    (sshd.folder / "go").touch()


@pytest.mark.gen_test
async def test_what_changes_something_is_not_repeated(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(code_of(pool, f"echo >> ran; {UNTIL_GO}"))
    await until(lambda: lines(sshd.folder / "ran") == 1)
    sshd.signal_connections(signal.SIGKILL)
    assert await running == problems.SSH_REFUSED
    assert (await run(pool, "echo back")).stdout == "back\n", "the dead connection is gone from the pool"
    assert lines(sshd.folder / "ran") == 1
    (sshd.folder / "go").touch()


@pytest.mark.gen_test
async def test_an_idle_connection_that_died_costs_nobody_anything(pool: SshPool, sshd: Sshd) -> None:
    """The command was never sent, so that it may change what it wants and is sent again all the same."""
    await run(pool, "true")
    sshd.signal_connections(signal.SIGSTOP)
    running = asyncio.ensure_future(run(pool, "echo >> ran; wc -l < ran"))
    await until(lambda: len(pool._connections[0].transport._channels) == 1)  # the channel has been asked for
    sshd.signal_connections(signal.SIGKILL)
    assert (await running).stdout.strip() == "1"


@pytest.mark.gen_test
async def test_a_server_that_stands_still_meets_the_deadline(pool: SshPool, sshd: Sshd) -> None:
    await run(pool, "true")
    sshd.signal_connections(signal.SIGSTOP)
    try:
        assert await code_of(pool, "echo", timeout=0.5, idempotent=True) == problems.PVESH_TIMEOUT
    finally:
        sshd.signal_connections(signal.SIGCONT)


@pytest.mark.gen_test
async def test_a_request_without_an_answer_frees_its_thread(
    make_pool: MakePool, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paramiko would wait for it for ever: the pool cuts the connection."""
    monkeypatch.setattr(ssh, "_GRACE", 0.2)
    with stub_server(sshd.folder / "host_ed25519") as (_, port):
        pool = make_pool(sshd.cluster_settings(ssh_port=port, ssh_host_key=sshd.fingerprint()))
        outcomes = await asyncio.gather(
            *(run(pool, "echo", timeout=1.0) for _ in range(CHANNELS)), return_exceptions=True
        )
        assert {outcome.code for outcome in outcomes if isinstance(outcome, Problem)} == {problems.PVESH_TIMEOUT}
        # Every thread is free again, or these had no place before their deadline.
        assert await code_of(pool, "echo", timeout=1.0) == problems.PVESH_TIMEOUT


@pytest.mark.gen_test
async def test_nobody_there(make_pool: MakePool, sshd: Sshd) -> None:
    pool = make_pool(sshd.cluster_settings(ssh_port=free_port(), ssh_host_key=sshd.fingerprint()))
    codes = await asyncio.gather(*(code_of(pool, "echo") for _ in range(2 * CHANNELS)))
    assert set(codes) == {problems.SSH_REFUSED}


@pytest.mark.gen_test
async def test_a_host_that_comes_back_is_used_again(
    make_pool: MakePool, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_RETRY_AFTER", 0.0)
    pool = make_pool(sshd.cluster_settings())
    sshd.known_hosts.rename(sshd.folder / "away")
    assert await code_of(pool, "echo") == problems.SSH_HOST_KEY
    (sshd.folder / "away").rename(sshd.known_hosts)
    assert (await run(pool, "echo again")).stdout == "again\n"


@pytest.mark.gen_test
async def test_every_connection_breaks_under_everything(make_pool: MakePool, sshd: Sshd) -> None:
    pool = make_pool(sshd.cluster_settings(ssh_connections=2))
    command = f"echo >> ran; {UNTIL_GO}; echo fine"
    reads = [asyncio.ensure_future(run(pool, command, idempotent=True)) for _ in range(12)]
    writes = [asyncio.ensure_future(code_of(pool, command)) for _ in range(4)]
    await until(lambda: lines(sshd.folder / "ran") == 16)
    sshd.signal_connections(signal.SIGKILL)
    assert set(await asyncio.gather(*writes)) == {problems.SSH_REFUSED}
    await until(lambda: lines(sshd.folder / "ran") == 28)
    (sshd.folder / "go").touch()
    assert {result.stdout for result in await asyncio.gather(*reads)} == {"fine\n"}
    assert len(sshd.connections()) == 2


@pytest.mark.gen_test
async def test_sshd_is_restarted(pool: SshPool, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_RETRY_AFTER", 0.0)
    assert (await run(pool, "echo 1")).stdout == "1\n"
    sshd.stop()
    assert await code_of(pool, "echo 2") == problems.SSH_REFUSED
    sshd.start()
    assert (await run(pool, "echo 3")).stdout == "3\n"
    sshd.stop()
    sshd.start()
    assert (await run(pool, "echo 4")).stdout == "4\n"


@pytest.mark.gen_test
async def test_a_host_that_refused_is_left_alone_for_a_moment(
    make_pool: MakePool, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every page and console would wait in turn for the connection that cannot be had."""
    dialled, real = [], ssh.connect

    def connect(settings: ClusterSettings, timeout: float) -> paramiko.Transport:
        dialled.append(timeout)
        return real(settings, timeout)

    monkeypatch.setattr(ssh, "connect", connect)
    monkeypatch.setattr(ssh, "_RETRY_AFTER", 600.0)
    pool = make_pool(sshd.cluster_settings(ssh_port=free_port(), ssh_host_key=sshd.fingerprint()))
    codes = await asyncio.gather(*(code_of(pool, "echo") for _ in range(2 * CHANNELS)))
    assert set(codes) == {problems.SSH_REFUSED}
    assert len(dialled) == 1


@pytest.mark.gen_test
async def test_the_haste_of_one_call_says_nothing_about_the_host(
    pool: SshPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_RETRY_AFTER", 600.0)
    assert await code_of(pool, "echo", timeout=0.01) == problems.SSH_BUSY, "no time to connect"
    monkeypatch.setattr(ssh, "_LEAST_SECONDS", 0.0)
    real = ssh.connect

    def connect(settings: ClusterSettings, timeout: float) -> paramiko.Transport:
        if timeout < DEADLINE / 10:
            raise Problem(problems.SSH_REFUSED, "no answer in time")
        return real(settings, timeout)

    monkeypatch.setattr(ssh, "connect", connect)
    assert await code_of(pool, "echo", timeout=0.5) == problems.SSH_REFUSED
    assert (await run(pool, "echo fine")).stdout == "fine\n"


@pytest.mark.gen_test
async def test_a_refused_command_does_not_take_the_others_along(make_pool: MakePool, sshd: Sshd) -> None:
    """sshd runs nothing for us, but the connection is well: it stays."""
    with stub_server(sshd.folder / "host_ed25519") as (stub, port):
        stub.hangs = False
        pool = make_pool(sshd.cluster_settings(ssh_port=port, ssh_host_key=sshd.fingerprint()))
        for _ in range(3):
            assert await code_of(pool, "true", idempotent=True) == problems.PVESH_FAILED
        assert stub.connections == 1
