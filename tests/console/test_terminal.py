"""A terminal from the ticket to its end, over real sockets: what differs from a picture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console import frames, terminal, termproxy
from cyberlab.console.session import Limits
from cyberlab.problems import Problem
from tests.console.conftest import Bench, console_bench
from tests.console.ends import BrowserEnd, ProxmoxEnd
from tests.console.test_session import events
from tests.console.test_upkeep import look

USER, TICKET = "root@pam", "PVEVNC:6B02E096::KUV34Snzh05+/="
LINE = f"{USER}:{TICKET}\n".encode()
Script = Callable[[ProxmoxEnd], Awaitable[None]]


async def admit(end: ProxmoxEnd, answer: bytes = b"OK") -> None:
    """The upgrade, and the answer to the right line."""
    await end.upgrade()
    assert await end.read(len(LINE)) == LINE
    end.write(answer)


async def echo(end: ProxmoxEnd) -> None:
    """Send back what is typed, as messages that came whole."""
    await admit(end)
    while True:
        end.write(await end.read(1))
        await end.writer.drain()


async def stay(end: ProxmoxEnd) -> None:
    await admit(end)
    await end.reader.read()


@asynccontextmanager
async def terminal_bench(script: Script, **options: Any) -> AsyncIterator[Bench]:
    async with console_bench(script, terminal_user=USER, terminal_ticket=TICKET, vnc_password="", **options) as bench:
        yield bench


async def ready(bench: Bench) -> BrowserEnd:
    """A browser that has been told to begin."""
    browser = await bench.browser(events=True)
    while b'"ready"' not in await browser.payload(frames.TEXT):
        pass
    return browser


@pytest.mark.usefixtures("transport")
@pytest.mark.gen_test
async def test_a_keystroke_reaches_the_container_and_its_answer_the_browser() -> None:
    async with terminal_bench(echo) as bench:
        browser = await ready(bench)
        browser.send(b"0:3:")
        browser.send(b"ls\r")
        typed = b""
        while len(typed) < 7:
            typed += await browser.payload()
        assert typed == b"0:3:ls\r"
        assert len(bench.gateway.registry) == 1
        browser.close()
        await bench.rows.ended.wait()
    (row,) = bench.rows.rows
    assert (row["to_upstream"], row["reason"]) == (7, "closed")


@pytest.mark.gen_test
async def test_the_page_is_told_every_step() -> None:
    async with terminal_bench(stay) as bench:
        browser = await bench.browser(events=True)
        told = b"".join([await browser.payload(frames.TEXT) for _ in range(4)]).decode()
        for words in (
            '"step": "ticket"',
            "Connecting to the machine's terminal",
            "Waiting for the terminal",
            '"ready"',
        ):
            assert words in told
        assert TICKET not in told


async def coalesced(end: ProxmoxEnd) -> None:
    await admit(end, b"OKroot@box:~# ")


async def split(end: ProxmoxEnd) -> None:
    await admit(end, b"O")
    end.write(b"")
    end.write(b"Kroot@box")
    end.write(b":~# ")


async def cut_in_a_frame(end: ProxmoxEnd) -> None:
    await admit(end, b"")
    whole = frames.server_frame(frames.BINARY, b"OKroot@box:~# ")
    end.writer.write(whole[:5])
    await end.writer.drain()
    await asyncio.sleep(0.05)
    end.writer.write(whole[5:])


@pytest.mark.parametrize("script", [coalesced, split, cut_in_a_frame])
@pytest.mark.gen_test
async def test_output_behind_the_ok_is_not_lost(script: Script) -> None:
    async def whole(end: ProxmoxEnd) -> None:
        await script(end)
        await end.reader.read()

    async with terminal_bench(whole) as bench:
        browser = await ready(bench)
        drawn = b""
        while len(drawn) < 12:
            drawn += await browser.payload()
        assert drawn == b"root@box:~# "


@pytest.mark.gen_test
async def test_a_quiet_terminal_is_there_before_its_first_byte() -> None:
    async with terminal_bench(stay) as bench:
        await ready(bench)
        assert next(iter(bench.gateway.registry)).open


# --- failing


async def closing(end: ProxmoxEnd) -> None:
    await end.upgrade()
    await end.read(len(LINE))


async def babbling(end: ProxmoxEnd) -> None:
    await admit(end, b"NO")


async def silent(end: ProxmoxEnd) -> None:
    await end.upgrade()
    await end.reader.read()


@pytest.mark.parametrize("script", [closing, babbling, silent])
@pytest.mark.parametrize("better", [None, Problem(problems.VM_STOPPED)], ids=["no idea", "stopped"])
@pytest.mark.gen_test
async def test_a_refusal_without_words(monkeypatch: pytest.MonkeyPatch, script: Script, better: Problem | None) -> None:
    monkeypatch.setattr(terminal, "_ANSWER_SECONDS", 0.2)
    async with terminal_bench(script) as bench:
        bench.source.explanation = better
        told = await events(await bench.browser(events=True))
        code = better.code if better else problems.TERMINAL_REFUSED
        assert (told[-2]["code"], told[-2]["retry"]) == (code, better is None)
        assert bench.source.explained == 1
        assert bench.proxmox.connections == 1
        assert await bench.rows.reason() == code


@pytest.mark.parametrize(("later", "retry"), [(0.0, False), (6.0, True)], ids=["at once", "after a while"])
@pytest.mark.gen_test
async def test_a_container_that_is_off_is_waited_for_only_if_it_has_run(later: float, retry: bool) -> None:
    """termproxy lets us in before it looks for the container."""
    end_now = asyncio.Event()

    async def script(end: ProxmoxEnd) -> None:
        await admit(end)
        await end_now.wait()
        end.write(b"lxc-console: 300 is not running\r\n")

    async with terminal_bench(script) as bench:
        bench.source.explanation = Problem(problems.VM_STOPPED)
        browser = await ready(bench)
        session: Any = next(iter(bench.gateway.registry)).close.__self__  # type: ignore[attr-defined]
        session._open_at -= later
        end_now.set()
        told = await events(browser)
        assert (told[-2]["code"], told[-2]["retry"]) == (problems.VM_STOPPED, retry)


@pytest.mark.parametrize("sent", [b"whoami", b"0:99999:", b"1:80:9999:", b"\x04\x01\0\0\0\0\0a"])
@pytest.mark.gen_test
async def test_what_is_no_message_ends_the_terminal(sent: bytes) -> None:
    async with terminal_bench(stay) as bench:
        browser = await ready(bench)
        browser.send(sent)
        assert (await events(browser))[-2]["code"] == problems.CLIENT_PROTOCOL
        assert await bench.rows.reason() == problems.CLIENT_PROTOCOL


# --- open


@pytest.mark.gen_test
async def test_a_view_only_terminal_passes_no_input_whatever_the_page_does() -> None:
    async with terminal_bench(echo, view_only=True) as bench:
        browser = await ready(bench)
        browser.send(b"0:3:ls\r1:80:24:20:1:a")
        browser.send(b"2")
        assert await browser.payload() == b"2"
        assert await browser.payload() == b"2"
        browser.close()
        await bench.rows.ended.wait()
    assert bench.rows.rows[0]["to_upstream"] == 2


@pytest.mark.gen_test
async def test_a_quiet_terminal_gets_a_sign_of_life_every_half_minute() -> None:
    async with terminal_bench(echo, limits=Limits(ping=10_000.0)) as bench:
        browser = await ready(bench)
        look(bench, 10)
        browser.send(b"0:")  # nothing of ours may stand in a message
        while not (session := next(iter(bench.gateway.registry)).close.__self__)._relay._messages._buffer:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        look(bench, 30)
        browser.send(b"0:")
        assert await browser.payload() + await _rest(browser, 4) == b"0:0:", "nothing came before it"
        look(bench, 30)
        while True:
            opcode, payload = await browser.frame()
            if opcode == frames.BINARY:
                break
        assert payload == termproxy.PING
        assert session._relay.bytes_to_upstream == 4


async def _rest(browser: BrowserEnd, size: int) -> bytes:
    data = b""
    while len(data) < size - 1:
        data += await browser.payload()
    return data


@pytest.mark.gen_test
async def test_an_end_from_outside_has_its_reason() -> None:
    async with terminal_bench(stay) as bench:
        browser = await ready(bench)
        bench.gateway.registry.end(problems.UNASSIGNED, lambda request: True)
        assert (await events(browser))[-2]["code"] == problems.UNASSIGNED
        assert await bench.rows.reason() == problems.UNASSIGNED
