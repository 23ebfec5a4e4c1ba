"""One warm pvesh: the far side's process (warm.pl) as its requests and answers."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.command import OUTPUT_LIMIT, CommandResult, LastingCommand
from cyberlab.proxmox.netstrings import Garbled, Netstrings, pack, unpack
from cyberlab.proxmox.trouble import said

LIFE_SECONDS = 900  # without a request, then the process ends by itself
_REQUEST_LIMIT = 256 * 1024  # as in warm.pl
_ANSWER_LIMIT = 2 * OUTPUT_LIMIT + 1024 * 1024
_GRACE = 2.0  # seconds beyond a request's deadline in which the worker must have said so
_JOIN_SECONDS = 2.0


class Late(Exception):
    """The deadline came first."""


class Lost(Exception):
    """The worker ended with the request in its hands, or before it was ready."""


class Refused(Exception):
    """The request was not begun."""


class _Request:
    """One that waits for its answer, whether or not anybody still waits for it here."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.answer: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._done = done

    def settle(self, answer: list[bytes] | Exception) -> None:
        self._done()
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
            self.answer.exception()  # retrieved: whoever asked may have gone
        else:
            self.answer.set_result(answer)


class WarmWorker:
    """Owns the channel and the threads that read from it and write to it.

    They are its own, not a pool's: the one waits for as long as the worker lives, the other must never wait for
    somebody else's command.
    """

    def __init__(self, lasting: LastingCommand) -> None:
        self.born = time.monotonic()
        self.asked = 0
        self.ended = ""  # why
        self.broken = False  # it ended for a reason of its own: it could not load, it was killed, it said nonsense
        self._lasting = lasting
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._requests: dict[bytes, _Request] = {}
        self._ids = itertools.count(1)
        self._frames = Netstrings(_ANSWER_LIMIT)
        self._sender = ThreadPoolExecutor(1, "warm-send")
        self._reader = threading.Thread(target=self._read, name="warm-read", daemon=True)
        self._reader.start()

    @property
    def gone(self) -> bool:
        """Whether it has ended, and its threads with it."""
        return bool(self.ended) and not self._reader.is_alive() and self._lasting.closed

    @property
    def busy(self) -> int:
        """How many requests it has."""
        return len(self._requests)

    async def ready(self, until: float) -> None:
        """Wait until it has loaded; raise Late, Lost."""
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._ready
        except TimeoutError:
            self._end("not ready in time", broken=True)
            raise Late("not ready in time") from None

    async def ask(self, words: Sequence[str], seconds: float, done: Callable[[], None]) -> CommandResult:
        """Ask for what the words say (warm.pl); ``done`` is called when the worker has finished with it, come what may.

        Raises Late, Lost, Refused, Problem.
        """
        number = b"%d" % next(self._ids)
        frame = pack(pack(number, b"%.3f" % seconds, *(word.encode() for word in words)))
        if self.ended or seconds <= 0 or len(frame) > _REQUEST_LIMIT:
            done()
            raise (Late if seconds <= 0 else Refused)(self.ended)
        request = self._requests[number] = _Request(done)
        self.asked += 1
        try:
            async with asyncio.timeout(seconds + _GRACE):
                await self._loop.run_in_executor(self._sender, self._lasting.send, frame, seconds)
                return _result(await request.answer)
        except (OSError, RuntimeError) as error:  # TimeoutError is one: the worker does not even say that it is late
            self._end("no answer in time" if isinstance(error, TimeoutError) else str(error), broken=self._alone())
            raise Late if isinstance(error, TimeoutError) else Lost(str(error)) from None

    def _alone(self) -> bool:
        """Whether the connection has nothing to do with it."""
        return self._lasting.connected

    def _read(self) -> None:
        """On a thread of its own: hand on what comes, until the end."""
        with suppress(RuntimeError):  # the loop has ended
            try:
                while data := self._lasting.receive():
                    self._loop.call_soon_threadsafe(self._feed, data)
            finally:
                self._loop.call_soon_threadsafe(self._over)

    def _feed(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._take(unpack(frame))
        except (Garbled, ValueError) as nonsense:
            self._end(f"it said what it should not: {nonsense}", broken=True)

    def _take(self, fields: list[bytes]) -> None:
        if fields == [b"ready"]:
            # What perl and the modules said while they were loaded did not keep them from it: a locale that is missing.
            self._lasting.complaint()
            if not self._ready.done():
                self._ready.set_result(None)
            return
        if len(fields) != 5 or fields[0] not in self._requests:
            raise Garbled(f"an answer of {len(fields)} parts to no question")
        self._requests.pop(fields[0]).settle(fields)

    def _over(self) -> None:
        """Its stdout has ended."""
        complaint = said(self._lasting.complaint()).partition(" (")[0]
        idle = self._ready.done() and not self._requests and not complaint
        self._end(complaint or "it ended", broken=self._alone() and not idle)

    def _end(self, why: str, *, broken: bool) -> None:
        if self.ended:
            return
        self.ended, self.broken = why, broken
        loss = Lost(why)
        if not self._ready.done():
            self._ready.set_exception(loss)
            self._ready.exception()
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.settle(loss)
        self.leave()

    def leave(self) -> None:
        """End it without waiting; its requests are lost."""
        self._end("it was dismissed", broken=False)
        with suppress(RuntimeError):
            self._sender.submit(self._lasting.close)
        self._sender.shutdown(wait=False)

    def close(self) -> None:
        """End it, and wait for the threads (blocking; called from the loop)."""
        self.leave()
        self._lasting.close()
        self._sender.shutdown(wait=True)
        self._reader.join(_JOIN_SECONDS)


def _result(answer: list[bytes]) -> CommandResult:
    """What became of a request (warm.pl, attend)."""
    _, how, code, out, err = answer
    if how == b"late":
        raise Late
    if how == b"refused":
        raise Refused(err.decode(errors="replace"))
    if how == b"big":
        raise Problem(problems.PVESH_FAILED, f"the command printed more than {OUTPUT_LIMIT >> 20} MiB")
    if how == b"signal":
        raise Problem(problems.PVESH_FAILED, "the command ended without an exit status (killed?)")
    return CommandResult(int(code), out.decode(errors="replace"), err.decode(errors="replace"))
