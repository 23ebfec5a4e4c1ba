"""warm.pl by itself: its protocol, its children, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cyberlab.proxmox.netstrings import Netstrings, pack, unpack
from cyberlab.proxmox.warm import SOURCE, warm_command
from tests import patience
from tests.leaks import runs
from tests.proxmox.oddities import write_modules

DEADLINE = patience.SECONDS


class _Perl:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._frames = Netstrings(32 << 20)
        self._answers: list[list[bytes]] = []

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def ask(self, number: bytes, *words: bytes, seconds: bytes = b"10") -> None:
        self.write(pack(pack(number, seconds, b"pvesh", *words)))

    async def answer(self) -> list[bytes]:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while not self._answers:
                data = await self.process.stdout.read(65536)
                assert data, "ended"
                self._answers += [unpack(frame) for frame in self._frames.feed(data)]
        return self._answers.pop(0)

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def _perl(modules: Path, most: int = 8, life: int = 60) -> AsyncIterator[_Perl]:
    pipe = subprocess.PIPE
    argv = ["/usr/bin/perl", "-e", SOURCE.read_text(), str(most), str(life)]
    environment = {"PERL5LIB": str(modules), "PATH": "/usr/bin:/bin"}
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    try:
        yield _Perl(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.communicate(), DEADLINE)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    return write_modules(tmp_path)


@pytest.mark.gen_test
async def test_what_modules_print_while_they_load_is_not_an_answer(modules: Path) -> None:
    async with _perl(modules) as perl:
        assert await perl.answer() == [b"ready"]


@pytest.mark.gen_test
async def test_several_at_a_time_and_answers_as_they_come(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        perl.ask(b"slow", b"get", b"/sleep", seconds=b"60")
        for number in range(20):
            perl.ask(b"%d" % number, b"get", b"/args", b"%d" % number)
        found = {answer[0]: answer[3] for answer in [await perl.answer() for _ in range(20)]}
        assert found == {b"%d" % number: b"get\n/args\n%d\n" % number for number in range(20)}
        (slow,) = perl.children()
        os.kill(slow, signal.SIGKILL)
        assert (await perl.answer())[:2] == [b"slow", b"signal"]


@pytest.mark.gen_test
async def test_what_takes_too_long_is_ended(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        perl.ask(b"1", b"get", b"/sleep", seconds=b"2")
        assert await perl.answer() == [b"1", b"late", b"0", b"asleep\n", b""]


@pytest.mark.gen_test
async def test_byte_by_byte(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        for byte in pack(pack(b"1", b"10", b"pvesh", b"get", b"/args", bytes(range(1, 256)), b"")):
            perl.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await perl.answer())[3] == b"get\n/args\n" + bytes(range(1, 256)) + b"\n\n"


@pytest.mark.gen_test
async def test_what_a_child_finds(modules: Path) -> None:
    """As after a start: nothing of its parent's is open, signals do what they do, numbers are its own."""
    async with _perl(modules) as perl:
        await perl.answer()
        found = {}
        for path in (b"/files", b"/pipe", b"/stdin", b"/name"):
            perl.ask(path, b"get", path)
            found[path] = (await perl.answer())[3]
        assert found == {
            b"/files": b"0 1 2\n",
            b"/pipe": b"DEFAULT DEFAULT\n",
            b"/stdin": b"nothing\n",
            b"/name": b"/usr/bin/pvesh\n",
        }
        drawn = set()
        for _ in range(4):
            perl.ask(b"r", b"get", b"/random")
            drawn.add((await perl.answer())[3])
        assert len(drawn) == 4


@pytest.mark.parametrize(
    ("path", "how", "code", "out"),
    [
        (b"/signal", b"signal", b"0", b"half"),
        (b"/big", b"big", b"0", b""),
        (b"/quiet", b"done", b"0", b""),
        (b"/keeps", b"done", b"0", b"begun\n"),
        (b"/nowhere", b"done", b"", b""),
    ],
)
@pytest.mark.gen_test
async def test_how_a_child_may_end(modules: Path, path: bytes, how: bytes, code: bytes, out: bytes) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        perl.ask(b"1", b"get", path)
        answer = await perl.answer()
        assert (answer[1], answer[3]) == (how, out)
        assert not code or answer[2] == code
        assert path != b"/nowhere" or answer[2] != b"0"
        perl.ask(b"2", b"get", b"/args")
        assert (await perl.answer())[:2] == [b"2", b"done"]
        for kept in _sleepers(modules):
            os.kill(kept, signal.SIGKILL)


def _sleepers(modules: Path) -> list[int]:
    """Processes that a child has left behind, which have no parent any more."""
    found = []
    mark = f"PERL5LIB={modules}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if command == b"sleep\x0060\x00" and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"5:12345;",
        b"99999999:",
        b"03:abc,",
        b"1234567890",
        b"2:1:,",
        pack(pack(b"1", b"10")),
        pack(pack(b"1", b"10", b"system", b"id")),
    ],
)
@pytest.mark.gen_test
async def test_nonsense_ends_it(modules: Path, nonsense: bytes) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        perl.ask(b"1", b"get", b"/sleep")
        while not perl.children():
            await asyncio.sleep(0.01)
        perl.write(nonsense)
        assert await perl.ended() == 2


@pytest.mark.gen_test
async def test_children_end_with_its_stdin(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        for _ in range(3):
            perl.ask(b"1", b"get", b"/sleep")
        while len(children := perl.children()) < 3:
            await asyncio.sleep(0.01)
        assert perl.process.stdin is not None
        perl.process.stdin.close()
        assert await perl.ended() == 0
        while any(runs(child) for child in children):
            await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_no_more_at_once_than_allowed(modules: Path) -> None:
    async with _perl(modules, most=2) as perl:
        await perl.answer()
        for number in (b"1", b"2"):
            perl.ask(number, b"get", b"/sleep", seconds=b"60")
        perl.ask(b"3", b"get", b"/args")
        while len(children := perl.children()) < 2:
            await asyncio.sleep(0.01)
        os.kill(children[0], signal.SIGKILL)
        answers = [await perl.answer() for _ in range(2)]
        assert [answer[:2] for answer in answers] == [[b"1", b"signal"], [b"3", b"done"]], "only when there was room"


@pytest.mark.gen_test
async def test_it_ends_when_nothing_is_asked(modules: Path) -> None:
    async with _perl(modules, life=0) as perl:
        await perl.answer()
        assert await perl.ended() == 0


@pytest.mark.gen_test
async def test_an_upgrade_of_the_node_ends_it(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        perl.ask(b"1", b"get", b"/sleep", seconds=b"60")
        while not (children := perl.children()):
            await asyncio.sleep(0.01)
        os.utime(modules / "PVE" / "API2.pm", (1, 1))
        how = b"done"
        while how == b"done":  # it looks once a second
            perl.ask(b"2", b"get", b"/quiet")
            number, how, *_ = await perl.answer()
        assert (number, how) == (b"2", b"refused")
        os.kill(children[0], signal.SIGKILL)
        assert (await perl.answer())[:2] == [b"1", b"signal"], "what it has begun it ends"
        assert await perl.ended() == 0


@pytest.mark.parametrize("module", ["API2", "CLI/pvesh"])
@pytest.mark.gen_test
async def test_a_node_without_the_modules(modules: Path, module: str) -> None:
    (modules / "PVE" / f"{module}.pm").unlink()
    async with _perl(modules) as perl:
        assert await perl.ended() != 0
        assert perl.process.stderr is not None
        assert f"Can't locate PVE/{module}.pm".encode() in await perl.process.stderr.read()


@pytest.mark.gen_test
async def test_a_reader_who_has_gone_is_its_end(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        transport = perl.process._transport  # type: ignore[attr-defined]
        transport.get_pipe_transport(1).close()
        perl.ask(b"1", b"get", b"/both")
        assert await perl.ended() == 0


@pytest.mark.gen_test
async def test_what_it_signs(modules: Path) -> None:
    async with _perl(modules) as perl:
        await perl.answer()
        for words, signed in (
            ((b"cookie", b"low@pve"), b"PVE:low@pve"),
            ((b"ticket", b"low@pve", b"/vms/100", b"5900"), b"PVEVNC:low@pve:/vms/100:5900"),
            ((b"ticket", b"low@pve", b"/vms/100"), b"PVEVNC:low@pve:/vms/100"),
        ):
            perl.write(pack(pack(b"1", b"10", *words)))
            assert await perl.answer() == [b"1", b"done", b"0", signed, b""]


def test_the_command_line_holds_the_program_without_its_comments() -> None:
    command = warm_command()
    assert "run_cli_handler" in command
    assert "# " not in command.split("netstring(join", 1)[0].split("my ($most", 1)[0]
    assert len(command) < 16_000
