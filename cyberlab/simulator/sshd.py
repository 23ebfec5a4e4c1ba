"""The node's SSH server: one key, root, ``exec`` only, and OpenSSH's limit on sessions per connection."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import random
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import paramiko
from paramiko import common

from cyberlab.blocking import BlockingPool, PoolBusy
from cyberlab.simulator.commands import Lasting
from cyberlab.simulator.listener import Listener
from cyberlab.simulator.options import Options
from cyberlab.simulator.process import serve_process
from cyberlab.simulator.pvesh import Outcome
from cyberlab.simulator.shellwords import ShellRefused, split

USER = "root"
SEND_TIMEOUT = 60.0
LOG = "cyberlab.simulator.sshd"


class Runner(Protocol):
    """Whatever runs argument lists: the node's commands."""

    def lasting(self, words: Sequence[str]) -> Lasting | None:
        """The process for a command that stays, None for any other."""
        ...

    async def run(self, words: Sequence[str], gone: Callable[[], bool]) -> Outcome:
        """Run a program to its end."""
        ...


class _Transport(paramiko.Transport):
    """Keeps the channels, and tells what paramiko keeps to itself: a request was answered, a channel was closed."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._channel_handler_table: dict[int, Any] = dict(paramiko.Transport._channel_handler_table)  # type: ignore[attr-defined]
        self._channel_handler_table[common.MSG_CHANNEL_REQUEST] = self._request
        self._channel_handler_table[common.MSG_CHANNEL_CLOSE] = self._close
        self.set_log_channel(LOG)
        self._open: set[paramiko.Channel] = set()

    def run(self) -> None:
        """Until the connection ends; a handshake that was broken off would leave its timer, a thread too."""
        try:
            super().run()
        finally:
            self.packetizer.complete_handshake()

    def _queue_incoming_channel(self, channel: paramiko.Channel) -> None:
        """Not into a queue that somebody would have to empty; but a channel that nothing refers to closes itself."""
        self._open.add(channel)

    def _request(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        """Start a command only when the request for it was answered: no close may overtake the answer."""
        paramiko.Channel._handle_request(channel, message)  # type: ignore[attr-defined]
        server = self.server_object
        assert isinstance(server, _Connection)
        server.start_pending()

    def _close(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        paramiko.Channel._handle_close(channel, message)  # type: ignore[attr-defined]
        self._open.discard(channel)
        server = self.server_object
        assert isinstance(server, _Connection)
        server.closed(channel)


class _Connection(paramiko.ServerInterface):
    """One client's connection; these methods run on the transport's thread."""

    def __init__(self, key: paramiko.PKey, options: Options, begin: Callable[[paramiko.Channel, bytes], None]) -> None:
        self._key = key
        self._options = options
        self._begin = begin
        self._lock = threading.Lock()
        self._sessions = 0
        self._idle: set[int] = set()  # channels on which nothing has been started yet
        self._pending: tuple[paramiko.Channel, bytes] | None = None

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        same = hmac.compare_digest(key.asbytes(), self._key.asbytes())
        return common.AUTH_SUCCESSFUL if same and username == USER else common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """OpenSSH counts a session until its process has ended, whether or not the client closed the channel."""
        if kind != "session":
            return common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        with self._lock:
            if self._sessions >= self._options.max_sessions:
                return common.OPEN_FAILED_CONNECT_FAILED
            self._sessions += 1
            self._idle.add(chanid)
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        with self._lock:
            if channel.get_id() not in self._idle:
                return False
            self._idle.remove(channel.get_id())
        self._pending = (channel, command)
        return True

    def start_pending(self) -> None:
        """The request has been answered: run it."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._begin(*pending)

    def closed(self, channel: paramiko.Channel) -> None:
        """The client has closed a channel: one that never ran anything frees its place at once."""
        with self._lock:
            if channel.get_id() in self._idle:
                self._idle.remove(channel.get_id())
                self._sessions -= 1

    def ended(self) -> None:
        """A session's process has ended."""
        with self._lock:
            self._sessions -= 1


class Sshd:
    """Listens with the host key in ``host_key``; admits the one client key."""

    def __init__(self, host_key: Path, client_key: Path, commands: Runner, options: Options) -> None:
        self._host_key = paramiko.Ed25519Key(filename=str(host_key))
        self._client_key = paramiko.Ed25519Key(filename=str(client_key))
        self._commands = commands
        self._options = options
        self._pool = BlockingPool("sshd", 16)
        self.listener = Listener("sshd", 128, self._accepted)
        self._transports: dict[_Transport, _Connection] = {}
        self._runs: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; 0 takes a free port."""
        logging.getLogger(LOG).setLevel(logging.CRITICAL)  # paramiko reports every odd client as an error
        await self.listener.start(host, port)

    async def close(self) -> None:
        """End every connection and every command, wait for the threads."""
        await self.listener.close()
        runs = list(self._runs)
        for task in runs:
            task.cancel()
        await asyncio.to_thread(self._close_transports)
        await asyncio.gather(*runs, return_exceptions=True)
        await asyncio.to_thread(self._pool.close)

    def _close_transports(self) -> None:
        for transport in list(self._transports):
            transport.close()
        for transport in list(self._transports):
            transport.join(5)
        self._transports.clear()

    async def stop(self) -> None:
        """Drop every connection and refuse new ones; what runs goes on, with nobody to read it."""
        await self.listener.close()
        await asyncio.to_thread(self._close_transports)

    async def restart(self) -> None:
        """Drop every connection, come back on the same port."""
        await self.stop()
        await self.listener.reopen()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(transport.is_alive() for transport in self._transports)

    def drop_connections(self) -> None:
        """Cut every connection, as a restart of sshd's host would. For tests."""
        for transport in list(self._transports):
            transport.close()

    def _accepted(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        for old in [transport for transport in self._transports if not transport.is_alive()]:
            del self._transports[old]
        waiting = sum(not transport.is_authenticated() for transport in self._transports)
        if _refused_early(self._options.max_startups, waiting):
            connection.close()
            return
        transport = _Transport(connection)
        transport.daemon = True
        transport.add_server_key(self._host_key)
        server = _Connection(self._client_key, self._options, self._starter(transport))
        self._transports[transport] = server
        transport.start_server(event=threading.Event(), server=server)

    def _starter(self, transport: _Transport) -> Callable[[paramiko.Channel, bytes], None]:
        """What the transport's thread calls to run a command on the loop."""
        loop = asyncio.get_running_loop()

        def begin(channel: paramiko.Channel, command: bytes) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._begin, transport, channel, command)

        return begin

    def _begin(self, transport: _Transport, channel: paramiko.Channel, command: bytes) -> None:
        task = asyncio.create_task(self._run(transport, channel, command), name="ssh command")
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _run(self, transport: _Transport, channel: paramiko.Channel, command: bytes) -> None:
        def gone() -> bool:
            return channel.closed or not transport.is_active()

        server = self._transports.get(transport)
        lasting = self._lasting(command)
        try:
            if lasting is not None:
                await serve_process(lasting, channel)
                return
            outcome = await self._shell(command, gone)
        finally:
            if server is not None:
                server.ended()
        with contextlib.suppress(TimeoutError, PoolBusy):
            await self._pool.run(SEND_TIMEOUT + 5, _send, transport, channel, outcome)

    def _lasting(self, command: bytes) -> Lasting | None:
        try:
            return self._commands.lasting(split(command.decode())[0])
        except (UnicodeDecodeError, ShellRefused, IndexError):
            return None

    async def _shell(self, command: bytes, gone: Callable[[], bool]) -> Outcome:
        try:
            words, _ = split(command.decode())
        except (UnicodeDecodeError, ShellRefused) as refused:
            return Outcome(2, "", f"bash: -c: line 1: syntax error: {refused}\n")
        return await self._commands.run(words, gone)


def _refused_early(limits: tuple[int, int, int], waiting: int) -> bool:
    """MaxStartups start:rate:full (sshd_config(5)): chance decides between ``start`` and ``full``."""
    start, rate, full = limits
    if waiting < start:
        return False
    if waiting >= full or rate >= 100:
        return True
    return random.random() * 100 < rate + (100 - rate) * (waiting - start) / (full - start)


def _send(transport: _Transport, channel: paramiko.Channel, outcome: Outcome) -> None:
    """Both streams, the exit status, the end; a client that has left is nobody's problem."""
    channel.settimeout(SEND_TIMEOUT)
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.sendall(outcome.stdout.encode())
        channel.sendall_stderr(outcome.stderr.encode())
        channel.send_exit_status(outcome.exit)
        channel.shutdown_write()
    channel.close()
