"""The pool of SSH connections, against a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import ssh
from cyberlab.proxmox.command import OUTPUT_LIMIT, CommandResult
from cyberlab.proxmox.ssh import CHANNELS, SshPool
from tests.proxmox.conftest import MakePool, MakeSshd
from tests.sshd import DEADLINE, Sshd, free_port

UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


async def run(
    pool: SshPool, command: str, *, timeout: float = DEADLINE, idempotent: bool = False, subject: str = ""
) -> CommandResult:
    return await pool.run(command, timeout=timeout, idempotent=idempotent, subject=subject)


async def code_of(pool: SshPool, command: str, *, timeout: float = DEADLINE, idempotent: bool = False) -> str:
    with pytest.raises(Problem) as caught:
        await run(pool, command, timeout=timeout, idempotent=idempotent)
    return caught.value.code


async def until(condition: object) -> None:
    """Wait for something outside of this process."""
    assert callable(condition)
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.gen_test(timeout=30)
async def test_streams_stay_apart(pool: SshPool) -> None:
    result = await run(pool, "echo out; echo err >&2; exit 3")
    assert result == CommandResult(3, "out\n", "err\n")
    assert "out" not in repr(result), "stdout may hold tickets"


@pytest.mark.gen_test(timeout=30)
async def test_one_connection_serves_one_command_after_another(pool: SshPool, sshd: Sshd) -> None:
    for number in range(3):
        assert (await run(pool, f"echo {number}")).stdout == f"{number}\n"
    assert len(sshd.connections()) == 1


@pytest.mark.gen_test(timeout=30)
async def test_both_streams_are_drained(pool: SshPool) -> None:
    """Far more than a channel's window on each, and the one that is not read first is filled first."""
    result = await run(pool, "head -c 4000000 /dev/zero >&2; head -c 4000000 /dev/zero; echo end")
    assert (result.exit, len(result.stdout), len(result.stderr)) == (0, 4_000_004, 4_000_000)


@pytest.mark.gen_test(timeout=30)
async def test_endless_output_is_cut(pool: SshPool) -> None:
    assert await code_of(pool, "cat /dev/zero") == problems.PVESH_FAILED
    assert (await run(pool, f"head -c {OUTPUT_LIMIT} /dev/zero")).exit == 0


@pytest.mark.gen_test(timeout=30)
async def test_commands_run_side_by_side(make_pool: MakePool, sshd: Sshd) -> None:
    """Sixteen wait for each other, so all of them run at once; four more come after."""
    pool = make_pool(sshd.cluster_settings(ssh_connections=2))
    (sshd.folder / "here").mkdir()
    meet = "touch here/{}; while [ $(ls here | wc -l) -lt 16 ]; do sleep 0.02; done; echo {}"
    answers = await asyncio.gather(*(run(pool, meet.format(n, n), timeout=20.0) for n in range(20)))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(20)]
    assert len(sshd.connections()) == 2


@pytest.mark.gen_test(timeout=30)
async def test_a_command_that_hangs_meets_its_deadline(pool: SshPool) -> None:
    assert await code_of(pool, "exec sleep 5", timeout=0.3, idempotent=True) == problems.PVESH_TIMEOUT
    assert (await run(pool, "echo still here")).stdout == "still here\n"


@pytest.mark.gen_test(timeout=30)
async def test_a_command_that_closes_its_streams_is_waited_for(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(run(pool, f"exec >&- 2>&-; touch begun; {UNTIL_GO}; exit 7"))
    await until((sshd.folder / "begun").exists)
    (sshd.folder / "go").touch()
    assert (await running).exit == 7


@pytest.mark.gen_test(timeout=30)
async def test_a_killed_command_is_a_failure(pool: SshPool) -> None:
    assert await code_of(pool, "kill -9 $$") == problems.PVESH_FAILED


@pytest.mark.gen_test(timeout=30)
async def test_a_node_that_hangs_leaves_room_for_others(pool: SshPool, sshd: Sshd) -> None:
    """More calls about one node than there are channels, and threads: those for the others run all the same."""
    hanging = [
        asyncio.ensure_future(run(pool, f"echo >> hung; {UNTIL_GO}", subject="pve2")) for _ in range(3 * CHANNELS)
    ]
    await until(lambda: lines(sshd.folder / "hung") == CHANNELS // 2)
    assert (await run(pool, "echo fine", subject="pve1")).stdout == "fine\n"
    assert (await run(pool, "echo fine")).stdout == "fine\n"
    assert lines(sshd.folder / "hung") == CHANNELS // 2
    (sshd.folder / "go").touch()
    assert {result.exit for result in await asyncio.gather(*hanging)} == {0}


@pytest.mark.gen_test(timeout=30)
async def test_waiting_for_a_place_ends_with_the_deadline(pool: SshPool, sshd: Sshd) -> None:
    running = [asyncio.ensure_future(run(pool, f"echo >> all; {UNTIL_GO}")) for _ in range(CHANNELS)]
    await until(lambda: lines(sshd.folder / "all") == CHANNELS)
    assert await code_of(pool, "echo never", timeout=0.1) == problems.SSH_BUSY
    (sshd.folder / "go").touch()
    await asyncio.gather(*running)


@pytest.mark.gen_test(timeout=30)
async def test_given_up_commands_do_not_use_up_the_sessions(pool: SshPool, sshd: Sshd) -> None:
    """sshd counts them until they end by themselves; ten would block a connection for good."""
    outcomes = await asyncio.gather(
        *(run(pool, "exec sleep 6", timeout=1.0) for _ in range(2 * CHANNELS)), return_exceptions=True
    )
    assert {outcome.code for outcome in outcomes if isinstance(outcome, Problem)} <= {
        problems.PVESH_TIMEOUT, problems.SSH_BUSY
    }  # fmt: skip
    answers = await asyncio.gather(*(run(pool, f"echo {n}", timeout=4.0) for n in range(CHANNELS)))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(CHANNELS)]


@pytest.mark.gen_test(timeout=30)
async def test_fewer_sessions_than_usual(make_sshd: MakeSshd, make_pool: MakePool) -> None:
    pool = make_pool(make_sshd(extra="MaxSessions 3").cluster_settings())
    answers = await asyncio.gather(*(run(pool, f"sleep 0.1; echo {n}") for n in range(12)))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(12)]


@pytest.mark.gen_test(timeout=30)
async def test_no_sessions_at_all(make_sshd: MakeSshd, make_pool: MakePool) -> None:
    pool = make_pool(make_sshd(extra="MaxSessions 0").cluster_settings())
    assert await code_of(pool, "echo", idempotent=True) == problems.SSH_BUSY


@pytest.mark.gen_test(timeout=30)
async def test_a_broken_connection_is_replaced_for_what_changes_nothing(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(run(pool, f"echo >> ran; {UNTIL_GO}; wc -l < ran", idempotent=True))
    await until(lambda: lines(sshd.folder / "ran") == 1)
    sshd.signal_connections(signal.SIGKILL)
    await until(lambda: lines(sshd.folder / "ran") == 2)
    (sshd.folder / "go").touch()
    assert int((await running).stdout) == 2


@pytest.mark.gen_test(timeout=30)
async def test_but_only_once(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(code_of(pool, f"echo >> ran; {UNTIL_GO}", idempotent=True))
    for times in (1, 2):
        await until(lambda times=times: lines(sshd.folder / "ran") == times)
        sshd.signal_connections(signal.SIGKILL)
    assert await running == problems.SSH_REFUSED
    (sshd.folder / "go").touch()


@pytest.mark.gen_test(timeout=30)
async def test_what_changes_something_is_not_repeated(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(code_of(pool, f"echo >> ran; {UNTIL_GO}"))
    await until(lambda: lines(sshd.folder / "ran") == 1)
    sshd.signal_connections(signal.SIGKILL)
    assert await running == problems.SSH_REFUSED
    assert (await run(pool, "echo back")).stdout == "back\n", "the dead connection is gone from the pool"
    assert lines(sshd.folder / "ran") == 1
    (sshd.folder / "go").touch()


@pytest.mark.gen_test(timeout=30)
async def test_an_idle_connection_that_died_costs_nobody_anything(pool: SshPool, sshd: Sshd) -> None:
    """The command was never sent, so that it may change what it wants and is sent again all the same."""
    await run(pool, "true")
    sshd.signal_connections(signal.SIGSTOP)
    running = asyncio.ensure_future(run(pool, "echo >> ran; wc -l < ran"))
    await until(lambda: len(pool._connections[0].transport._channels) == 1)  # the channel has been asked for
    sshd.signal_connections(signal.SIGKILL)
    assert (await running).stdout.strip() == "1"


@pytest.mark.gen_test(timeout=30)
async def test_a_server_that_stands_still_meets_the_deadline(pool: SshPool, sshd: Sshd) -> None:
    await run(pool, "true")
    sshd.signal_connections(signal.SIGSTOP)
    try:
        assert await code_of(pool, "echo", timeout=0.5, idempotent=True) == problems.PVESH_TIMEOUT
    finally:
        sshd.signal_connections(signal.SIGCONT)


class _Mute(paramiko.ServerInterface):
    """Opens channels, and never answers the request to run something in them."""

    def __init__(self, quiet: threading.Event) -> None:
        self._quiet = quiet

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._quiet.wait(DEADLINE)
        return False


@pytest.fixture
def mute_port(sshd: Sshd) -> Iterator[int]:
    quiet, transports = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    transport = paramiko.Transport(server.accept()[0])
                    transports.append(transport)
                    transport.add_server_key(
                        paramiko.Ed25519Key.from_private_key_file(str(sshd.folder / "host_ed25519"))
                    )
                    transport.start_server(threading.Event(), _Mute(quiet))

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        quiet.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)
    for transport in transports:
        transport.close()
        transport.join(DEADLINE)


@pytest.mark.gen_test(timeout=30)
async def test_a_request_without_an_answer_frees_its_thread(
    make_pool: MakePool, sshd: Sshd, mute_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paramiko would wait for it for ever: the pool cuts the connection."""
    monkeypatch.setattr(ssh, "_GRACE", 0.2)
    pool = make_pool(sshd.cluster_settings(ssh_port=mute_port, ssh_host_key=sshd.fingerprint()))
    outcomes = await asyncio.gather(*(run(pool, "echo", timeout=1.0) for _ in range(CHANNELS)), return_exceptions=True)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, Problem)} == {problems.PVESH_TIMEOUT}
    # Every thread is free again, or these had no place before their deadline.
    assert await code_of(pool, "echo", timeout=1.0) == problems.PVESH_TIMEOUT


@pytest.mark.gen_test(timeout=30)
async def test_nobody_there(make_pool: MakePool, sshd: Sshd) -> None:
    pool = make_pool(sshd.cluster_settings(ssh_port=free_port(), ssh_host_key=sshd.fingerprint()))
    codes = await asyncio.gather(*(code_of(pool, "echo") for _ in range(2 * CHANNELS)))
    assert set(codes) == {problems.SSH_REFUSED}


@pytest.mark.gen_test(timeout=30)
async def test_a_host_that_comes_back_is_used_again(
    make_pool: MakePool, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_RETRY_AFTER", 0.0)
    pool = make_pool(sshd.cluster_settings())
    sshd.known_hosts.rename(sshd.folder / "away")
    assert await code_of(pool, "echo") == problems.SSH_HOST_KEY
    (sshd.folder / "away").rename(sshd.known_hosts)
    assert (await run(pool, "echo again")).stdout == "again\n"


@pytest.mark.gen_test(timeout=30)
async def test_whoever_gives_up_holds_the_place_until_the_command_has_ended(pool: SshPool, sshd: Sshd) -> None:
    running = [asyncio.ensure_future(run(pool, f"echo >> all; {UNTIL_GO}")) for _ in range(CHANNELS)]
    await until(lambda: lines(sshd.folder / "all") == CHANNELS)
    for call in running:
        call.cancel()
    await asyncio.wait(running)
    assert await code_of(pool, "echo", timeout=0.1) == problems.SSH_BUSY
    (sshd.folder / "go").touch()
    assert (await run(pool, "echo free")).stdout == "free\n"


@pytest.mark.gen_test(timeout=30)
async def test_close_ends_what_runs_and_what_waits(make_pool: MakePool, sshd: Sshd) -> None:
    pool = SshPool(sshd.cluster_settings())
    running = [asyncio.ensure_future(code_of(pool, f"echo >> all; {UNTIL_GO}")) for _ in range(CHANNELS + 2)]
    await until(lambda: lines(sshd.folder / "all") == CHANNELS)
    pool.close()
    assert set(await asyncio.gather(*running)) == {problems.SHUTTING_DOWN}
    assert await code_of(pool, "echo") == problems.SHUTTING_DOWN
    (sshd.folder / "go").touch()
