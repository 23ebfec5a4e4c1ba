"""The programs on the simulated node, as root's shell would find them: pvesh, perl, setsid."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cyberlab.simulator.cpu import Cpu
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Outcome, Pvesh
from cyberlab.simulator.tickets import Tickets

MODULES = Path(__file__).with_name("perl")
PERL = "/usr/bin/perl"
MARK = "PVE::CLI::pvesh"
# The one-liners of libpve-access-control that mint tickets without a password; root may read authkey.key.
_SETUP = r"PVE::RPCEnvironment->setup_default_cli_env\(\);"
_USER = r"q\((?P<user>[^()\s@]+@[^()\s@]+)\)"
_COOKIE = re.compile(rf"{_SETUP} print PVE::AccessControl::assemble_ticket\({_USER}\);?\n?")
_VNC = re.compile(
    rf"{_SETUP} print PVE::AccessControl::assemble_vnc_ticket\({_USER}, "
    r"q\((?P<path>/vms/[0-9]+)\)(?:, (?P<port>[0-9]+))?\);?\n?"
)


class Lasting(NamedTuple):
    """A process that stays while its client does."""

    argv: list[str]
    environment: dict[str, str]


class Commands:
    """Runs argument lists; owns what runs detached."""

    def __init__(self, here: str, options: Options, tickets: Tickets, pvesh: Pvesh, cpu: Cpu, socket: Path) -> None:
        """``here``: the node that they run on; ``socket``: where its processes ask it."""
        self._here = here
        self._cpu = cpu
        self._socket = socket
        self._options = options
        self._tickets = tickets
        self._pvesh = pvesh
        self._detached: set[asyncio.Task[Outcome]] = set()

    async def run(self, words: Sequence[str], gone: Callable[[], bool] = lambda: False) -> Outcome:
        """Run a program to its end; ``gone`` tells whether its output still has a reader. Never raises."""
        program, args = (words[0], list(words[1:])) if words else ("", [])
        name = program.removeprefix("/usr/bin/")
        await self._cpu.powered.wait()
        if name == "pvesh":
            return await self._pvesh_run(args, gone)
        if name == "perl":
            await self._cpu.work("perl", self._options.mint_cpu)
            return self._perl(args)
        if name == "setsid" and args[:2] == ["-f", "pvesh"]:
            task = asyncio.create_task(self._pvesh_run(args[2:]), name="detached pvesh")
            self._detached.add(task)
            task.add_done_callback(self._detached.discard)
            return Outcome(0, "", "")
        if name == "hostname":
            return Outcome(0, f"{self._here}\n", "")
        if program == "/usr/sbin/sshd" and args == ["-T"]:
            startups = ":".join(map(str, self._options.max_startups))
            return Outcome(0, f"maxsessions {self._options.max_sessions}\nmaxstartups {startups}\n", "")
        if name == "true":
            return Outcome(0, "", "")
        if name == "date" and args == ["+%s.%N"]:
            now = self._tickets.clock()
            return Outcome(0, f"{now:.9f}\n", "")
        return Outcome(127, "", f"bash: line 1: {program}: command not found\n")

    async def _pvesh_run(self, args: Sequence[str], gone: Callable[[], bool] = lambda: False) -> Outcome:
        """Loading all of PVE::API2 is the most of what a call costs."""
        await self._cpu.work("pvesh", self._options.call_cpu)
        return await self._pvesh.run(args, gone)

    async def run_warm(self, words: Sequence[str], gone: Callable[[], bool]) -> Outcome:
        """What the modules in ``perl/`` ask for: that loading takes its time, or a call without it. Never raises."""
        await self._cpu.powered.wait()
        if words[:1] == ["load"]:
            await self._cpu.work("loading warm pvesh", self._options.warm_load)
            return Outcome(0, "", "")
        await self._cpu.work("warm pvesh", self._options.warm_cpu)
        if words[0] == "cookie":
            return Outcome(0, self._tickets.cookie(words[1]), "")
        if words[0] == "ticket":
            port = int(words[3]) if len(words) > 3 and self._options.hardened else None
            return Outcome(0, self._tickets.vnc_ticket(words[1], words[2], port), "")
        return await self._pvesh.run(words[1:], gone, warm=True)

    def lasting(self, words: Sequence[str]) -> Lasting | None:
        """How a perl program that runs pvesh is run: as a real process, whose modules ask this node."""
        if words[0].removeprefix("/usr/bin/") != "perl" or words[1:2] != ["-e"] or MARK not in "".join(words[2:3]):
            return None
        modules = {"PERL5LIB": str(MODULES)} if self._options.warm else {}
        return Lasting([PERL, *words[1:]], {"PATH": "/usr/bin:/bin", "CYBERLAB_NODE": str(self._socket), **modules})

    def _perl(self, args: Sequence[str]) -> Outcome:
        if len(args) == 3 and args[:2] == ["-MPVE::RPCEnvironment", "-e"]:
            if match := _COOKIE.fullmatch(args[2]):
                return Outcome(0, self._tickets.cookie(match["user"]), "")
            if match := _VNC.fullmatch(args[2]):
                # The third argument is ignored by an access-control from before April 2026.
                port = int(match["port"]) if match["port"] and self._options.hardened else None
                return Outcome(0, self._tickets.vnc_ticket(match["user"], match["path"], port), "")
        return Outcome(127, "", "bash: line 1: perl: command not found\n")

    async def settle(self) -> None:
        """Wait for everything detached, for tests."""
        await asyncio.gather(*self._detached)

    async def close(self) -> None:
        """End what runs detached."""
        tasks = list(self._detached)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
