"""The API over HTTPS: the calls that pvesh makes too, with pveproxy's checks and statuses (PVE/HTTPServer.pm)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from cyberlab.simulator.cpu import Cpu
from cyberlab.simulator.http import HttpError, Request
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import FALSE, TRUE, BadCall, Call, Parameter, Route
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.state import ClusterState

API = "/api2/json"
_VERBS = {"GET": "get", "POST": "create", "PUT": "set", "DELETE": "delete"}


class Rest:
    """Finds the route, asks for permission, checks the parameters, runs the call on its node."""

    def __init__(self, state: ClusterState, here: str, options: Options, routes: Sequence[Route], cpu: Cpu) -> None:
        """``here``: the node whose web port this is."""
        self._state = state
        self._here = here
        self._options = options
        self._routes = tuple(routes)
        self._cpu = cpu
        self._consoles = 0

    async def answer(self, request: Request, actor: str) -> object:
        """What goes into ``data``. Raises HttpError."""
        path = request.path.removeprefix(API)
        for route in self._routes:
            names = route.match(_VERBS.get(request.method, ""), path)
            if names is not None:
                return await self._run(route, names, request, actor)
        raise HttpError(501, f"Method '{request.method} {path}' not implemented")

    async def _run(self, route: Route, names: Mapping[str, str], request: Request, actor: str) -> object:
        await self._cpu.powered.wait()
        await self._cpu.work("https", self._options.https_cpu)
        await asyncio.sleep(self._options.https_cost)
        self._permit(route, names, actor)
        given = request.query if request.method in ("GET", "DELETE") else {**request.query, **request.form()}
        await self._reach(route, names)
        call = Call(names, _checked(route, given), user=actor, cli=False)
        if route.template.endswith("/vncproxy"):
            self._stumble()
        try:
            return await route.handler(call)
        except BadCall:
            raise HttpError(400, "Parameter verification failed.") from None
        except Refusal as refusal:
            raise HttpError(403 if refusal.forbidden else 500, " ".join(refusal.message.split())) from None

    def _permit(self, route: Route, names: Mapping[str, str], actor: str) -> None:
        """check_api2_permissions: any of the privileges, on the path that the route names."""
        if route.permission is None:
            return
        template, *privileges = route.permission
        path = template.format_map(names)
        if not any(self._state.may(actor, path, privilege) for privilege in privileges):
            raise HttpError(403, f"Permission check failed ({path}, {'|'.join(privileges)})")

    async def _reach(self, route: Route, names: Mapping[str, str]) -> None:
        """A call about another node goes to the web port over there (AnyEvent.pm proxy_request)."""
        name = names.get("node", self._here)
        if not route.proxied or name in (self._here, "localhost"):
            return
        member = self._state.nodes.get(name)
        if member is None:
            raise HttpError(500, f"hostname lookup '{name}' failed - failed to get address info for: {name}")
        if not member.online:
            await asyncio.sleep(self._options.https_offline_hang)
            raise HttpError(595, "Connection timed out")

    def _stumble(self) -> None:
        """The 500 that a real node gave once in forty times, for no reason that was found."""
        self._consoles += 1
        every = self._options.vncproxy_stumbles
        if every and self._consoles % every == 0:
            raise HttpError(500, "unable to run worker")


def _checked(route: Route, given: Mapping[str, str]) -> dict[str, str | int]:
    """PVE/JSONSchema.pm validate: every complaint at once, by name."""
    known: dict[str, str | int] = {}
    errors: dict[str, str] = {}
    for name, value in given.items():
        parameter = route.params.get(name)
        if parameter is None:
            errors[name] = "property is not defined in schema and the schema does not allow additional properties"
            continue
        complaint = _complaint(parameter, value)
        if complaint:
            errors[name] = complaint
        elif parameter.kind == "boolean":
            known[name] = int(value.lower() in TRUE)
        else:
            known[name] = int(value) if parameter.kind == "integer" else value
    for name, parameter in route.params.items():
        if parameter.required and name not in given:
            errors[name] = "property is missing and it is not optional"
    if errors:
        raise HttpError(400, "Parameter verification failed.", errors=errors)
    return known


def _complaint(parameter: Parameter, value: str) -> str:
    if parameter.kind == "boolean" and value.lower() not in TRUE + FALSE:
        return f"type check ('boolean') failed - got '{value}'"
    if parameter.kind == "integer" and not re.fullmatch(r"-?[0-9]+", value):
        return f"type check ('integer') failed - got '{value}'"
    if parameter.kind == "string" and parameter.pattern and not re.fullmatch(parameter.pattern, value):
        return parameter.complaint.format(value)
    return ""
