"""A console from the accepted websocket to its end, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console import frames, rfb, session
from cyberlab.console.registry import Registry
from cyberlab.console.upstream import Target
from cyberlab.problems import Problem
from tests.console.conftest import console_bench
from tests.console.ends import SERVER_INIT, BrowserEnd, ProxmoxEnd

KEY = b"\x04\x01\0\0\0\0\0a"


async def echo(end: ProxmoxEnd) -> None:
    """Open, then send back whatever comes."""
    await end.open()
    while True:
        end.write(await end.read(8))
        await end.writer.drain()


async def stay(end: ProxmoxEnd) -> None:
    """Open, then draw nothing."""
    await end.open()
    await end.reader.read()


def first_then(*scripts: Callable[[ProxmoxEnd], Awaitable[None]]) -> Callable[[ProxmoxEnd], Awaitable[None]]:
    """One script for each connection in turn."""
    left = list(scripts)
    return lambda end: left.pop(0)(end)


async def events(browser: BrowserEnd) -> list[dict[str, Any]]:
    """What the page is told until the close frame."""
    told = []
    while True:
        opcode, payload = await browser.frame()
        if opcode == frames.CLOSE:
            browser.send(payload[:2], frames.CLOSE)
            return [*told, {"closed": (int.from_bytes(payload[:2], "big"), payload[2:].decode())}]
        if opcode == frames.TEXT:
            told.append(json.loads(payload))


# --- opening


@pytest.mark.gen_test
async def test_a_keystroke_reaches_the_machine_and_its_answer_the_browser() -> None:
    async with console_bench(echo) as bench:
        browser = await bench.browser()
        assert await browser.handshake() == SERVER_INIT
        browser.send(KEY)
        assert await browser.payload() == KEY
        assert bench.proxmox.ends[0].client_init == b"\x01", "ClientInit is always shared"
        assert len(bench.gateway.registry) == 1
        browser.close()
        await bench.rows.ended.wait()
    assert bench.rows.rows == [
        {"vm": "demo/100 kali", "to_client": len(SERVER_INIT) + 2 + 10, "to_upstream": 8, "reason": "closed"}
    ]


@pytest.mark.gen_test
async def test_the_page_is_told_every_step_before_the_first_byte_of_rfb() -> None:
    async with console_bench(stay) as bench:
        browser = await bench.browser(events=True)
        told = [await browser.frame() for _ in range(5)]
        steps = [json.loads(payload) for opcode, payload in told[:4] if opcode == frames.TEXT]
        assert [(step["event"], step.get("step")) for step in steps] == [
            ("step", "ticket"), ("step", "dial"), ("step", "handshake"), ("ready", None),
        ]  # fmt: skip
        assert all(step["text"] for step in steps[:3])
        assert told[4] == (frames.BINARY, rfb.VERSION)


@pytest.mark.gen_test
async def test_the_page_is_told_the_place_in_line() -> None:
    async with console_bench(stay) as bench:
        bench.source.places = (3, 1)
        browser = await bench.browser(events=True)
        told = [json.loads((await browser.frame())[1]) for _ in range(4)]
        assert [(event["step"], event["text"]) for event in told[1:]] == [
            ("ticket", "Waiting for the cluster: number 3 in line"),
            ("ticket", "Waiting for the cluster: you are next in line"),
            ("dial", told[3]["text"]),
        ]


@pytest.mark.gen_test
async def test_the_page_is_told_in_its_own_language() -> None:
    def refused() -> Target:
        raise Problem(problems.VM_STOPPED)

    async with console_bench(stay) as bench:
        bench.translate = lambda text: f"<{text}>"
        bench.other(make=refused)
        step, end, _ = await events(await bench.browser(events=True))
        advice = problems.CATALOGUE[problems.VM_STOPPED]
        assert step["text"] == "<Asking the cluster for a ticket>"
        assert (end["title"], end["advice"]) == (f"<{advice.title}>", f"<{advice.user}>")


@pytest.mark.gen_test
async def test_the_browser_gets_no_rfb_before_the_machine_has_let_us_in() -> None:
    let_in = asyncio.Event()

    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await let_in.wait()
        await end.authenticate()
        end.write(SERVER_INIT)
        await end.reader.read()

    async with console_bench(script) as bench:
        browser = await bench.browser()
        browser.send(rfb.VERSION)  # hasty, and kept
        first = asyncio.ensure_future(browser.frame())
        await bench.source.asked.wait()
        await asyncio.sleep(0)
        assert not first.done()
        let_in.set()
        assert await first == (frames.BINARY, rfb.VERSION)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ((b"RFB 003.003\n",), b"\0" + rfb.failure("this console speaks RFB 3.8")),
        ((rfb.VERSION, b"\x02"), b"\0\0\0\1" + rfb.failure("security type None was offered")),
    ],
)
@pytest.mark.gen_test
async def test_a_browser_that_speaks_another_rfb(sent: tuple[bytes, ...], answer: bytes) -> None:
    async with console_bench(stay) as bench:
        browser = await bench.browser()
        for payload in sent:
            await browser.payload()
            browser.send(payload)
        assert await browser.payload() == answer
        assert await browser.closed() == (4000, "client-protocol")
        assert await bench.rows.reason() == "client-protocol"


@pytest.mark.gen_test
async def test_a_browser_that_is_silent_in_the_handshake() -> None:
    async with console_bench(stay, limits=session.Limits(handshake=0.5)) as bench:
        browser = await bench.browser()
        assert await browser.payload() == rfb.VERSION
        assert await browser.closed() == (4000, "client-protocol")


# --- failing


@pytest.mark.parametrize("code", [problems.SSH_REFUSED, problems.VM_STOPPED, problems.NO_FREE_PORT])
@pytest.mark.gen_test
async def test_without_a_ticket_the_page_learns_why(code: str) -> None:
    async with console_bench(stay) as bench:
        bench.source.failure = Problem(code, "detail for the log")
        told = await events(await bench.browser(events=True))
        advice = problems.CATALOGUE[code]
        assert told[1:] == [
            {
                "event": "end", "code": code, "title": advice.title, "advice": advice.user,
                "retry": code in problems.PASSING, "request_id": "r1",
            },
            {"closed": (4000, code)},
        ]  # fmt: skip
        assert (bench.source.targets, bench.source.explained) == (1, 0)
        assert await bench.rows.reason() == code
        assert bench.proxmox.connections == 0


@pytest.mark.parametrize(
    ("better", "code"),
    [(Problem(problems.VM_STOPPED), problems.VM_STOPPED), (None, problems.PVESH_TIMEOUT)],
)
@pytest.mark.gen_test
async def test_the_cluster_is_asked_what_an_unclear_failure_means(better: Problem | None, code: str) -> None:
    async with console_bench(stay) as bench:
        bench.source.failure = Problem(problems.PVESH_TIMEOUT)
        bench.source.explanation = better
        assert await (await bench.browser()).closed() == (4000, code)
        assert bench.source.explained == 1


@pytest.mark.gen_test
async def test_a_cluster_that_does_not_explain_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_EXPLAIN_SECONDS", 0.05)
    async with console_bench(stay) as bench:
        bench.source.failure = Problem(problems.UPSTREAM_SILENT)
        bench.source.explain_gate = asyncio.Event()
        assert await (await bench.browser()).closed() == (4000, problems.UPSTREAM_SILENT)


@pytest.mark.gen_test
async def test_an_error_of_our_own_is_told_as_such() -> None:
    async with console_bench(stay) as bench:
        bench.source.failure = RuntimeError("a bug")  # type: ignore[assignment]
        assert await (await bench.browser()).closed() == (4000, problems.INTERNAL)
        assert await bench.rows.reason() == problems.INTERNAL


async def no_ticket(end: ProxmoxEnd) -> None:
    await end.upgrade("401 No ticket")


async def refused(end: ProxmoxEnd) -> None:
    await end.upgrade()
    await end.authenticate(accept=False)


@pytest.mark.parametrize(
    ("script", "cookies"), [(no_ticket, 1), (refused, 0)], ids=["an old cookie", "another viewer came in between"]
)
@pytest.mark.gen_test
async def test_what_a_second_try_can_mend_is_tried_once_more(
    script: Callable[[ProxmoxEnd], Awaitable[None]], cookies: int
) -> None:
    async with console_bench(first_then(script, stay)) as bench:
        assert await (await bench.browser()).handshake() == SERVER_INIT
        assert (bench.source.targets, bench.source.refused_cookies) == (2, cookies)


@pytest.mark.parametrize(
    ("scripts", "code"),
    [
        ((no_ticket, no_ticket), problems.COOKIE_REFUSED),
        ((refused, refused), problems.VNC_AUTH_FAILED),
        ((no_ticket, refused), problems.VNC_AUTH_FAILED),
        ((lambda end: end.upgrade("401 invalid PVEVNC ticket"),), problems.TICKET_REFUSED),
        ((lambda end: end.upgrade("403 Permission check failed"),), problems.PERMISSION_DENIED),
    ],
)
@pytest.mark.gen_test
async def test_and_no_more_than_once(scripts: tuple[Callable[[ProxmoxEnd], Awaitable[None]], ...], code: str) -> None:
    async with console_bench(first_then(*scripts)) as bench:
        assert await (await bench.browser()).closed() == (4000, code)
        assert bench.proxmox.connections == len(scripts)
        assert bench.source.refused_cookies == scripts.count(no_ticket)
        assert await bench.rows.reason() == code


@pytest.mark.gen_test
async def test_too_many_consoles() -> None:
    async with console_bench(stay, registry=Registry(limit=10, limit_per_user=1)) as bench:
        first = await bench.open()
        assert await (await bench.browser()).closed() == (4000, problems.TOO_MANY_CONSOLES)
        assert len(bench.rows.rows) == 1, "what was not opened is not in the log"
        first.close()
        await bench.rows.ended.wait()
        await bench.open()
