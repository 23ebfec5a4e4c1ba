"""How an open console ends: the reason reaches the page, and the row is completed, whatever happens beside."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cyberlab import problems
from cyberlab.console import frames, session
from cyberlab.console.frames import BINARY, CLOSE, TEXT
from cyberlab.console.session import Limits
from cyberlab.problems import Problem
from tests.console.conftest import Bench, console_bench
from tests.console.ends import SERVER_INIT, BrowserEnd, ProxmoxEnd, Script
from tests.console.test_session import KEY, echo, events, stay


def half_a_frame(other_half: asyncio.Event) -> Script:
    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        picture = frames.server_frame(BINARY, bytes(range(200)))
        end.writer.write(picture[:100])
        await other_half.wait()
        end.writer.write(picture[100:] + frames.server_frame(BINARY, b"the next picture"))
        assert await end.reader.read() == b""

    return script


async def opened(bench: Bench) -> BrowserEnd:
    """A page that understands events and shows the picture."""
    browser = await bench.browser(events=True)
    for _ in range(4):
        await browser.payload(TEXT)
    assert await browser.handshake() == SERVER_INIT
    return browser


REASONS = [
    problems.SIGNED_OUT, problems.LOGIN_EXPIRED, problems.UNASSIGNED, problems.DEACTIVATED, problems.DISCONNECTED,
    problems.SHUTTING_DOWN,
]  # fmt: skip


@pytest.mark.parametrize("code", REASONS)
@pytest.mark.gen_test
async def test_the_registrys_reason_reaches_the_page(code: str) -> None:
    async with console_bench(stay) as bench:
        browser = await opened(bench)
        assert bench.gateway.registry.end(code, lambda request: request.vm_id == 4) == 0
        assert bench.gateway.registry.end(code, lambda request: request.user_id == 1) == 1
        told = await events(browser)
        advice = problems.CATALOGUE[code]
        assert told == [
            {
                "event": "end", "code": code, "title": advice.title, "advice": advice.user,
                "retry": code in problems.PASSING, "request_id": "r1",
            },
            {"closed": (4000, code)},
        ]  # fmt: skip
        assert await browser.reader.read() == b""
        assert await bench.rows.reason() == code


@pytest.mark.gen_test
async def test_in_the_middle_of_a_frame_the_reason_waits_for_its_end() -> None:
    other_half = asyncio.Event()
    async with console_bench(half_a_frame(other_half)) as bench:
        browser = await opened(bench)
        begun = await browser.reader.readexactly(100)
        bench.gateway.registry.end(problems.UNASSIGNED, lambda request: True)
        other_half.set()
        rest = await browser.reader.readexactly(104)
        assert begun + rest == frames.server_frame(BINARY, bytes(range(200)))
        told = await events(browser)
        assert [event.get("code") for event in told] == [problems.UNASSIGNED, None]
        assert told[-1] == {"closed": (4000, problems.UNASSIGNED)}


@pytest.mark.gen_test
async def test_a_frame_that_never_ends_does_not_keep_the_console_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CLOSE_GRACE", 0.02)
    async with console_bench(half_a_frame(asyncio.Event())) as bench:
        browser = await opened(bench)
        await browser.reader.readexactly(100)
        bench.gateway.registry.end(problems.UNASSIGNED, lambda request: True)
        assert await browser.reader.read() == b"", "no frame of ours may stand within another"
        assert await bench.rows.reason() == problems.UNASSIGNED


@pytest.mark.parametrize("how", ["close", "reset", "close frame", "not a frame"])
@pytest.mark.gen_test
async def test_proxmox_ends_the_console(how: str) -> None:
    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        await end.read(8)
        end.write(b"last words")
        if how == "close frame":
            end.writer.write(frames.server_frame(CLOSE, b"\x03\xe8") + frames.server_frame(BINARY, b"after that"))
        elif how == "not a frame":
            end.writer.write(b"\xff\xff\xff\xff")
        await end.writer.drain()
        if how == "reset":
            await end.read(8)  # until the last words have arrived
            end.writer.transport.abort()

    async with console_bench(script) as bench:
        bench.source.explanation = Problem(problems.VM_STOPPED)
        browser = await opened(bench)
        browser.send(KEY)
        assert await browser.payload() == b"last words"
        if how == "reset":
            browser.send(KEY)
        told = await events(browser)
        assert (told[0]["code"], told[0]["retry"]) == (problems.VM_STOPPED, True), "it was open: it may come back"
        assert told[1:] == [{"closed": (4000, problems.VM_STOPPED)}]
        assert await bench.rows.reason() == problems.VM_STOPPED


@pytest.mark.gen_test
async def test_proxmox_goes_away_within_a_frame() -> None:
    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.write(frames.server_frame(BINARY, bytes(200))[:100])

    async with console_bench(script) as bench:
        browser = await opened(bench)
        assert len(await browser.reader.read()) == 100, "and nothing behind it"
        assert await bench.rows.reason() == problems.UPSTREAM_CLOSED


@pytest.mark.parametrize("by", ["close", "reset", "close frame"])
@pytest.mark.gen_test
async def test_the_browser_leaves_and_proxmox_is_let_go(by: str) -> None:
    gone = asyncio.Event()

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        await end.reader.read()
        gone.set()

    async with console_bench(script) as bench:
        browser = await opened(bench)
        if by == "close":
            browser.close()
        elif by == "reset":
            browser.writer.transport.abort()
        else:
            browser.send(b"\x03\xe9", CLOSE)
            assert await browser.payload(CLOSE) == b"\x03\xe9"
        await gone.wait()
        assert await bench.rows.reason() == "closed"
        assert bench.source.explained == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.server_frame(BINARY, b"x"), 1002),
        (frames.client_frame(TEXT, b"x"), 1003),
        (frames.client_frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frames.client_frame(BINARY, b"\x99"), 4000),
    ],
    ids=["not masked", "text", "a bad reason", "no RFB message"],
)
@pytest.mark.gen_test
async def test_a_browser_that_breaks_the_rules_ends_its_console_only(data: bytes, code: int) -> None:
    async with console_bench(echo) as bench:
        good, bad = await bench.open(), await bench.open()
        bad.writer.write(data)
        assert await bad.closed() == (code, problems.CLIENT_PROTOCOL)
        assert await bench.rows.reason() == problems.CLIENT_PROTOCOL
        good.send(KEY)
        assert await good.payload() == KEY


# --- the log


@pytest.mark.gen_test
async def test_a_log_that_fails_does_not_take_the_console_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async with console_bench(echo) as bench:

        async def broken(request: object) -> int:
            raise OSError("no space left on device")

        bench.rows.opened = broken  # type: ignore[method-assign]
        browser = await bench.open()
        browser.send(KEY)
        assert await browser.payload() == KEY
    assert "could not be recorded" in caplog.text


@pytest.mark.gen_test
async def test_a_page_that_is_quicker_than_the_log() -> None:
    """The page of a console that failed answers the close frame while its row is still being completed."""
    async with console_bench(stay) as bench:
        bench.rows.closed_gate = asyncio.Event()
        bench.source.failure = Problem(problems.VM_GONE)
        browser = await bench.browser()
        assert await browser.closed() == (4000, problems.VM_GONE)
        assert await browser.reader.read() == b""
        await bench.rows.ending.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        bench.rows.closed_gate.set()
        assert await bench.rows.reason() == problems.VM_GONE


@pytest.mark.gen_test
async def test_no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with console_bench(stay) as bench:
        (await bench.open()).close()
        await bench.rows.ended.wait()
    assert "console ended reason=closed vm=demo/100 kali user=student" in caplog.text
    assert all(secret not in caplog.text for secret in ("vncticket", "PVEAuthCookie", "E^ZLT_RN"))


@pytest.mark.gen_test
async def test_a_browser_that_has_gone_before_its_console_begins(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with console_bench(stay) as bench:
        (await bench.browser()).writer.transport.abort()
        while bench.gateway._tasks or "console ended" not in caplog.text:
            await asyncio.sleep(0)
        assert all(row.get("reason") == "closed" for row in bench.rows.rows)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# --- shutdown


@pytest.mark.gen_test
async def test_a_shutdown_tells_every_page_and_completes_every_row() -> None:
    async with console_bench(stay) as bench:
        bench.rows.closed_gate = asyncio.Event()
        one = await opened(bench)
        bench.source.gate = asyncio.Event()
        two = await bench.browser()
        while bench.source.targets < 2:
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(bench.gateway.close(5.0))
        told = await events(one)
        assert told[0]["retry"] is True, "the page comes back by itself"
        assert told[-1] == {"closed": (4000, problems.SHUTTING_DOWN)}
        assert await two.closed() == (4000, problems.SHUTTING_DOWN)
        late = await bench.browser()
        assert await late.closed() == (4000, problems.SHUTTING_DOWN)
        assert not closing.done(), "rows are still being completed"
        bench.rows.closed_gate.set()
        await closing
        assert [row.get("reason") for row in bench.rows.rows] == [problems.SHUTTING_DOWN] * 2
        assert not bench.gateway._tasks


@pytest.mark.gen_test
async def test_a_shutdown_does_not_wait_for_ever() -> None:
    async with console_bench(stay, limits=Limits()) as bench:
        browser = await bench.open()
        bench.rows.closed_gate = asyncio.Event()
        await bench.gateway.close(0.05)
        assert not bench.gateway._tasks
        assert await browser.closed() == (4000, problems.SHUTTING_DOWN)
