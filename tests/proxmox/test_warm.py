"""Warm pvesh over SSH: the same as the command, whoever serves it, and the command where anything is off."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import warm, warm_worker
from cyberlab.proxmox.command import CommandResult
from cyberlab.proxmox.warm import WarmPvesh
from cyberlab.settings import ClusterSettings
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from tests.leaks import runs
from tests.proxmox.conftest import MakePool
from tests.proxmox.oddities import LOCALE, write_programs
from tests.simulator.transcripts import observed, replay
from tests.sshd import Sshd, write_script

VERSION = ("get", "/version", "--output-format", "json")
MakeWarm = Callable[..., WarmPvesh]


@pytest.fixture
def make_warm(io_loop: IOLoop, make_pool: MakePool) -> Iterator[MakeWarm]:
    """Makes warm pvesh of settings; closed before its pool."""
    made: list[WarmPvesh] = []

    def make(settings: ClusterSettings, workers: int = 1) -> WarmPvesh:
        made.append(WarmPvesh(make_pool(settings), workers))
        return made[-1]

    yield make
    for each in made:
        io_loop.run_sync(lambda each=each: _close(each))


async def _close(each: WarmPvesh) -> None:
    each.close()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture
def node(io_loop: IOLoop, keys: Path) -> Iterator[SimulatedCluster]:
    made = SimulatedCluster(keys, qemu=False, state=observed(), options=Options())
    io_loop.run_sync(made.start)
    yield made
    io_loop.run_sync(made.close)


@pytest.fixture(params=["simulated sshd", "openssh"])
def settings(request: pytest.FixtureRequest, node: SimulatedCluster, tmp_path: Path) -> Iterator[ClusterSettings]:
    """The simulated node behind its own SSH server, and behind the real one."""
    if request.param == "simulated sshd":
        yield _settings(node)
        return
    server = Sshd(tmp_path / "sshd", [node.bin_folder])
    server.start()
    yield server.cluster_settings()
    server.stop()


def _settings(node: SimulatedCluster) -> ClusterSettings:
    values = {name.removeprefix("PROXMOX_").lower(): value for name, value in node.environment().items()}
    return ClusterSettings(_env_file=None, **values)  # type: ignore[arg-type]


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Sshd]:
    """A real sshd with a pvesh that does odd things."""
    folder = tmp_path / "odd"
    server = Sshd(folder, [write_programs(tmp_path)], host_keys=("ed25519",))
    server.start()
    yield server
    server.stop()


async def _get(pvesh: WarmPvesh, *words: str, timeout: float = 10.0, idempotent: bool = True) -> CommandResult:
    return await pvesh.run(words, timeout=timeout, idempotent=idempotent)


# The same answers


@pytest.mark.gen_test
async def test_transcripts(settings: ClusterSettings, node: SimulatedCluster, make_warm: MakeWarm) -> None:
    pvesh = make_warm(settings)
    node.options.call_cpu = 7.0  # of the command, which would show
    await replay(lambda argv: _get(pvesh, *argv))
    assert pvesh.workers == 1
    assert "pvesh" not in node.members["pve1"].cpu.used


ODD = [
    *(["get", f"/{name}"] for name in ("bytes", "wide", "die", "missing", "warn", "both", "stdin", "system", "quiet")),
    ["get", "/args", '--name=it\'s $HOME; `id` "x" \\ *', "-e", "--", "", "é ☺ 😀", "a\nb\tc"],
    [],
]


@pytest.mark.gen_test
async def test_odd_programs_byte_for_byte(odd: Sshd, make_warm: MakeWarm) -> None:
    commands, pvesh = make_warm(odd.cluster_settings(), 0), make_warm(odd.cluster_settings())
    for words in ODD:
        plain = await _get(commands, *words)
        assert await _get(pvesh, *words) == plain, words
    assert pvesh.workers == 1
    assert commands.workers == 0


@pytest.mark.gen_test
async def test_many_at_once_by_few_processes(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings(), 2)
    answers = await asyncio.gather(*(_get(pvesh, "get", "/args", str(number)) for number in range(60)))
    assert [answer.stdout for answer in answers] == [f"get\n/args\n{number}\n" for number in range(60)]
    parents = {(await _get(pvesh, "get", "/pid")).stdout for _ in range(10)}
    assert len(parents) <= 2
    assert len(odd.connections()) == 1


@pytest.mark.gen_test
async def test_what_no_command_line_carries(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    for word in ("a\0b", "\ud800"):
        with pytest.raises(ValueError, match=r"NUL|surrogates"):
            await _get(pvesh, "get", word)


# Deadlines, limits


@pytest.mark.gen_test
async def test_a_late_answer_leaves_the_worker_as_it_is(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    parent = (await _get(pvesh, "get", "/pid")).stdout
    with pytest.raises(Problem) as caught:
        await _get(pvesh, "get", "/sleep", timeout=0.5)
    assert caught.value.code == problems.PVESH_TIMEOUT
    assert (await _get(pvesh, "get", "/pid")).stdout == parent


@pytest.mark.parametrize(("path", "said"), [("/big", "more than 8 MiB"), ("/signal", "without an exit status")])
@pytest.mark.gen_test
async def test_what_the_command_would_be_refused_for(odd: Sshd, make_warm: MakeWarm, path: str, said: str) -> None:
    with pytest.raises(Problem, match=said):
        await _get(make_warm(odd.cluster_settings()), "get", path)


@pytest.mark.gen_test
async def test_a_caller_who_has_gone_frees_nothing_too_early(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    await _get(pvesh, "get", "/quiet")
    asked = [asyncio.create_task(_get(pvesh, "get", "/sleep", timeout=3.0)) for _ in range(warm.AT_ONCE)]
    while pvesh._workers[0].busy < warm.AT_ONCE:
        await asyncio.sleep(0.01)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert pvesh._workers[0].busy == warm.AT_ONCE
    assert (await _get(pvesh, "get", "/quiet")).exit == 0, "when the deadline has made room"


@pytest.mark.gen_test
async def test_one_node_that_hangs_leaves_room(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    await _get(pvesh, "get", "/quiet")
    hang = [
        asyncio.create_task(pvesh.run(["get", "/sleep"], timeout=30.0, idempotent=True, subject="pve9"))
        for _ in range(2 * warm.AT_ONCE)
    ]
    await asyncio.sleep(0)
    assert (await _get(pvesh, "get", "/quiet")).exit == 0
    assert not any(task.done() for task in hang)
    for task in hang:
        task.cancel()
    await asyncio.gather(*hang, return_exceptions=True)


# Whatever is off


@pytest.mark.gen_test
async def test_a_worker_that_is_killed_with_a_request_in_its_hands(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    for idempotent in (True, False):
        pvesh._not_before = 0.0
        parent = int((await _get(pvesh, "get", "/pid")).stdout)
        task = asyncio.create_task(_get(pvesh, "get", "/sleep", timeout=3.0, idempotent=idempotent))
        while not pvesh._workers or not pvesh._workers[0].busy:
            await asyncio.sleep(0.01)
        os.kill(parent, signal.SIGKILL)
        with pytest.raises(Problem) as caught:
            await task
        # What may be run twice was, as a command, which sleeps as well.
        assert caught.value.code == (problems.PVESH_TIMEOUT if idempotent else problems.SSH_REFUSED)
    await _get(pvesh, "get", "/quiet")
    assert pvesh.workers == 0, "not again at once"


@pytest.mark.gen_test
async def test_nonsense_on_its_stdout(odd: Sshd, make_warm: MakeWarm, tmp_path: Path) -> None:
    write_script(tmp_path / "bin" / "perl", '#!/bin/sh\nprintf "5:ready,"; cat >/dev/null\n')
    pvesh = make_warm(odd.cluster_settings())
    assert (await _get(pvesh, "get", "/args")).stdout == "get\n/args\n"
    assert pvesh.workers == 0
    write_script(
        tmp_path / "bin" / "perl", '#!/bin/sh\nprintf "8:5:ready,,"; head -c 9 >/dev/null; echo; cat >/dev/null\n'
    )
    pvesh._not_before = 0.0
    assert (await _get(pvesh, "get", "/args")).stdout == "get\n/args\n"
    assert pvesh.workers == 0


@pytest.mark.parametrize(
    "perl",
    [
        f"cat >&2 <<'END'\n{LOCALE}Can't locate PVE/API2.pm in @INC\nEND\nexit 2",
        "exit 0",
        "kill -9 $$",
        None,
    ],
)
@pytest.mark.gen_test
async def test_a_node_that_cannot(odd: Sshd, make_warm: MakeWarm, tmp_path: Path, perl: str | None) -> None:
    program = "#!/no/such/interpreter\n" if perl is None else f"#!/bin/sh\n{perl}\n"
    write_script(tmp_path / "bin" / "perl", program)
    pvesh = make_warm(odd.cluster_settings())
    for _ in range(3):
        assert (await _get(pvesh, "get", "/args")).stdout == "get\n/args\n"
    assert pvesh._pause >= warm._LONG, "tried once, and not again so soon"
    if perl is not None and LOCALE in perl:
        assert pvesh.cold == "Can't locate PVE/API2.pm in @INC"
    assert len(odd.commands()) == 0


@pytest.mark.gen_test
async def test_a_worker_that_says_nothing(
    odd: Sshd, make_warm: MakeWarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_START_SECONDS", 0.5)
    write_script(tmp_path / "bin" / "perl", "#!/bin/sh\nexec cat >/dev/null\n")
    pvesh = make_warm(odd.cluster_settings())
    assert (await _get(pvesh, "get", "/args")).stdout == "get\n/args\n"
    assert pvesh.workers == 0


@pytest.mark.gen_test
async def test_a_worker_that_stops_answering(
    odd: Sshd, make_warm: MakeWarm, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(warm_worker, "_GRACE", 0.3)
    pvesh = make_warm(odd.cluster_settings())
    parent = int((await _get(pvesh, "get", "/pid")).stdout)
    os.kill(parent, signal.SIGSTOP)
    with pytest.raises(Problem) as caught:
        await _get(pvesh, "get", "/args", timeout=0.3)
    assert caught.value.code == problems.PVESH_TIMEOUT
    assert (await _get(pvesh, "get", "/args")).exit == 0
    assert pvesh.workers == 0
    os.kill(parent, signal.SIGKILL)


@pytest.mark.gen_test
async def test_lost_connections(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    first = (await _get(pvesh, "get", "/pid")).stdout
    task = asyncio.create_task(_get(pvesh, "get", "/sleep", idempotent=False))
    while not pvesh._workers[0].busy:
        await asyncio.sleep(0.01)
    odd.signal_connections(signal.SIGKILL)
    with pytest.raises(Problem) as caught:
        await task
    assert caught.value.code == problems.SSH_REFUSED
    assert (await _get(pvesh, "get", "/args")).exit == 0
    while not pvesh.workers:  # soon again: the worker was not at fault
        await _get(pvesh, "get", "/quiet")
        await asyncio.sleep(0.05)
    assert (await _get(pvesh, "get", "/pid")).stdout != first
    while runs(int(first)):
        await asyncio.sleep(0.01)


# Coming and going


@pytest.mark.gen_test
async def test_recycled_by_count_and_by_age(
    odd: Sshd, make_warm: MakeWarm, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    pvesh = make_warm(odd.cluster_settings())
    first = (await _get(pvesh, "get", "/pid")).stdout
    for name, value in (("_MOST_REQUESTS", 3), ("_MOST_SECONDS", 0.0)):
        with monkeypatch.context() as patch:
            patch.setattr(warm, name, value)
            while pvesh._start is None:
                await _get(pvesh, "get", "/quiet")
            start = pvesh._start
        await start
        now = (await _get(pvesh, "get", "/pid")).stdout
        assert now != first
        assert pvesh.workers == 1
        while runs(int(first)):
            await asyncio.sleep(0.01)
        first = now


@pytest.mark.gen_test
async def test_an_old_worker_answers_what_it_was_asked(
    odd: Sshd, make_warm: MakeWarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    pvesh = make_warm(odd.cluster_settings())
    await _get(pvesh, "get", "/pid")
    old = pvesh._workers[0]
    task = asyncio.create_task(_get(pvesh, "get", "/sleep", timeout=3.0))
    while not pvesh._workers[0].busy:
        await asyncio.sleep(0.01)
    with monkeypatch.context() as patch:
        patch.setattr(warm, "_MOST_REQUESTS", 1)
        while pvesh._workers[0] is old:
            await _get(pvesh, "get", "/quiet")
    await _get(pvesh, "get", "/quiet")
    with pytest.raises(Problem, match="no answer within"):
        await task


@pytest.mark.gen_test
async def test_after_an_upgrade_of_the_node(odd: Sshd, make_warm: MakeWarm, tmp_path: Path) -> None:
    pvesh = make_warm(odd.cluster_settings())
    first, old = (await _get(pvesh, "get", "/pid")).stdout, pvesh._workers[0]
    os.utime(tmp_path / "perl" / "PVE" / "SSHInfo.pm", (1, 1))
    while not pvesh.workers or old in pvesh._workers:  # the command answers meanwhile, with a number of its own
        assert (await _get(pvesh, "get", "/args")).stdout == "get\n/args\n"
        await asyncio.sleep(0.05)
    assert pvesh._pause == 0.0, "no fault of the worker's"
    assert (await _get(pvesh, "get", "/pid")).stdout != first


@pytest.mark.gen_test
async def test_close_ends_requests_and_processes(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    await _get(pvesh, "get", "/quiet")
    tasks = [asyncio.create_task(_get(pvesh, "get", "/sleep")) for _ in range(3 * warm.AT_ONCE)]
    while pvesh._workers[0].busy < warm.AT_ONCE:
        await asyncio.sleep(0.01)
    pvesh.close()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {getattr(problem, "code", problem) for problem in ended} == {problems.SHUTTING_DOWN}
    while odd.commands():
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_closed_while_it_starts(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings())
    task = asyncio.create_task(_get(pvesh, "get", "/quiet"))
    while pvesh._start is None:
        await asyncio.sleep(0)
    pvesh.close()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.gen_test
async def test_off(odd: Sshd, make_warm: MakeWarm) -> None:
    pvesh = make_warm(odd.cluster_settings(), 0)
    await _get(pvesh, "get", "/quiet")
    assert pvesh._start is None


@pytest.mark.gen_test
async def test_a_simulated_node_without_the_modules(node: SimulatedCluster, make_warm: MakeWarm) -> None:
    node.options.warm = False
    pvesh = make_warm(_settings(node))
    assert (await _get(pvesh, *VERSION)).exit == 0
    assert pvesh.workers == 0


@pytest.mark.gen_test
async def test_signatures(settings: ClusterSettings, node: SimulatedCluster, make_warm: MakeWarm) -> None:
    pvesh = make_warm(settings)
    cookie = await pvesh.sign("false", ["cookie", "low@pve"], timeout=10.0)
    assert node.tickets.cookie_user(cookie.stdout) == "low@pve"
    for port in (None, 5901):
        what = ["ticket", "low@pve", "/vms/100", *([] if port is None else [str(port)])]
        ticket = (await pvesh.sign("false", what, timeout=10.0)).stdout
        assert node.tickets.vnc_holds(ticket, "low@pve", "/vms/100", port)
    assert pvesh.workers == 1
    assert (await make_warm(settings, 0).sign("echo signed", ["cookie", "x@pve"], timeout=10.0)).exit in (0, 127)
