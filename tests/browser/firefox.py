"""Firefox without a driver: it speaks WebDriver BiDi itself, JSON on a websocket.

https://www.w3.org/TR/webdriver-bidi/
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

START, ANSWER, END = 60.0, 30.0, 15.0  # seconds, on a machine that has much to do
PREFERENCES = {
    "browser.startup.page": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,  # and nobody outside is asked for anything
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}
ENTER = "\ue007"  # WebDriver's name for the key
OWN = "Error: Permission denied to access property"  # Firefox 140 says so now and then of the page it begins with


class Firefox:
    """One window; ``complaints`` has what pages logged as errors, exceptions that nobody caught among them."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._window = ""

    async def listen(self) -> None:
        """Take what comes, until the connection ends."""
        while (message := await self._socket.read_message()) is not None:
            news = json.loads(message)
            if news.get("method") == "log.entryAdded":
                entry = news["params"]
                if entry["level"] == "error" and not (entry["text"].startswith(OWN) and "stackTrace" not in entry):
                    self.complaints.append(entry["text"])
            elif (waiting := self._waiting.pop(news.get("id"), None)) and not waiting.done():
                if news["type"] == "success":
                    waiting.set_result(news["result"])
                else:
                    waiting.set_exception(AssertionError(f"{news['error']}: {news['message']}"))

    async def command(self, method: str, **parameters: Any) -> Any:
        """Ask, and wait for the answer; raise AssertionError when Firefox refuses."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(ANSWER):
            return await answer

    async def begin(self, script: str) -> None:
        """Take the first window; run ``script`` (a function) in every page before its own."""
        await self.command("session.new", capabilities={})
        await self.command("session.subscribe", events=["log.entryAdded"])
        await self.command("script.addPreloadScript", functionDeclaration=script)
        self._window = (await self.command("browsingContext.getTree"))["contexts"][0]["context"]

    async def goto(self, address: str) -> None:
        """Load a page, with all that belongs to it."""
        await self.command("browsingContext.navigate", context=self._window, url=address, wait="complete")

    async def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; it must be JSON."""
        answer = await self.command(
            "script.evaluate", expression=f"JSON.stringify({expression})", target={"context": self._window},
            awaitPromise=True,
        )  # fmt: skip
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"].get("value", "null"))

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true in the page, which may be another one by then."""
        try:
            async with asyncio.timeout(ANSWER):
                while True:
                    with suppress(AssertionError):  # between two pages
                        if await self.run(f"!!({condition})"):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            page = await self.run("[location.href, document.body.innerText]")
            raise AssertionError(f"never came true: {condition}; {page}; {self.complaints}") from None

    async def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of the first element."""
        found = await self.command(
            "browsingContext.locateNodes", context=self._window, locator={"type": "css", "value": selector},
            maxNodeCount=1,
        )  # fmt: skip
        origin = {"type": "element", "element": {"sharedId": found["nodes"][0]["sharedId"]}}
        move = {"type": "pointerMove", "x": 0, "y": 0, "origin": origin}
        button = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        await self._perform({"type": "pointer", "id": "mouse", "actions": [move, *button]})

    async def type(self, text: str) -> None:
        """Press and release a key for each character."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        await self._perform({"type": "key", "id": "keyboard", "actions": keys})

    async def _perform(self, source: dict[str, Any]) -> None:
        await self.command("input.performActions", context=self._window, actions=[source])


@asynccontextmanager
async def firefox(program: str, profile: Path, script: str) -> AsyncIterator[Firefox]:
    """Start Firefox with an empty ``profile``, and end it; ``script``: see ``Firefox.begin``."""
    profile.mkdir()
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"HOME": str(profile)},
    )  # fmt: skip
    tasks: list[asyncio.Task[Any]] = []
    socket: WebSocketClientConnection | None = None
    try:
        assert process.stderr is not None
        async with asyncio.timeout(START):
            said = b""
            while not (found := re.search(rb"BiDi listening on (ws://\S+)", said)):
                line = await process.stderr.readline()
                assert line, f"Firefox ended: {said.decode(errors='replace')}"
                said += line
        tasks.append(asyncio.create_task(process.stderr.read()))  # so that it never waits for a reader
        socket = await websocket_connect(found[1].decode() + "/session", max_message_size=2**24)
        window = Firefox(socket)
        tasks.append(asyncio.create_task(window.listen()))
        await window.begin(script)
        yield window
        await window.command("browser.close")
        async with asyncio.timeout(END):
            await process.wait()
    finally:
        if socket is not None:
            socket.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
