"""The command ``pvesh``: argv in; exit code, stdout and stderr out, as PVE::CLI::pvesh prints them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cyberlab.simulator.cpu import Cpu
from cyberlab.simulator.options import Options
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.state import ROOT, ClusterState, Node

METHODS = ("create", "delete", "get", "ls", "set")
USAGE = (
    "USAGE: pvesh <COMMAND> [ARGS] [OPTIONS]\n\n"
    "       pvesh create <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
    "       pvesh delete <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
    "       pvesh get <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
    "       pvesh ls <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
    "       pvesh set <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
    "       pvesh usage <api_path> [OPTIONS]\n\n"
    "       pvesh help [<extra-args>] [OPTIONS]\n"
)
TRUE = ("1", "on", "yes", "true")
FALSE = ("0", "off", "no", "false")


class Outcome(NamedTuple):
    """How a command ended: exit code and both streams."""

    exit: int
    stdout: str
    stderr: str


class BadCall(Refusal):
    """Options that do not fit the call: the status 400, and a line of usage behind it."""

    def __init__(self, message: str, warning: str = "") -> None:
        super().__init__(f"{warning}\n400 {message}" if warning else f"400 {message}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a call accepts under one name: ``kind`` is boolean, integer or string."""

    kind: str = "string"
    required: bool = False
    pattern: str = ""
    complaint: str = "value does not match the regex pattern"


@dataclass(slots=True)
class Call:
    """One call in progress: what was asked and by whom, what was printed, and whether anybody still listens.

    ``user``: the acting user, or the full id of a token. ``cli``: by pvesh, which waits for tasks; the web port gives
    their UPIDs at once.
    """

    path: Mapping[str, str]
    params: Mapping[str, str | int]
    gone: Callable[[], bool] = lambda: False
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    user: str = ROOT
    cli: bool = True

    @property
    def node(self) -> str:
        """The node in the path."""
        return self.path["node"]

    @property
    def vmid(self) -> int:
        """The VMID in the path, or Refusal when it is no number."""
        if not self.path["vmid"].isascii() or not self.path["vmid"].isdigit():
            raise _unfit(f"vmid: type check ('integer') failed - got '{self.path['vmid']}'")
        return int(self.path["vmid"])

    def text(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        return str(self.params.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        """A parameter as a number; booleans are 0 and 1."""
        return int(self.params.get(name, default))


Handler = Callable[[Call], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the API tree, e.g. ``/nodes/{node}/tasks``; ``proxied`` calls run on the node in the path.

    ``permission``: an ACL path and the privileges of which the caller needs one there; None: any user may call.
    """

    method: str
    template: str
    handler: Handler
    params: Mapping[str, Parameter] = field(default_factory=dict)
    proxied: bool = True
    permission: tuple[str, ...] | None = None

    def match(self, method: str, path: str) -> Mapping[str, str] | None:
        """The names in the path, or None when this is another route."""
        if method != self.method:
            return None
        parts = self.template.split("/")
        given = path.split("/")
        if len(parts) != len(given):
            return None
        names = {}
        for part, value in zip(parts, given, strict=True):
            if part.startswith("{"):
                names[part[1:-1]] = value
            elif part != value:
                return None
        return names if names.get("kind", "qemu") in ("qemu", "lxc") else None


class Pvesh:
    """Finds the route, checks the options, runs the call (through another node when it must) and prints."""

    def __init__(
        self, state: ClusterState, here: str, options: Options, routes: Sequence[Route], cpus: Mapping[str, Cpu]
    ) -> None:
        """``here``: the node that it runs on; ``cpus``: of all nodes."""
        self._cpus = cpus
        self._state = state
        self._here = here
        self._options = options
        self._routes = tuple(routes)

    async def run(
        self, argv: Sequence[str], gone: Callable[[], bool] = lambda: False, *, warm: bool = False
    ) -> Outcome:
        """Run ``pvesh`` with these arguments; ``gone`` tells whether the caller has left. Never raises.

        ``warm``: its modules are loaded already, which is what a call's cost is for.
        """
        if not warm:
            await asyncio.sleep(self._options.call_cost)
        command = argv[0] if argv else ""
        if command not in METHODS:
            told = f"ERROR: unknown command 'pvesh {command}'\n" if command else "ERROR: no command specified\n"
            return Outcome(255, "", told + USAGE)
        usage = f"pvesh {command} <api_path> [OPTIONS] [FORMAT_OPTIONS]"
        if len(argv) < 2 or argv[1].startswith("-"):
            return Outcome(255, "", f"400 not enough arguments\n{usage}\n")
        path = "/" + argv[1].strip("/")
        call = Call({}, {}, gone)
        try:
            route, names = self._find(command, path)
            raw = _options(argv[2:])
            pretty = _output_format(raw)
            call = Call(names, _checked(route, raw), gone)
            result = await self._dispatch(route, call, argv)
        except Refusal as refusal:
            call.err.append(refusal.message)
            if isinstance(refusal, BadCall):
                call.err.append(usage)
            return Outcome(refusal.code, _lines(call.out), _lines(call.err))
        if result is not None:
            call.out.append(_json(result, pretty))
        return Outcome(0, _lines(call.out), _lines(call.err))

    def _find(self, command: str, path: str) -> tuple[Route, Mapping[str, str]]:
        for route in self._routes:
            names = route.match(command, path)
            if names is not None:
                return route, names
        raise Refusal(f"No '{command}' handler defined for '{path}'", 1)

    async def _dispatch(self, route: Route, call: Call, argv: Sequence[str]) -> object:
        node = call.path.get("node", self._here)
        if not route.proxied or node in (self._here, "localhost"):
            return await route.handler(call)
        member = self._state.nodes.get(node)
        if member is None:
            reason = "failed to get address info for"
            trouble = "Temporary failure in name resolution"
            raise Refusal(f"hostname lookup '{node}' failed - {reason}: {node}: {trouble}", 11)
        return await self._proxy(member, route, call, argv)

    async def _proxy(self, member: Node, route: Route, call: Call, argv: Sequence[str]) -> object:
        """As proxy_handler of PVE/CLI/pvesh.pm: over ssh, without a timeout, output glued together."""
        if not member.online:
            await asyncio.sleep(self._options.offline_hang)
            call.err.append(f"ssh: connect to host {member.address} port 22: Connection timed out")
            raise Refusal(_proxy_failure(member, argv, 255))
        # Over there it is the command, started anew, whatever it was here.
        if member.name in self._cpus:
            await self._cpus[member.name].work("pvesh", self._options.call_cpu)
        await asyncio.sleep(self._options.call_cost)
        try:
            result = await route.handler(call)
        except Refusal as refusal:
            call.err.append(refusal.message)
            raise Refusal(_proxy_failure(member, argv, refusal.code)) from None
        if not call.out:
            return result
        glued = "".join(call.out) + ("" if result is None else _json(result))
        call.out.clear()
        return glued


def _options(args: Sequence[str]) -> dict[str, str]:
    """Getopt::Long as get_options uses it: ``--name value``, ``--name=value``, one dash or two."""
    found: dict[str, str] = {}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        match = re.fullmatch(r"--?([A-Za-z][A-Za-z0-9_-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            raise BadCall("too many arguments")
        name, value = match[1], match[2]
        if value is None:
            if not rest:
                raise BadCall("unable to parse option", f"Option {name} requires an argument")
            value = rest.pop(0)
        found[name] = value
    return found


def _output_format(raw: dict[str, str]) -> bool:
    """Take --output-format out; True for json-pretty. Text and yaml are for people: nobody here should parse them."""
    chosen = raw.pop("output-format", "text")
    if chosen not in ("json", "json-pretty"):
        raise Refusal(f"the simulated pvesh prints json and json-pretty only, not '{chosen}'")
    return chosen == "json-pretty"


def _checked(route: Route, raw: Mapping[str, str]) -> dict[str, str | int]:
    known: dict[str, str | int] = {}
    for name, value in raw.items():
        parameter = route.params.get(name)
        if parameter is None:
            raise BadCall("unable to parse option", f"Unknown option: {name}")
        if parameter.kind == "boolean":
            if value.lower() not in TRUE + FALSE:
                raise BadCall("unable to parse boolean option")
            known[name] = int(value.lower() in TRUE)
        elif parameter.kind == "integer":
            if not re.fullmatch(r"-?[0-9]+", value):
                raise _unfit(f"{name}: type check ('integer') failed - got '{value}'")
            known[name] = int(value)
        else:
            if parameter.pattern and not re.fullmatch(parameter.pattern, value):
                raise _unfit(f"{name}: {parameter.complaint.format(value)}")
            known[name] = value
    for name, parameter in route.params.items():
        if parameter.required and name not in known:
            raise _unfit(f"{name}: property is missing and it is not optional")
    return known


def _unfit(complaint: str) -> BadCall:
    return BadCall(f"Parameter verification failed.\n{complaint}")


def _proxy_failure(member: Node, argv: Sequence[str], code: int) -> str:
    ssh = f"/usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={member.name}' root@{member.address}"
    command = f"{ssh} -- pvesh --noproxy {' '.join(argv[:2])} --output-format json"
    return f"proxy handler failed: command '{command}' failed: exit code {code}"


def _json(value: object, pretty: bool = False) -> str:
    """Perl's canonical JSON: sorted keys, no spaces, UTF-8."""
    if pretty:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=3, separators=(",", " : "))
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
