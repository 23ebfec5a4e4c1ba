"""A real process behind a channel of the simulated sshd, for the one kind of command that converses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Callable

import paramiko

from cyberlab.simulator.commands import Lasting

_CHUNK = 64 * 1024
_SEND_SECONDS = 60.0
_JOIN_SECONDS = 5.0


async def serve_process(lasting: Lasting, channel: paramiko.Channel) -> None:
    """Run it until it ends or the client leaves; its end is told as sshd does."""
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *lasting.argv, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lasting.environment
        )
    except OSError as error:
        os.close(writing)
        await asyncio.to_thread(_end, channel, 127, f"bash: line 1: {error}\n".encode())
        return
    finally:
        os.close(reading)
    feeder = threading.Thread(target=_feed, args=(channel, writing), name="sshd stdin", daemon=True)
    feeder.start()
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        await asyncio.gather(_carry(process.stdout, channel.sendall), _carry(process.stderr, channel.sendall_stderr))
        await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        # In this order: a feeder that waits for the client ends with the channel, and closes the pipe.
        await asyncio.to_thread(_end, channel, process.returncode, b"")
        await asyncio.to_thread(feeder.join, _JOIN_SECONDS)


def _feed(channel: paramiko.Channel, writing: int) -> None:
    """On a thread: what the client sends, into the process's stdin."""
    with contextlib.suppress(OSError), os.fdopen(writing, "wb", buffering=0) as pipe:
        while True:
            try:
                data = channel.recv(_CHUNK)
            except TimeoutError:
                continue
            if not data:
                return
            pipe.write(data)


async def _carry(stream: asyncio.StreamReader, send: Callable[[bytes], object]) -> None:
    """What the process prints, to the client; when that has left, to nobody."""
    while data := await stream.read(_CHUNK):
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            await asyncio.to_thread(send, data)


def _end(channel: paramiko.Channel, code: int | None, complaint: bytes) -> None:
    channel.settimeout(_SEND_SECONDS)
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        if complaint:
            channel.sendall_stderr(complaint)
        if code is not None and code >= 0:  # otherwise a signal ended it
            channel.send_exit_status(code)
        channel.shutdown_write()
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()
