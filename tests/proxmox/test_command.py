"""What cannot be provoked with a real sshd at will; the rest is in test_ssh."""

from __future__ import annotations

import threading
import time
from typing import Any

import paramiko
import pytest
from paramiko.buffered_pipe import BufferedPipe

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import command
from cyberlab.proxmox.command import Abandoned, ChannelRefused, CommandResult, DeadTransport, execute


class LateChannel:
    """Bytes, end and exit status come in the moment in which the reader has just seen that there are none."""

    def __init__(self) -> None:
        self.in_buffer, self.in_stderr_buffer = BufferedPipe(), BufferedPipe()
        self._asked = 0
        self.eof_received = self.closed = False
        self.exit_status = -1
        self.status_event = threading.Event()

    def exec_command(self, command: str) -> None:
        pass

    def shutdown_write(self) -> None:
        pass

    def recv_ready(self) -> bool:
        self._asked += 1
        if self._asked == 1:
            self.in_buffer.feed(b"last words")
            self.eof_received, self.exit_status = True, 0
            self.status_event.set()
            return False
        return self.in_buffer.read_ready()

    def recv(self, size: int) -> bytes:
        return self.in_buffer.read(size)

    def recv_stderr_ready(self) -> bool:
        return False

    def close(self) -> None:
        pass


class Transport:
    """Opens the channel that a test gives, or raises what it gives."""

    def __init__(self, answer: Any, *, active: bool = True, seconds: float = 0.0) -> None:
        self._answer = answer
        self._active = active
        self._seconds = seconds

    def open_session(self, timeout: float) -> Any:
        time.sleep(min(self._seconds, timeout))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def is_active(self) -> bool:
        return self._active

    def join(self, timeout: float) -> None:
        pass


class DyingTransport(Transport):
    """Closes its channel first and owns up to its end a moment later, as paramiko's thread does."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__(self)
        self._sent = sent
        self.in_buffer, self.in_stderr_buffer = BufferedPipe(), BufferedPipe()
        self.eof_received, self.closed, self.exit_status = False, True, -1
        self.status_event = threading.Event()
        self.status_event.set()

    def exec_command(self, command: str) -> None:
        if not self._sent:
            raise paramiko.SSHException("Channel closed.")

    def shutdown_write(self) -> None:
        pass

    recv_ready = recv_stderr_ready = lambda self: False

    def close(self) -> None:
        pass

    def join(self, timeout: float) -> None:
        self._active = False


def run(transport: Any, seconds: float = 5.0) -> CommandResult:
    return execute(transport, "command", time.monotonic() + seconds)


def test_bytes_that_come_with_the_end_are_read() -> None:
    assert run(Transport(LateChannel())) == CommandResult(0, "last words", "")


@pytest.mark.parametrize(
    "error", [paramiko.ChannelException(2, "Connect failed"), paramiko.SSHException("Unable to open channel.")]
)
def test_a_refused_channel_in_both_of_its_forms(error: Exception) -> None:
    with pytest.raises(ChannelRefused):
        run(Transport(error))


@pytest.mark.parametrize("error", [paramiko.SSHException("SSH session not active"), EOFError(), OSError("gone")])
def test_a_dead_transport_has_sent_nothing(error: Exception) -> None:
    with pytest.raises(DeadTransport) as caught:
        run(Transport(error, active=False))
    assert not caught.value.sent


@pytest.mark.parametrize("sent", [True, False])
def test_a_channel_that_closes_because_the_connection_dies(sent: bool) -> None:
    """It is no answer of the command's, and no refusal of sshd's: what changes nothing is done again."""
    with pytest.raises(DeadTransport) as caught:
        run(DyingTransport(sent=sent))
    assert caught.value.sent


def test_no_answer_to_a_channel_request_is_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_OPEN_SECONDS", 0.05)
    with pytest.raises(DeadTransport):
        run(Transport(paramiko.SSHException("Timeout opening channel."), seconds=1.0))


def test_but_not_when_there_was_hardly_any_time() -> None:
    """The connection may be well: others use it."""
    with pytest.raises(Abandoned):
        run(Transport(paramiko.SSHException("Timeout opening channel."), seconds=1.0), seconds=0.05)


def test_nothing_is_sent_after_the_deadline() -> None:
    with pytest.raises(Problem) as caught:
        run(Transport(AssertionError("asked for a channel")), seconds=-1.0)
    assert caught.value.code == problems.PVESH_TIMEOUT
