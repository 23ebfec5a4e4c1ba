"""The API on port 8006: the same calls as by `pvesh` at a twentieth of their cost, and tasks that tell their id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import ConsoleTicket, Upid, console_ticket, object_of, vm_path
from cyberlab.proxmox.calls import Api
from cyberlab.proxmox.passes import Passes
from cyberlab.proxmox.tls import Trust
from cyberlab.proxmox.trouble import meaning
from cyberlab.proxmox.web import Answer, Web

_METHODS = {"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}
_PROBE_SECONDS = 5.0
# pveproxy's own: it could not reach the node that the call is about (PVE/APIServer/AnyEvent.pm, proxy_request).
_NO_WAY_THERE = (595, 596)


class HttpsApi(Api):
    """Calls of one cluster's API on the web port of one of its nodes."""

    tells_tasks = True

    def __init__(
        self, web: Web, trust: Callable[[], Awaitable[Trust]], passes: Passes, timeout: float
    ) -> None:  # fmt: skip
        """``trust``: what to verify the node against. ``timeout``: seconds for a call."""
        self._web = web
        self._trust = trust
        self._passes = passes
        self._timeout = timeout

    async def call(
        self, verb: str, path: str, parameters: dict[str, str] | None = None, *, subject: str = "",
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """One call; again with a new cookie where ours was refused, and once more after a 500 that means nothing.

        A real node answered one vncproxy in forty with a 500 that nobody could explain.
        """
        answer = await self._once(verb, path, parameters or {}, timeout or self._timeout)
        if _repeatable(verb, path) and _says_nothing(answer):
            answer = await self._once(verb, path, parameters or {}, timeout or self._timeout)
        if answer.status != 200:
            raise _refusal(answer)
        return answer.data

    async def _once(self, verb: str, path: str, parameters: dict[str, str], timeout: float) -> Answer:
        trust = await self._trust()
        for last in (False, True):
            mine = await self._passes.get()
            headers = dict(mine.headers)
            if verb != "get" and mine.csrf:
                headers["CSRFPreventionToken"] = mine.csrf
            answer = await self._web.ask(
                trust, _METHODS[verb], path, parameters, headers=headers, timeout=timeout,
                repeatable=_repeatable(verb, path),
            )  # fmt: skip
            if answer.status != 401 or last:
                return answer
            self._passes.forget(mine.cookie)
        raise AssertionError("unreachable")

    async def vncproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        """Open a console's port, also a container's (PVE/API2/Qemu.pm, PVE/API2/LXC.pm, vncproxy)."""
        row = object_of(
            await self.call("create", f"{vm_path(node, kind, vmid)}/vncproxy", {"websocket": "1"}, subject=node)
        )
        return console_ticket(row)

    async def detach(self, path: str, parameters: dict[str, str], *, subject: str) -> Upid:
        """Begin a task: over HTTPS the answer comes at once, and is its id."""
        return Upid.parse(await self.call("create", path, parameters, subject=subject))

    async def probe(self) -> None:
        """Whether the web port answers; what it answers matters not."""
        await self._web.ask(await self._trust(), "GET", "/version", {}, headers={}, timeout=_PROBE_SECONDS)


def _says_nothing(answer: Answer) -> bool:
    return (
        500 <= answer.status < 600
        and answer.status not in _NO_WAY_THERE
        and meaning(answer.phrase) == problems.PVESH_FAILED
    )


def _refusal(answer: Answer) -> Problem:
    detail = f"{answer.status} {answer.phrase}"
    if answer.status == 401:
        return Problem(problems.COOKIE_REFUSED, detail)
    if answer.status == 403:
        return Problem(problems.PERMISSION_DENIED, detail)
    if answer.status in _NO_WAY_THERE:
        return Problem(problems.NODE_OFFLINE, detail)
    return Problem(meaning(answer.phrase), detail)


def _repeatable(verb: str, path: str) -> bool:
    """Whether asking twice does no harm: a port that nobody comes to closes by itself."""
    return verb == "get" or path.endswith("proxy")
