"""A pool of SSH connections to one Proxmox node, each good for several commands at a time.

paramiko blocks, so the work is done on threads of the pool's own. What was learnt of sshd decides the rest: it refuses
the eleventh channel of a connection (MaxSessions), and it counts a command that we gave up until it ends by itself. So
a connection that carries several of those takes no more commands, and another one takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko

from cyberlab import problems
from cyberlab.blocking import BlockingPool, Load, PoolBusy
from cyberlab.problems import Problem
from cyberlab.proxmox.command import (
    Abandoned,
    ChannelRefused,
    CommandResult,
    DeadTransport,
    LastingCommand,
    begin,
    execute,
)
from cyberlab.proxmox.dial import connect, end
from cyberlab.proxmox.places import Places
from cyberlab.proxmox.trouble import Unreachable
from cyberlab.settings import ClusterSettings

CHANNELS = 8  # per connection; sshd's MaxSessions is 10, which leaves two for commands that were given up
SPARE = 2
_CONNECT_SECONDS = 5.0
_LEAST_SECONDS = 0.1  # a connection takes as long where nothing is wrong
_RETRY_AFTER = 1.0  # seconds that a host that refused is left alone
_GRACE = 1.0  # seconds beyond its deadline that a thread may take before its connection is cut
_WAITING = 256


class _Connection:
    """One transport, and what its channels are used for."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport
        self.channels = 0
        self.limit = CHANNELS
        self.abandoned = 0

    @property
    def usable(self) -> bool:
        return self.transport.is_active() and self.abandoned <= SPARE

    def cut(self) -> None:
        """Wake whoever waits on it, without waiting for anything (so from any thread, the loop's too)."""
        sock = self.transport.sock
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Call:
    """One command on its way."""

    def __init__(self, command: str, until: float, idempotent: bool) -> None:
        self.command = command
        self.until = until
        self.idempotent = idempotent
        self.connection: _Connection | None = None

    def cut(self) -> None:
        """The thread has not kept its deadline: only the connection's end can free it."""
        if (connection := self.connection) is not None:
            connection.cut()


class SshPool:
    """Runs commands on one host over a few kept connections."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Connects at the first command."""
        self._settings = settings
        places = settings.ssh_connections * CHANNELS
        # A thread for each place: a command that hangs holds its own thread and nobody else's.
        self._pool = BlockingPool(f"ssh-{settings.cluster}", places, _WAITING)
        self._total = places
        self._places = Places(places, _WAITING)
        self._connections: list[_Connection] = []
        self._dialling = 0
        self._changed = threading.Condition()  # guards the three around it
        self._closed = False
        self._refused: tuple[float, Problem] | None = None

    async def run(self, command: str, *, timeout: float, idempotent: bool, subject: str = "") -> CommandResult:
        """Run ``command`` under the remote user's shell; every argument in it is quoted already.

        ``timeout``: seconds for everything, waiting for a channel included. ``idempotent``: may be run again when the
        connection broke under it. ``subject``: the node that the command is about; calls about one node take at most
        half of the channels, so that a node that hangs leaves room for the others. Raises Problem, Unreachable where
        no connection could be had.
        """
        share = max(1, self._total // 2) if subject else self._total
        loop = asyncio.get_running_loop()
        call = _Call(command, time.monotonic() + timeout, idempotent)
        await self._places.take(subject, share, call.until)
        if self._closed:  # between our turn and now
            self._places.free(subject)
            raise Problem(problems.SHUTTING_DOWN)
        # The thread keeps the deadline where paramiko lets it; this is the net under it, and it holds as well when
        # whoever waits for the answer has gone.
        net = loop.call_later(call.until - time.monotonic() + _GRACE, call.cut)

        def done() -> None:
            net.cancel()
            self._places.free(subject)

        def work() -> CommandResult:
            try:
                return self._run(call)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(done)

        try:
            return await self._pool.run(max(0.0, call.until - time.monotonic()) + 2 * _GRACE, work)
        except PoolBusy:
            done()
            raise Problem(problems.SSH_BUSY, "the pool's queue is full") from None
        except TimeoutError:
            raise _late(timeout) from None

    async def probe(self) -> None:
        """See that there is a connection, and keep it; raise Problem."""
        self._refused = None
        call = _Call("", time.monotonic() + _CONNECT_SECONDS, True)
        try:
            await self._pool.run(_CONNECT_SECONDS + 2 * _GRACE, self._touch, call)
        except PoolBusy:
            raise Problem(problems.SSH_BUSY, "the pool's queue is full") from None
        except TimeoutError:
            call.cut()
            raise _late(_CONNECT_SECONDS) from None

    async def begin(self, command: str, *, timeout: float) -> LastingCommand:
        """Start a command that stays; its channel counts until it is closed. ``timeout``: seconds. Raises Problem."""
        call = _Call(command, time.monotonic() + timeout, False)
        begun: list[LastingCommand] = []
        given_up = threading.Event()

        def work() -> LastingCommand:
            begun.append(self._begin(call))
            if given_up.is_set():  # nobody is left who would close it
                begun[0].close()
            return begun[0]

        try:
            return await self._pool.run(timeout + _GRACE, work)
        except BaseException as error:
            given_up.set()
            for lasting in begun:
                lasting.close()
            if isinstance(error, PoolBusy):
                raise Problem(problems.SSH_BUSY, "the pool's queue is full") from None
            if isinstance(error, TimeoutError):
                call.cut()
                raise _late(timeout) from None
            raise

    @property
    def load(self) -> Load:
        """How busy it is."""
        return self._pool.load

    @property
    def connections(self) -> int:
        """How many connections it has."""
        with self._changed:
            return sum(connection.usable for connection in self._connections)

    def close(self) -> None:
        """Close the connections, which ends the commands, then the threads (blocking; called from the loop)."""
        self._places.close()
        with self._changed:
            self._closed = True
            connections, self._connections = self._connections, []
            self._changed.notify_all()
        for connection in connections:
            connection.cut()
        for connection in connections:
            end(connection.transport)
        self._pool.close()

    # --- on the pool's threads

    def _touch(self, call: _Call) -> None:
        with self._channel(call):
            pass

    def _run(self, call: _Call) -> CommandResult:
        began, retried = time.monotonic(), False
        while True:
            with self._channel(call) as connection:
                try:
                    return execute(connection.transport, call.command, call.until)
                except Abandoned:
                    self._abandon(connection)
                    raise _late(call.until - began) from None
                except ChannelRefused as refusal:
                    if not self._lower(connection):
                        raise Problem(problems.SSH_BUSY, f"sshd refuses any channel: {refusal}") from None
                except DeadTransport as death:
                    connection.transport.close()
                    if self._closed:
                        raise Problem(problems.SHUTTING_DOWN) from None
                    if retried or (death.sent and not call.idempotent):
                        asked = death.sent and not call.idempotent
                        raise (Problem if asked else Unreachable)(
                            problems.SSH_REFUSED, f"the connection broke: {death}"
                        ) from None
                    retried = True

    def _begin(self, call: _Call) -> LastingCommand:
        connection = call.connection = self._take(call.until)
        try:
            channel = begin(connection.transport, call.command, call.until)
        except BaseException as error:
            self._release(connection)
            if isinstance(error, DeadTransport | ChannelRefused | Abandoned):
                raise Problem(problems.SSH_REFUSED, f"no channel that stays: {error}") from None
            raise
        finally:
            call.connection = None
        return LastingCommand(channel, lambda: self._release(connection))

    def _release(self, connection: _Connection) -> None:
        """A channel has ended."""
        with self._changed:
            connection.channels -= 1
            self._changed.notify_all()
            last = connection.channels == 0 and not connection.usable
        if last:
            connection.transport.close()

    @contextmanager
    def _channel(self, call: _Call) -> Iterator[_Connection]:
        """Room for a channel on a live connection; waits for it until the deadline."""
        connection = call.connection = self._take(call.until)
        try:
            yield connection
        finally:
            call.connection = None
            self._release(connection)

    def _take(self, until: float) -> _Connection:
        with self._changed:
            while True:
                if self._closed:
                    raise Problem(problems.SHUTTING_DOWN)
                self._connections = [known for known in self._connections if known.usable or known.channels]
                usable = [known for known in self._connections if known.usable]
                free = [known for known in usable if known.channels < known.limit]
                if free:
                    connection = min(free, key=lambda known: known.channels)
                    connection.channels += 1
                    return connection
                if len(usable) + self._dialling < self._settings.ssh_connections:
                    self._dialling += 1
                    break
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise Problem(problems.SSH_BUSY, "no channel became free")
        return self._dial(until)

    def _dial(self, until: float) -> _Connection:
        """Open one more connection (outside the lock: it takes tens of milliseconds, or the deadline)."""
        connection: _Connection | None = None
        try:
            connection = _Connection(self._connect(until))
            connection.channels = 1
        finally:
            with self._changed:
                self._dialling -= 1
                closed = self._closed
                if connection is not None and not closed:
                    self._connections.append(connection)
                self._changed.notify_all()
        if closed:  # close() has been past already
            end(connection.transport)
            raise Problem(problems.SHUTTING_DOWN)
        return connection

    def _connect(self, until: float) -> paramiko.Transport:
        refused = self._refused
        if refused is not None and time.monotonic() - refused[0] < _RETRY_AFTER:
            raise Unreachable(refused[1].code, refused[1].detail)
        left = until - time.monotonic()
        if left < _LEAST_SECONDS:
            raise Problem(problems.SSH_BUSY, "no channel became free, and no time is left to open a connection")
        try:
            transport = connect(self._settings, min(_CONNECT_SECONDS, left))
        except Problem as problem:
            if left >= _CONNECT_SECONDS / 2:  # less is this call's own haste, and says nothing to the others
                self._refused = (time.monotonic(), problem)
            raise Unreachable(problem.code, problem.detail) from None
        self._refused = None
        return transport

    def _abandon(self, connection: _Connection) -> None:
        with self._changed:
            connection.abandoned += 1
            self._changed.notify_all()

    def _lower(self, connection: _Connection) -> bool:
        """sshd allows fewer channels than we thought; False if it allows none at all."""
        with self._changed:
            others = connection.channels - 1
            if others:
                connection.limit = min(connection.limit, others)
            elif connection.abandoned:
                connection.abandoned = SPARE + 1  # what we gave up has taken all of them: leave it
            else:
                return False
            return True


def _late(timeout: float) -> Problem:
    return Problem(problems.PVESH_TIMEOUT, f"no answer within {timeout:.0f} s")
