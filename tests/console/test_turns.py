"""One console of a machine is opened at a time, and whoever leaves while it opens leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cyberlab import problems
from cyberlab.console import frames, rfb
from cyberlab.console.session import Limits
from tests.console.conftest import Bench, console_bench
from tests.console.ends import SERVER_INIT, ProxmoxEnd, ProxmoxServer, listening
from tests.console.test_session import events, first_then, stay


def held(gate: asyncio.Event) -> Callable[[ProxmoxEnd], Awaitable[None]]:
    """Upgrade, then wait before letting anybody in."""

    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await gate.wait()
        await stay_after(end)

    return script


async def stay_after(end: ProxmoxEnd) -> None:
    await end.authenticate()
    end.write(SERVER_INIT)
    await end.reader.read()


async def silent(end: ProxmoxEnd) -> None:
    """A port that was used already: Proxmox keeps the connection and says nothing."""
    assert (await end.reader.readuntil(b"\r\n\r\n"))[:4] == b"GET "
    assert await end.reader.read() == b""


@pytest.mark.gen_test
async def test_a_second_console_waits_until_the_first_has_authenticated() -> None:
    """A ticket sets the VM's VNC password: a second one before that voids the first."""
    gate = asyncio.Event()
    async with console_bench(first_then(held(gate), stay)) as bench:
        first, second = await bench.browser(), await bench.browser(events=True)
        while bench.proxmox.connections == 0 or len(bench.gateway.registry) < 2:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert bench.source.targets == 1, "not even a ticket"
        gate.set()
        assert await first.handshake() == SERVER_INIT
        for _ in range(4):
            await second.frame()
        assert await second.handshake() == SERVER_INIT
        assert bench.source.targets == 2
        assert bench.gateway._turns == {}


@pytest.mark.gen_test
async def test_a_machine_that_hangs_holds_up_no_other() -> None:
    async with console_bench(silent) as bench, listening(stay) as another:
        hanging = await bench.browser()
        await bench.source.asked.wait()
        bench.other(make=another.target)
        assert await (await bench.browser()).handshake() == SERVER_INIT
        hanging.close()


@pytest.mark.gen_test
async def test_who_waited_behind_a_failure_has_its_turn() -> None:
    async with console_bench(first_then(silent, stay), limits=Limits(handshake=0.5)) as bench:
        first = await bench.browser()
        await bench.source.asked.wait()
        second = await bench.browser()
        assert await first.closed() == (4000, problems.UPSTREAM_SILENT)
        assert await second.handshake() == SERVER_INIT


# --- leaving, and being sent away, in every step of the opening


async def after_version(end: ProxmoxEnd) -> None:
    await end.upgrade()
    end.write(rfb.VERSION)
    assert await end.read(12) == rfb.VERSION
    assert await end.reader.read() == b""


async def until_end(end: ProxmoxEnd) -> None:
    await end.open()
    assert await end.reader.read() == b""


async def at_row(bench: Bench) -> None:
    bench.rows.opened_gate = asyncio.Event()
    await bench.browser()
    await bench.rows.beginning.wait()


async def at_ticket(bench: Bench) -> None:
    bench.source.gate = asyncio.Event()
    await bench.browser()
    await bench.source.asked.wait()


async def at_turn(bench: Bench) -> None:
    async with bench.gateway.turn(bench.request.vm_id):
        await bench.browser()
        while bench.gateway._waiting != {3: 2}:
            await asyncio.sleep(0)


async def at_upstream(bench: Bench) -> None:
    await bench.browser()
    while not bench.proxmox.connections:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)


async def at_greeting(bench: Bench) -> None:
    browser = await bench.browser()
    assert await browser.payload() == rfb.VERSION


async def at_explanation(bench: Bench) -> None:
    bench.source.failure = problems.Problem(problems.UPSTREAM_SILENT)
    bench.source.explain_gate = asyncio.Event()
    await bench.browser()
    while not bench.source.explained:
        await asyncio.sleep(0)


STEPS = {
    "row": (at_row, stay),
    "ticket": (at_ticket, stay),
    "turn": (at_turn, stay),
    "upgrade": (at_upstream, silent),
    "authentication": (at_upstream, after_version),
    "greeting": (at_greeting, until_end),
    "explanation": (at_explanation, stay),
}


async def row_comes_late(bench: Bench) -> None:
    """The database was at it already when the console ended: the row must not stay open."""
    if bench.rows.opened_gate is not None:
        while len(bench.gateway.registry):
            await asyncio.sleep(0)
        bench.rows.opened_gate.set()


async def all_is_gone(bench: Bench, servers: list[ProxmoxServer]) -> None:
    while bench.gateway._tasks or len(bench.gateway.registry):
        await asyncio.sleep(0)
    assert bench.gateway._turns == bench.gateway._waiting == {}
    for server in servers:
        while server._tasks:
            await asyncio.sleep(0)
        assert not server.errors


@pytest.mark.parametrize(("reach", "script"), STEPS.values(), ids=STEPS)
@pytest.mark.gen_test
async def test_a_browser_that_leaves_ends_everything(
    reach: Callable[[Bench], Awaitable[None]], script: Callable[[ProxmoxEnd], Awaitable[None]]
) -> None:
    async with console_bench(script) as bench:
        await reach(bench)
        bench.browsers[0].close()
        await row_comes_late(bench)
        await all_is_gone(bench, [bench.proxmox])
        assert [row.get("reason") for row in bench.rows.rows] == ["closed"]


@pytest.mark.parametrize(("reach", "script"), STEPS.values(), ids=STEPS)
@pytest.mark.gen_test
async def test_whoever_is_sent_away_while_opening_learns_why(
    reach: Callable[[Bench], Awaitable[None]], script: Callable[[ProxmoxEnd], Awaitable[None]]
) -> None:
    async with console_bench(script) as bench:
        await reach(bench)
        assert bench.gateway.registry.end(problems.SIGNED_OUT, lambda request: request.login_session_id == 7) == 1
        bench.gateway.registry.end(problems.UNASSIGNED, lambda request: True)  # the first reason counts
        await row_comes_late(bench)
        assert await bench.browsers[0].closed() == (4000, problems.SIGNED_OUT)
        await all_is_gone(bench, [bench.proxmox])
        assert [row.get("reason") for row in bench.rows.rows] == [problems.SIGNED_OUT]


@pytest.mark.gen_test
async def test_a_browser_that_breaks_the_rules_while_opening_is_in_the_log() -> None:
    async with console_bench(silent) as bench:
        await at_upstream(bench)
        bench.browsers[0].writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await bench.browsers[0].closed() == (1002, problems.CLIENT_PROTOCOL)
        bench.browsers[0].close()
        await all_is_gone(bench, [bench.proxmox])
        assert await bench.rows.reason() == problems.CLIENT_PROTOCOL


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (frames.client_frame(frames.CLOSE, b"\x0f\xa1"), 4001, "closed"),
        (frames.client_frame(frames.TEXT, b"hello"), 1003, problems.CLIENT_PROTOCOL),
    ],
    ids=["close", "broken rule"],
)
@pytest.mark.gen_test
async def test_a_browser_that_ends_with_the_last_byte_of_the_handshake(sent: bytes, code: int, reason: str) -> None:
    """Nothing may follow our close frame, though the picture is waiting."""
    async with console_bench(until_end) as bench:
        browser = await bench.browser()
        assert await browser.payload() == rfb.VERSION
        browser.send(rfb.VERSION)
        assert await browser.payload() == b"\x01\x01"
        ready = [frames.client_frame(frames.BINARY, byte) for byte in (b"\x01", b"\x00")]
        browser.writer.write(b"".join(ready) + sent)
        while (frame := await browser.frame())[0] != frames.CLOSE:
            assert frame == (frames.BINARY, bytes(4))
        assert int.from_bytes(frame[1][:2], "big") == code
        browser.send(frame[1], frames.CLOSE)
        assert await browser.reader.read() == b""
        browser.close()
        await all_is_gone(bench, [bench.proxmox])
        assert await bench.rows.reason() == reason


@pytest.mark.parametrize("later", [-1e-5, 1e-5])
@pytest.mark.gen_test
async def test_a_reason_that_comes_with_the_deadline_is_not_lost(later: float, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[asyncio.Timeout] = []
    real = asyncio.timeout
    monkeypatch.setattr(asyncio, "timeout", lambda delay: deadlines.append(real(delay)) or deadlines[-1])
    async with console_bench(silent, limits=Limits(handshake=0.4)) as bench:
        await at_upstream(bench)
        when = deadlines[-1].when()
        assert when is not None
        asyncio.get_running_loop().call_at(
            when + later, bench.gateway.registry.end, problems.SIGNED_OUT, lambda request: True
        )
        assert (await bench.browsers[0].closed())[1] == problems.SIGNED_OUT
        await all_is_gone(bench, [bench.proxmox])


@pytest.mark.gen_test
async def test_who_loses_the_right_in_line_gets_no_ticket() -> None:
    """It is listed before it stands in line, so whatever takes the right away finds it there."""
    async with console_bench(stay) as bench:
        bench.source.gate = asyncio.Event()  # the line before the node
        browser = await bench.browser(events=True)
        await bench.source.asked.wait()
        assert bench.gateway.registry.end(problems.UNASSIGNED, lambda request: request.user_id == 1) == 1
        told = await events(browser)
        assert [event.get("code") for event in told if event.get("event") == "end"] == [problems.UNASSIGNED]
        bench.source.gate.set()
        assert await bench.rows.reason() == problems.UNASSIGNED
        assert bench.proxmox.connections == 0


@pytest.mark.gen_test
async def test_who_loses_the_right_in_the_machines_turn_does_not_get_it() -> None:
    gate = asyncio.Event()
    async with console_bench(first_then(held(gate), stay)) as bench:
        first = await bench.browser()
        await bench.source.asked.wait()
        second = await bench.browser(events=True)
        while len(bench.gateway.registry) < 2:
            await asyncio.sleep(0)
        list(bench.gateway.registry)[1].close(problems.UNASSIGNED)
        told = await events(second)
        assert [event.get("code") for event in told if event.get("event") == "end"] == [problems.UNASSIGNED]
        gate.set()
        assert await first.handshake() == SERVER_INIT
        assert bench.source.targets == 1
