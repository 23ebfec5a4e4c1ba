"""One console, in order: ticket, dial, handshake, relay, and an end with a reason (docs/architecture.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cyberlab import problems
from cyberlab.console.client import CLOSE_GRACE, WENT_AWAY, ClientClosed, ClientLink
from cyberlab.console.kinds import ConsoleKind
from cyberlab.console.registry import ConsoleRequest, Full, LiveConsole
from cyberlab.console.relay import Relay
from cyberlab.console.terminal import TERMINAL
from cyberlab.console.upstream import Target, UpstreamLink, dial
from cyberlab.console.vnc import PICTURE
from cyberlab.problems import Problem

if TYPE_CHECKING:
    from cyberlab.console.gateway import Gateway

log = logging.getLogger(__name__)

_EXPLAIN_SECONDS = 6.0
_LOG_SECONDS = 10.0


class ConsoleSource(Protocol):
    """What the gateway asks of a cluster for one machine."""

    async def target(self, on_position: Callable[[int], None]) -> Target:
        """Get a fresh ticket: a place to dial, good for one connection within ten seconds; raise Problem.

        ``on_position`` is told the place in the cluster's line while there is one.
        """
        ...

    def cookie_refused(self) -> None:
        """Proxmox did not take the auth cookie: the next target needs a new one."""
        ...

    async def explain(self) -> Problem | None:
        """Why a console of this machine may have failed, if the cluster can tell."""
        ...


class ConsoleLog(Protocol):
    """Where it is written down who opened what."""

    async def opened(self, request: ConsoleRequest) -> int:
        """Begin a row; return its id."""
        ...

    async def closed(self, row: int, bytes_to_client: int, bytes_to_upstream: int, reason: str) -> None:
        """Complete a row."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The gateway's times, in seconds."""

    handshake: float = 8.0  # from dial to the end of Proxmox's half, and again for the browser's half
    ping: float = 30.0  # towards the browser
    upstream_keepalive: float = 300.0  # towards `qm vncproxy`, which leaves after 900 quiet seconds
    terminal_keepalive: float = 20.0  # looked at every ``ping``: as often as Proxmox's own page sends one
    stuck: float = 60.0  # a browser that does not read


class ConsoleSession:
    """One console of one browser, from the accepted websocket to the row in the log."""

    def __init__(self, gateway: Gateway, client: ClientLink, request: ConsoleRequest, source: ConsoleSource) -> None:
        """``client`` is connected; whether this user may see this machine has been decided before."""
        self._gateway = gateway
        self._client = client
        self._request = request
        self._source = source
        self._task: asyncio.Task[None] | None = None
        self._relay: Relay | None = None
        self._stop: str | None = None  # why the opening was broken off
        self._kind = PICTURE
        self._open_at: float | None = None

    async def run(self) -> None:
        """Open, relay, end; nothing is raised but the cancellation of the whole."""
        self._task = asyncio.current_task()
        self._client.on_lost = self._client_lost
        row: asyncio.Future[int] | None = None
        reason, detail, close_code = problems.INTERNAL, "", 4000
        try:
            if self._client.lost:
                raise ClientClosed
            if self._gateway.registry.draining:
                raise Problem(problems.SHUTTING_DOWN)
            with self._gateway.registry.entry(self._request, self.end) as live:
                live.traffic = self._traffic
                row = asyncio.ensure_future(self._gateway.log.opened(self._request))
                # Not awaited itself: a database that hangs must not take the consoles with it, and a row that is
                # being written when the browser leaves must be completed all the same.
                await asyncio.wait({row}, timeout=_LOG_SECONDS)
                reason = await self._console(live)
                if self._relay is not None:
                    detail, close_code = self._relay.detail, self._relay.close_code
                if reason == problems.UPSTREAM_CLOSED:
                    reason = await self._explain(reason)
        except Full:
            reason = problems.TOO_MANY_CONSOLES
        except Problem as problem:
            reason, detail = problem.code, problem.detail
        except ClientClosed:
            reason = self._client.end_reason
        except asyncio.CancelledError:
            reason = self._stop or problems.SHUTTING_DOWN
            if self._stop is None:
                self._client.abort()
                raise
        except Exception:
            log.exception("console of %s failed request=%s", self._request.vm_label, self._request.request_id)
        finally:
            gone = asyncio.Event()
            self._client.on_lost = gone.set  # from here on it cannot break off what completes the row
            self._say_goodbye(reason, close_code)
            await self._end_row(row, reason, detail)
            if not self._client.lost:
                await gone.wait()  # ClientLink.close and abort see to it

    def end(self, code: str) -> None:
        """End this console, whatever it is doing; ``code`` is one of problems."""
        if self._relay is not None:
            self._relay.end(code)
        elif self._stop is None and self._task is not None:
            self._stop = code
            self._task.cancel()

    def _traffic(self) -> tuple[int, int]:
        relay = self._relay
        return (relay.bytes_to_client, relay.bytes_to_upstream) if relay else (0, 0)

    def _client_lost(self) -> None:
        if self._relay is None:
            self.end(self._client.end_reason)

    async def _console(self, live: LiveConsole) -> str:
        upstream = await self._connect()
        try:
            async with asyncio.timeout(self._gateway.limits.handshake):
                await self._kind.greet(self._client)
            live.open = True
            self._open_at = asyncio.get_running_loop().time()
            return await self._run_relay(upstream)
        except TimeoutError:
            raise Problem(problems.CLIENT_PROTOCOL, "the browser did not finish the handshake") from None
        finally:
            upstream.abort()

    async def _connect(self) -> UpstreamLink:
        """A ticket, a connection and our sign-in at its end; once more where a second try can help."""
        for last in (False, True):
            try:
                async with self._gateway.turn(self._request.vm_id):
                    self._step("ticket", "Asking the cluster for a ticket")
                    target = await self._source.target(self._in_line)
                    self._kind = kind_of(target)
                    self._step("dial", self._kind.dialling)
                    return await self._dial(target)
            except Problem as problem:
                if problem.code == problems.COOKIE_REFUSED:
                    self._source.cookie_refused()
                elif problem.code != problems.VNC_AUTH_FAILED:
                    # Its password is lost to a viewer that came in between (Proxmox's own pages do not queue here).
                    raise Problem(await self._explain(problem.code), problem.detail) from None
                if last:
                    raise
        raise AssertionError("unreachable")

    async def _dial(self, target: Target) -> UpstreamLink:
        upstream: UpstreamLink | None = None
        try:
            async with asyncio.timeout(self._gateway.limits.handshake):
                upstream = await dial(target)
                self._step("handshake", self._kind.waiting)
                await self._kind.authenticate(upstream, target)
                return upstream
        except BaseException as error:
            if upstream is not None:
                upstream.abort()
            if isinstance(error, TimeoutError):
                raise Problem(problems.UPSTREAM_SILENT, "no answer within the handshake limit") from None
            raise

    async def _run_relay(self, upstream: UpstreamLink) -> str:
        if self._client.lost or self._client.ending:
            raise ClientClosed
        limits = self._gateway.limits
        quiet = limits.terminal_keepalive if self._kind is TERMINAL else limits.upstream_keepalive
        messages = self._kind.messages(self._request.view_only)
        self._relay = relay = Relay(self._client, upstream, messages)
        client = self._client

        def look(now: float) -> None:
            relay.keep_alive(now, interval=quiet, stuck=limits.stuck)
            if now - client.heard_at > 3 * limits.ping:
                client.abort()  # three pings without an answer: there is nobody
            else:
                client.ping()

        forget = self._gateway.wheel.add(look)
        try:
            relay.start()
            reason = await relay.ended
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE):
                    await relay.rest()
            return reason
        finally:
            forget()

    async def _explain(self, code: str) -> str:
        """The cluster's own word on what is wrong with the machine, where ours is only a symptom."""
        if code in problems.UNCLEAR:
            with suppress(Problem, TimeoutError):
                async with asyncio.timeout(_EXPLAIN_SECONDS):
                    better = await self._source.explain()
                    return better.code if better else code
        return code

    def _in_line(self, position: int) -> None:
        if position == 1:
            text = self._client.translate("Waiting for the cluster: you are next in line")
        else:
            text = self._client.translate("Waiting for the cluster: number %(place)d in line") % {"place": position}
        self._client.send_event(event="step", step="ticket", text=text)

    def _step(self, step: str, text: str) -> None:
        self._client.send_event(event="step", step=step, text=self._client.translate(text))

    def _say_goodbye(self, reason: str, close_code: int) -> None:
        client, relay = self._client, self._relay
        if client.lost:
            return
        if relay is not None and relay.frame_is_cut:
            # Nothing can follow within a frame; the page then asks what happened.
            client.abort()
            return
        if reason != WENT_AWAY:
            advice = problems.CATALOGUE[reason]
            retry = reason in problems.PASSING or (reason == problems.VM_STOPPED and self._did_run)
            client.send_event(
                event="end", code=reason, title=client.translate(advice.title),
                advice=client.translate(advice.user), retry=retry, request_id=self._request.request_id,
            )  # fmt: skip
        client.close(close_code if reason != WENT_AWAY else 1000, reason)

    @property
    def _did_run(self) -> bool:
        """Whether the machine has been seen running: then it may come back by itself."""
        return self._open_at is not None and asyncio.get_running_loop().time() - self._open_at >= self._kind.proof

    async def _end_row(self, row: asyncio.Future[int] | None, reason: str, detail: str) -> None:
        to_client, to_upstream = self._traffic()
        log.info(
            "console ended reason=%s vm=%s user=%s to_client=%d to_upstream=%d request=%s%s",
            reason, self._request.vm_label, self._request.username, to_client, to_upstream,
            self._request.request_id, f" detail={detail!r}" if detail else "",
        )  # fmt: skip
        if row is not None:
            try:
                async with asyncio.timeout(_LOG_SECONDS):
                    await self._gateway.log.closed(await row, to_client, to_upstream, reason)
            except Exception:
                log.exception("console of %s could not be recorded", self._request.vm_label)


def kind_of(target: Target) -> ConsoleKind:
    """What a target leads to."""
    return TERMINAL if target.terminal_ticket else PICTURE
