"""The portal's end of a terminal's websocket, scripted: the simulator's shell behind termproxy's own reading."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from cyberlab.auth.access import Action
from cyberlab.handlers.base import requires
from cyberlab.simulator.shell import Shell
from cyberlab.simulator.termproxy import Reader, Resize
from tests import patience
from tests.browser.console import ScriptedConsole, ScriptedSocket


@dataclass
class ScriptedTerminals(ScriptedConsole):
    """What the page has sent to any of them."""

    messages: list[bytes] = field(default_factory=list)
    typed: bytes = b""
    sizes: list[Resize] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    quiet: bool = False  # answers nothing

    async def has(self, typed: bytes) -> None:
        """Wait until this has been typed, nothing else."""
        async with asyncio.timeout(patience.SECONDS):
            while self.typed != typed:
                assert typed.startswith(self.typed), (self.typed, typed)
                self.changed.clear()
                await self.changed.wait()

    async def sized(self, count: int) -> Resize:
        """The size, once so many have come."""
        async with asyncio.timeout(patience.SECONDS):
            while len(self.sizes) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.sizes[-1]


@requires(Action.OPEN_CONSOLE, on_vm=True)
class ScriptedTerminal(ScriptedSocket):
    """Speaks as the gateway does: events as text, the terminal's bytes as binary."""

    console: ScriptedTerminals

    def greeted(self) -> None:
        self.reader = Reader()
        self.shell = Shell("kali", self.draw)
        self.shell.attach()

    def draw(self, data: bytes) -> None:
        if not self.console.quiet:
            self.send(data)

    def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        self.console.messages.append(message)
        for event in self.reader.feed(message):
            if isinstance(event, Resize):
                self.console.sizes.append(event)
                self.shell.resize(event.columns, event.rows)
            else:
                self.console.typed += event
                self.shell.type(event)
        self.console.changed.set()
