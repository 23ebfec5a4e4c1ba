"""A pool of SSH connections to one Proxmox node, each good for several commands at a time.

paramiko blocks, so everything here runs on threads of the pool's own. What was learnt of paramiko 5 and of sshd:
TCP_NODELAY has to be set by hand (44 ms a command without it, 2 ms with it), the eleventh channel of a connection is
refused (sshd's MaxSessions), and reading one stream after the other deadlocks at the window's size.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import paramiko

from cyberlab import problems
from cyberlab.blocking import BlockingPool, PoolBusy
from cyberlab.problems import Problem
from cyberlab.proxmox.hostkeys import HostKeys
from cyberlab.settings import ClusterSettings

log = logging.getLogger(__name__)

CHANNELS = 8  # per connection; sshd's MaxSessions is 10, and somebody else may use the connection's quota for a probe
_CONNECT_SECONDS = 5.0
_KEEPALIVE_SECONDS = 15
_OUTPUT_LIMIT = 8 << 20  # bytes of one stream
_CHUNK = 64 * 1024
_RETRY_AFTER = 1.0  # seconds that a host that refused is left alone


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command on the node said; the streams are never mixed."""

    exit: int
    stdout: str = field(repr=False)  # may hold tickets
    stderr: str = field(repr=False)


class DeadTransport(Exception):
    """The connection broke under the command; whether the command ran is unknown."""


class _Connection:
    """One transport and how many of its channels are in use."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport
        self.channels = 0

    @property
    def alive(self) -> bool:
        return self.transport.is_active()


class SshPool:
    """Runs commands on one host over a few kept connections."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Connects at the first command. Raises Problem(SSH_HOST_KEY) if the known hosts cannot be read."""
        self._settings = settings
        self._places = settings.ssh_connections * CHANNELS
        # A thread for each channel: a command that hangs holds its own thread and nobody else's.
        self._pool = BlockingPool(f"ssh-{settings.cluster}", self._places, waiting=256)
        self._connections: list[_Connection] = []
        self._changed = threading.Condition()
        self._dialling = 0
        self._per_subject: dict[str, int] = {}
        self._refused: tuple[float, Problem] | None = None
        self._closed = False

    async def run(self, command: str, *, timeout: float, idempotent: bool, subject: str = "") -> CommandResult:
        """Run ``command`` under the remote user's shell; every argument in it is quoted already.

        ``timeout``: seconds for everything, waiting for a channel included. ``idempotent``: may be run again when the
        connection broke under it. ``subject``: the node that the command is about; calls about one node take at most
        half of the channels, so that a node that hangs leaves room for the others. Raises Problem.
        """
        until = time.monotonic() + timeout
        try:
            # The thread keeps to its own deadline; ours is only the net under it.
            return await self._pool.run(timeout + 2 * _CONNECT_SECONDS, self._run, command, until, idempotent, subject)
        except PoolBusy:
            raise Problem(problems.SSH_BUSY, f"{self._places} channels and the queue are full") from None
        except TimeoutError:
            raise Problem(problems.PVESH_TIMEOUT, f"no answer within {timeout:.0f} s") from None

    def close(self) -> None:
        """Close the connections, which ends the commands, then the threads (blocking)."""
        with self._changed:
            self._closed = True
            connections, self._connections = self._connections, []
            self._changed.notify_all()
        for connection in connections:
            connection.transport.close()
        self._pool.close()

    # --- on the pool's threads

    def _run(self, command: str, until: float, idempotent: bool, subject: str) -> CommandResult:
        for last in (False, True):
            with self._place(subject, until) as connection:
                try:
                    return _execute(connection.transport, command, until)
                except DeadTransport as error:
                    connection.transport.close()
                    if last or not idempotent:
                        raise Problem(problems.SSH_REFUSED, f"the connection broke: {error}") from None
        raise AssertionError("unreachable")

    @contextmanager
    def _place(self, subject: str, until: float) -> Iterator[_Connection]:
        """A channel's place on a live connection; waits for one until the deadline."""
        connection = self._take(subject, until)
        try:
            yield connection
        finally:
            with self._changed:
                connection.channels -= 1
                if subject:
                    self._per_subject[subject] -= 1
                    if not self._per_subject[subject]:
                        del self._per_subject[subject]
                self._changed.notify_all()

    def _take(self, subject: str, until: float) -> _Connection:
        with self._changed:
            while True:
                if self._closed:
                    raise Problem(problems.SHUTTING_DOWN)
                self._connections = [known for known in self._connections if known.alive or known.channels]
                if self._per_subject.get(subject, 0) < max(1, self._places // 2) or not subject:
                    free = [known for known in self._connections if known.alive and known.channels < CHANNELS]
                    alive = sum(known.alive for known in self._connections) + self._dialling
                    if free:
                        return self._count(min(free, key=lambda known: known.channels), subject)
                    if alive < self._settings.ssh_connections:
                        self._dialling += 1
                        break
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise Problem(problems.SSH_BUSY, f"no channel became free; {self._per_subject}")
        return self._dial(subject, until)

    def _count(self, connection: _Connection, subject: str) -> _Connection:
        connection.channels += 1
        if subject:
            self._per_subject[subject] = self._per_subject.get(subject, 0) + 1
        return connection

    def _dial(self, subject: str, until: float) -> _Connection:
        """Open one more connection (outside the lock: it takes tens of milliseconds, or the deadline)."""
        connection: _Connection | None = None
        try:
            refused = self._refused
            if refused is not None and time.monotonic() - refused[0] < _RETRY_AFTER:
                raise Problem(refused[1].code, refused[1].detail)
            connection = _Connection(connect(self._settings, min(_CONNECT_SECONDS, until - time.monotonic())))
            self._refused = None
        except Problem as problem:
            if self._refused is None or time.monotonic() - self._refused[0] >= _RETRY_AFTER:
                self._refused = (time.monotonic(), problem)
            raise
        finally:
            with self._changed:
                self._dialling -= 1
                if connection is not None:
                    if self._closed:
                        connection.transport.close()
                    self._connections.append(connection)
                    self._count(connection, subject)
                self._changed.notify_all()
        return connection


def connect(settings: ClusterSettings, timeout: float) -> paramiko.Transport:
    """Connect, verify the host key, authenticate (blocking, seconds); raise Problem."""
    timeout = max(timeout, 0.1)
    where = f"{settings.ssh_host}:{settings.ssh_port}"
    keys = HostKeys(settings)
    try:
        sock = socket.create_connection((settings.ssh_host, settings.ssh_port), timeout)
    except OSError as error:
        raise Problem(problems.SSH_REFUSED, f"{where}: {error.strerror or error}") from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport: paramiko.Transport | None = None
    try:
        transport = paramiko.Transport(sock, disabled_algorithms={"ciphers": ["3des-cbc"]})
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
        transport.set_log_channel("paramiko.cyberlab")
        keys.prefer(transport)
        transport.start_client(timeout=timeout)
        keys.check(transport.get_remote_server_key())
        transport.auth_publickey(settings.ssh_user, _private_key(settings))
        transport.set_keepalive(_KEEPALIVE_SECONDS)
        return transport
    except BaseException as error:
        if transport is not None:
            transport.close()
        sock.close()
        if isinstance(error, paramiko.AuthenticationException):
            raise Problem(problems.SSH_AUTH, f"{settings.ssh_user}@{where}") from None
        if isinstance(error, paramiko.SSHException | EOFError | OSError):
            mismatch = isinstance(error, paramiko.ssh_exception.IncompatiblePeer)
            code = problems.SSH_HOST_KEY if mismatch else problems.SSH_REFUSED
            raise Problem(code, f"{where}: {str(error) or type(error).__name__}") from None
        raise


def _private_key(settings: ClusterSettings) -> paramiko.PKey:
    assert settings.ssh_key_path is not None
    try:
        return paramiko.PKey.from_path(settings.ssh_key_path)
    except (OSError, paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, TypeError) as error:
        raise Problem(problems.SSH_AUTH, f"{settings.ssh_key_path} is no usable key: {type(error).__name__}") from None


def _execute(transport: paramiko.Transport, command: str, until: float) -> CommandResult:
    """Run one command on a channel of its own; raise DeadTransport, Problem(PVESH_TIMEOUT)."""
    channel = None
    try:
        channel = transport.open_session(timeout=max(0.1, until - time.monotonic()))
        channel.exec_command(command)
        return _drain(transport, channel, until)
    except paramiko.ChannelException as error:
        raise Problem(problems.SSH_BUSY, f"sshd refused a channel: {error.text}") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        if time.monotonic() >= until:
            raise Problem(problems.PVESH_TIMEOUT, "no answer within the deadline") from None
        raise DeadTransport(str(error) or type(error).__name__) from None
    finally:
        if channel is not None:
            with contextlib.suppress(Exception):
                channel.close()


def _drain(transport: paramiko.Transport, channel: paramiko.Channel, until: float) -> CommandResult:
    """Read both streams as they come: a full window on either stops the command for ever."""
    waiter = select.poll()
    waiter.register(channel.fileno(), select.POLLIN)  # readable while either stream has bytes or has ended
    out, err = bytearray(), bytearray()
    while True:
        if channel.recv_ready():
            out += channel.recv(_CHUNK)
        if channel.recv_stderr_ready():
            err += channel.recv_stderr(_CHUNK)
        if max(len(out), len(err)) > _OUTPUT_LIMIT:
            raise Problem(problems.PVESH_FAILED, "the command printed more than 8 MiB")
        if channel.recv_ready() or channel.recv_stderr_ready():
            continue
        if channel.eof_received or channel.closed:
            break
        left = until - time.monotonic()
        if left <= 0:
            raise Problem(problems.PVESH_TIMEOUT, "no answer within the deadline")
        waiter.poll(left * 1000)
    if not channel.status_event.wait(max(0.1, min(until - time.monotonic(), 2.0))) or channel.exit_status < 0:
        if not transport.is_active():
            raise DeadTransport("closed before the exit status came")
        raise Problem(problems.PVESH_FAILED, "the command ended without an exit status (killed?)")
    return CommandResult(channel.exit_status, out.decode(errors="replace"), err.decode(errors="replace"))
