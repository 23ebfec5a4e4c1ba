"""pvesh without its start, which is the most of what a call costs a node: 0.6 of 0.65 CPU-seconds.

A few Perl processes on the node, each on a channel of the SSH pool, have Proxmox's modules loaded (warm.pl) and answer
request after request, byte for byte as the command would. Where anything is off with them, the command itself is run.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.command import CommandResult
from cyberlab.proxmox.places import Places
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.warm_worker import LIFE_SECONDS, Late, Lost, Refused, WarmWorker

log = logging.getLogger(__name__)

AT_ONCE = 8  # requests of one worker
_BUSY = AT_ONCE // 2  # of the least busy one, from which on another one is started
_MOST_REQUESTS = 2000  # then a worker is replaced,
_MOST_SECONDS = 1800.0  # or when it has got so old
_START_SECONDS = 15.0  # loading the modules takes one, on a node that is not busy
_WAIT_SECONDS = 3.0  # for a worker that is on its way, before the command is run instead
_WAITING = 256
# Pauses between two attempts to start one: after a lost connection, and after what will not pass by itself so soon.
_BRIEF, _LONG, _LONGEST = 0.5, 60.0, 3600.0
SOURCE = Path(__file__).with_name("warm.pl")


class WarmPvesh:
    """Runs pvesh on one node: by a worker, or as a command."""

    def __init__(self, ssh: SshPool, workers: int, label: str = "") -> None:
        """``workers``: how many processes at most; 0: each call is a command. ``label``: the node, for the log."""
        self._label = label
        self._ssh = ssh
        self._most = workers
        self._workers: list[WarmWorker] = []
        self._retired: set[WarmWorker] = set()  # replaced, with requests to answer still
        self._leaving: list[WarmWorker] = []  # ended, their threads perhaps not yet
        self._coming: list[WarmWorker] = []
        self._places = Places(workers * AT_ONCE, _WAITING)
        self._start: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._pause = 0.0
        self._why = ""
        self._closed = False

    @property
    def workers(self) -> int:
        """How many are ready."""
        return len(self._workers)

    @property
    def cold(self) -> str:
        """Why there is none, as far as it is known."""
        return "" if self._workers else self._why

    async def run(self, words: Sequence[str], *, timeout: float, idempotent: bool, subject: str = "") -> CommandResult:
        """Run ``pvesh`` with these arguments.

        ``timeout``: seconds for everything. ``idempotent``: may be run again when the connection broke under it.
        ``subject``: the node that the call is about; calls about one node take at most half of the places. Raises
        Problem, and ValueError for what no command line can carry.
        """
        line = command_line(words)
        return await self._run(line, ["pvesh", *words], timeout, idempotent, subject)

    async def sign(self, line: str, what: Sequence[str], *, timeout: float) -> CommandResult:
        """Have the node sign what the command ``line`` signs; raise Problem.

        ``what``: "cookie" and a user, or "ticket", a user, a path and perhaps a port, to which old hosts bind nothing.
        """
        return await self._run(line, what, timeout, True, "")

    async def _run(
        self, line: str, words: Sequence[str], timeout: float, idempotent: bool, subject: str
    ) -> CommandResult:
        """Either way; ``line``: the command."""
        until = time.monotonic() + timeout
        if self._most and not self._closed:
            try:
                result = await self._by_worker(words, until, subject)
            except Late:
                raise Problem(problems.PVESH_TIMEOUT, f"no answer within {timeout:.0f} s") from None
            except Lost as loss:
                if self._closed:
                    raise Problem(problems.SHUTTING_DOWN) from None
                if not idempotent:
                    raise Problem(problems.SSH_REFUSED, f"the connection broke: {loss}") from None
                result = None
            if result is not None:
                return result
        left = max(0.0, until - time.monotonic())
        return await self._ssh.run(line, timeout=left, idempotent=idempotent, subject=subject)

    async def _by_worker(self, words: Sequence[str], until: float, subject: str) -> CommandResult | None:
        """What a worker answers; None if none could be asked. Raises Late, Lost, Problem."""
        if not await self._ready(until):
            return None
        share = max(1, self._most * AT_ONCE // 2) if subject else self._most * AT_ONCE
        await self._places.take(subject, share, until)
        worker = self._choose()
        if worker is None:
            self._places.free(subject)
            return None
        try:
            return await worker.ask(words, until - time.monotonic(), lambda: self._places.free(subject))
        except Refused:
            return None
        finally:
            self._tend()

    def _choose(self) -> WarmWorker | None:
        self._sweep()
        return min(self._workers, key=lambda worker: worker.busy, default=None)

    # --- how many there are

    def _sweep(self) -> None:
        """Forget the dead, and learn from how they died."""
        for worker in [worker for worker in self._workers if worker.ended]:
            self._workers.remove(worker)
            self._leaving.append(worker)
            self._failed(brief=not worker.broken, why=worker.ended)

    def _failed(self, *, brief: bool, why: str) -> None:
        """``brief``: not the worker's fault: the connection's, or it had nothing to do."""
        self._why = why
        self._pause = _BRIEF if brief else min(max(_LONG, 2 * self._pause), _LONGEST)
        self._not_before = time.monotonic() + self._pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        if not brief:
            log.warning("%s: warm pvesh: %s; it runs as a command for the next %.0f s", self._label, why, self._pause)

    async def _ready(self, until: float) -> bool:
        """Whether there is a worker, or one on its way comes soon."""
        self._tend()
        if not self._workers and self._start is not None:
            await asyncio.wait([self._start], timeout=min(_WAIT_SECONDS, (until - time.monotonic()) / 2))
        return bool(self._workers)

    def _tend(self) -> None:
        """Start one where it is wanted, take leave of those that have been replaced."""
        self._sweep()
        for worker in [worker for worker in self._retired if not worker.busy]:
            self._retired.discard(worker)
            self._leaving.append(worker)
            worker.leave()
        self._leaving = [worker for worker in self._leaving if not worker.gone]
        old = next((worker for worker in self._workers if _old(worker)), None)
        least = min((worker.busy for worker in self._workers), default=_BUSY)
        wanted = old is not None or (least >= _BUSY and len(self._workers) < self._most)
        if wanted and self._start is None and not self._closed and time.monotonic() >= self._not_before:
            self._start = asyncio.create_task(self._one_more(old), name="warm pvesh")
            self._start.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._start = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: warm pvesh: a worker did not start", self._label, exc_info=error)
            self._failed(brief=False, why="internal error")

    async def _one_more(self, old: WarmWorker | None) -> None:
        until = time.monotonic() + _START_SECONDS
        try:
            lasting = await self._ssh.begin(warm_command(), timeout=_START_SECONDS)
        except Problem as problem:
            self._failed(brief=True, why=str(problem))  # a command would say the same, to whoever wants to know
            return
        worker = WarmWorker(lasting)
        if self._closed:
            worker.close()
            return
        self._coming = [worker]
        try:
            await worker.ready(until)
        except (Late, Lost) as loss:
            self._leaving.append(worker)
            self._failed(brief=not worker.broken, why=str(loss))
            return
        except BaseException:
            self._leaving.append(worker)
            worker.leave()
            raise
        finally:
            self._coming = []
        if old is not None and old in self._workers:
            self._workers.remove(old)
            self._retired.add(old)
        self._workers.append(worker)
        self._pause = 0.0
        log.debug("%s: warm pvesh: a worker is ready", self._label)

    def close(self) -> None:
        """End the workers (blocking; called from the loop, before the SSH pool's)."""
        self._closed = True
        self._places.close()
        if self._start is not None:
            self._start.cancel()
        for worker in [*self._workers, *self._retired, *self._leaving, *self._coming]:
            worker.close()
        self._workers.clear()
        self._retired.clear()
        self._leaving.clear()


def _old(worker: WarmWorker) -> bool:
    return worker.asked >= _MOST_REQUESTS or time.monotonic() - worker.born > _MOST_SECONDS


def command_line(words: Sequence[str]) -> str:
    """The command for the remote shell; raise ValueError for what no command line can carry."""
    line = shlex.join(["pvesh", *words])
    if "\0" in line:
        raise ValueError("a NUL in an argument")
    line.encode()  # lone surrogates: UnicodeEncodeError is a ValueError
    return line


@functools.cache
def warm_command() -> str:
    """The command that starts a worker: the whole program is in it."""
    lines = [line.strip() for line in SOURCE.read_text().split("\n")]
    source = "\n".join(line for line in lines if line and not line.startswith("#"))
    return shlex.join(["perl", "-e", source, str(AT_ONCE), str(LIFE_SECONDS)])
