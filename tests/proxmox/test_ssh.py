"""The pool of SSH connections, against a real sshd: who gets a channel, who waits, and what becomes of a place."""

from __future__ import annotations

import asyncio
import threading

import paramiko
import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import ssh
from cyberlab.proxmox.command import OUTPUT_LIMIT, CommandResult
from cyberlab.proxmox.ssh import CHANNELS, SshPool
from cyberlab.settings import ClusterSettings
from tests.proxmox.calls import UNTIL_GO, code_of, lines, run, until
from tests.proxmox.conftest import MakePool, MakeSshd
from tests.sshd import DEADLINE, Sshd


@pytest.mark.gen_test
async def test_streams_stay_apart(pool: SshPool) -> None:
    result = await run(pool, "echo out; echo err >&2; exit 3")
    assert result == CommandResult(3, "out\n", "err\n")
    assert "out" not in repr(result), "stdout may hold tickets"


@pytest.mark.gen_test
async def test_one_connection_serves_one_command_after_another(pool: SshPool, sshd: Sshd) -> None:
    for number in range(3):
        assert (await run(pool, f"echo {number}")).stdout == f"{number}\n"
    assert len(sshd.connections()) == 1


@pytest.mark.gen_test
async def test_both_streams_are_drained(pool: SshPool) -> None:
    """Far more than a channel's window on each, and the one that is not read first is filled first."""
    result = await run(pool, "head -c 4000000 /dev/zero >&2; head -c 4000000 /dev/zero; echo end")
    assert (result.exit, len(result.stdout), len(result.stderr)) == (0, 4_000_004, 4_000_000)


@pytest.mark.gen_test
async def test_endless_output_is_cut(pool: SshPool) -> None:
    assert await code_of(pool, "cat /dev/zero") == problems.PVESH_FAILED
    assert (await run(pool, f"head -c {OUTPUT_LIMIT} /dev/zero")).exit == 0


@pytest.mark.gen_test
async def test_commands_run_side_by_side(make_pool: MakePool, sshd: Sshd) -> None:
    """Sixteen wait for each other, so all of them run at once; four more come after."""
    pool = make_pool(sshd.cluster_settings(ssh_connections=2))
    (sshd.folder / "here").mkdir()
    meet = "touch here/{}; while [ $(ls here | wc -l) -lt 16 ]; do sleep 0.02; done; echo {}"
    answers = await asyncio.gather(*(run(pool, meet.format(n, n), timeout=20.0) for n in range(20)))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(20)]
    assert len(sshd.connections()) == 2


@pytest.mark.gen_test
async def test_a_command_that_hangs_meets_its_deadline(pool: SshPool) -> None:
    assert await code_of(pool, "exec sleep 5", timeout=0.3, idempotent=True) == problems.PVESH_TIMEOUT
    assert (await run(pool, "echo still here")).stdout == "still here\n"


@pytest.mark.gen_test
async def test_a_command_that_closes_its_streams_is_waited_for(pool: SshPool, sshd: Sshd) -> None:
    running = asyncio.ensure_future(run(pool, f"exec >&- 2>&-; touch begun; {UNTIL_GO}; exit 7"))
    await until((sshd.folder / "begun").exists)
    (sshd.folder / "go").touch()
    assert (await running).exit == 7


@pytest.mark.gen_test
async def test_a_killed_command_is_a_failure(pool: SshPool) -> None:
    assert await code_of(pool, "kill -9 $$") == problems.PVESH_FAILED


@pytest.mark.gen_test
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


@pytest.mark.gen_test
async def test_waiting_for_a_place_ends_with_the_deadline(pool: SshPool, sshd: Sshd) -> None:
    running = [asyncio.ensure_future(run(pool, f"echo >> all; {UNTIL_GO}")) for _ in range(CHANNELS)]
    await until(lambda: lines(sshd.folder / "all") == CHANNELS)
    assert await code_of(pool, "echo never", timeout=0.1) == problems.SSH_BUSY
    (sshd.folder / "go").touch()
    await asyncio.gather(*running)


@pytest.mark.gen_test
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


@pytest.mark.gen_test
async def test_fewer_sessions_than_usual(make_sshd: MakeSshd, make_pool: MakePool) -> None:
    pool = make_pool(make_sshd(extra="MaxSessions 3").cluster_settings())
    answers = await asyncio.gather(*(run(pool, f"sleep 0.1; echo {n}") for n in range(12)))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(12)]


@pytest.mark.gen_test
async def test_no_sessions_at_all(make_sshd: MakeSshd, make_pool: MakePool) -> None:
    pool = make_pool(make_sshd(extra="MaxSessions 0").cluster_settings())
    assert await code_of(pool, "echo", idempotent=True) == problems.SSH_BUSY


@pytest.mark.gen_test
async def test_whoever_gives_up_holds_the_place_until_the_command_has_ended(pool: SshPool, sshd: Sshd) -> None:
    running = [asyncio.ensure_future(run(pool, f"echo >> all; {UNTIL_GO}")) for _ in range(CHANNELS)]
    await until(lambda: lines(sshd.folder / "all") == CHANNELS)
    for call in running:
        call.cancel()
    await asyncio.wait(running)
    assert await code_of(pool, "echo", timeout=0.1) == problems.SSH_BUSY
    (sshd.folder / "go").touch()
    assert (await run(pool, "echo free")).stdout == "free\n"


@pytest.mark.gen_test
async def test_close_ends_what_runs_and_what_waits(make_pool: MakePool, sshd: Sshd) -> None:
    before = set(threading.enumerate())
    pool = make_pool(sshd.cluster_settings())
    running = [asyncio.ensure_future(code_of(pool, f"echo >> all; {UNTIL_GO}")) for _ in range(CHANNELS + 2)]
    await until(lambda: lines(sshd.folder / "all") == CHANNELS)
    pool.close()
    assert set(threading.enumerate()) == before
    assert set(await asyncio.gather(*running)) == {problems.SHUTTING_DOWN}
    assert await code_of(pool, "echo") == problems.SHUTTING_DOWN
    (sshd.folder / "go").touch()


@pytest.mark.gen_test
async def test_close_while_a_connection_is_being_opened(
    make_pool: MakePool, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialling, closed, real = threading.Event(), threading.Event(), ssh.connect

    def connect(settings: ClusterSettings, timeout: float) -> paramiko.Transport:
        dialling.set()
        closed.wait(DEADLINE)
        return real(settings, timeout)

    monkeypatch.setattr(ssh, "connect", connect)
    pool = make_pool(sshd.cluster_settings())
    running = asyncio.ensure_future(code_of(pool, "echo"))
    await until(dialling.is_set)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("ssh-")]
    with pool._changed:
        pool._closed = True
    closed.set()
    assert await running == problems.SHUTTING_DOWN
    pool.close()
    assert threads
    assert not any(thread.is_alive() for thread in threads)
    assert not any(isinstance(thread, paramiko.Transport) for thread in threading.enumerate())
