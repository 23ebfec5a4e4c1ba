"""One command on one channel of an SSH connection (blocking; on the pool's threads)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import paramiko

from cyberlab import problems
from cyberlab.problems import Problem

OUTPUT_LIMIT = 8 << 20  # bytes of one stream
_OPEN_SECONDS = 5.0  # sshd opens a channel at once; one that does not is no longer there
_DYING_SECONDS = 0.3
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command on the node said; the streams are never mixed."""

    exit: int
    stdout: str = field(repr=False)  # may hold tickets
    stderr: str = field(repr=False)


class DeadTransport(Exception):
    """The connection broke under the command."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        """``sent``: the command had been sent, so that nobody knows whether it ran."""
        super().__init__(reason)
        self.sent = sent


class ChannelRefused(Exception):
    """sshd opens no further channel on this connection (MaxSessions)."""


class Abandoned(Exception):
    """The deadline came first. sshd goes on counting the command as a session until it ends by itself."""


def execute(transport: paramiko.Transport, command: str, until: float) -> CommandResult:
    """Run ``command`` until ``until`` (monotonic); raise DeadTransport, ChannelRefused, Abandoned, Problem."""
    channel = _open(transport, until)
    try:
        # Waits for sshd's word without a deadline of its own: the pool cuts the connection if it does not come.
        channel.exec_command(command)
        channel.shutdown_write()
        return _drain(transport, channel, until)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if time.monotonic() >= until:
            raise Abandoned from None
        reason = str(error) or type(error).__name__
        if _dead(transport):
            raise DeadTransport(reason, sent=True) from None
        raise Problem(problems.PVESH_FAILED, f"sshd did not run the command: {reason}") from None
    finally:
        with contextlib.suppress(Exception):
            channel.close()


class LastingCommand:
    """A command that stays, spoken with through its stdin and stdout; every method but ``closed`` blocks."""

    def __init__(self, channel: paramiko.Channel, release: Callable[[], None]) -> None:
        """``release``: gives the channel's place on its connection back."""
        self._channel = channel
        self._release = release
        self._closing = threading.Lock()
        self.closed = False

    @property
    def connected(self) -> bool:
        """Whether the connection that carries it lives."""
        transport = self._channel.get_transport()
        return transport is not None and transport.is_active()

    def send(self, data: bytes, timeout: float) -> None:
        """Write to its stdin within ``timeout`` seconds; raise OSError."""
        self._channel.settimeout(timeout)
        self._channel.sendall(data)

    def receive(self) -> bytes:
        """The next bytes of its stdout, b"" at the end; waits for them without a deadline, until close()."""
        while True:
            try:
                # The deadline is the sender's, who shares the setting: this one goes on waiting.
                return self._channel.recv(_CHUNK)
            except TimeoutError:
                continue

    def complaint(self) -> str:
        """What it has written to stderr, the beginning of it."""
        channel = self._channel
        return channel.recv_stderr(_CHUNK).decode(errors="replace") if channel.recv_stderr_ready() else ""

    def close(self) -> None:
        """End its stdin, and its place."""
        with self._closing:
            if self.closed:
                return
            self.closed = True
        with contextlib.suppress(Exception):
            self._channel.close()
        self._release()


def begin(transport: paramiko.Transport, command: str, until: float) -> paramiko.Channel:
    """Start a command that stays; raise DeadTransport, ChannelRefused, Abandoned, Problem."""
    channel = _open(transport, until)
    try:
        channel.exec_command(command)
    except (paramiko.SSHException, EOFError, OSError) as error:
        channel.close()
        if _dead(transport):
            raise DeadTransport(str(error), sent=True) from None
        raise Problem(problems.PVESH_FAILED, f"sshd did not run the command: {error}") from None
    return channel


def _open(transport: paramiko.Transport, until: float) -> paramiko.Channel:
    began = time.monotonic()
    limit = min(_OPEN_SECONDS, until - began)
    if limit <= 0:
        raise Problem(problems.PVESH_TIMEOUT, "the deadline had passed before the command could be sent")
    try:
        return transport.open_session(timeout=limit)
    except paramiko.ChannelException as error:
        raise ChannelRefused(error.text) from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        # paramiko keeps one exception for all channels: of several refused at once, only one hears of it as such.
        if transport.is_active() and time.monotonic() - began < limit:
            raise ChannelRefused(str(error)) from None
        if transport.is_active() and limit < _OPEN_SECONDS:
            raise Abandoned from None  # too little time to call the connection dead
        raise DeadTransport(str(error) or type(error).__name__, sent=False) from None


def _drain(transport: paramiko.Transport, channel: paramiko.Channel, until: float) -> CommandResult:
    """Read both streams as they come: a full window on either stops the command for ever."""
    # Not the channel's fileno(): its pipe is closed under the transport's thread, which may be writing to it just then.
    news = threading.Event()  # set when either stream has bytes, and at their end
    channel.in_buffer.set_event(news)
    channel.in_stderr_buffer.set_event(news)
    out, err = bytearray(), bytearray()
    while True:
        ended = channel.eof_received or channel.closed  # asked before reading: what comes with the end is read still
        while channel.recv_ready() or channel.recv_stderr_ready():
            if channel.recv_ready():
                out += channel.recv(_CHUNK)
            if channel.recv_stderr_ready():
                err += channel.recv_stderr(_CHUNK)
            if max(len(out), len(err)) > OUTPUT_LIMIT:
                raise Problem(problems.PVESH_FAILED, f"the command printed more than {OUTPUT_LIMIT >> 20} MiB")
            if time.monotonic() >= until:
                raise Abandoned
        if ended:
            break
        left = until - time.monotonic()
        if left <= 0:
            raise Abandoned
        news.wait(left)
    if not channel.status_event.wait(max(0.0, until - time.monotonic())):
        raise Abandoned
    if channel.exit_status < 0:
        if _dead(transport):
            raise DeadTransport("closed before the exit status came", sent=True)
        raise Problem(problems.PVESH_FAILED, "the command ended without an exit status (killed?)")
    return CommandResult(channel.exit_status, out.decode(errors="replace"), err.decode(errors="replace"))


def _dead(transport: paramiko.Transport) -> bool:
    """Whether the connection has ended: its thread closes the channels first, and owns up to it a moment later."""
    transport.join(_DYING_SECONDS)
    return not transport.is_active()
