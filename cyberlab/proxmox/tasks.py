"""Tasks that nobody waits for with an open channel: begun, found, watched.

`pvesh` started detached tells nothing, not even its task's id: that is looked for in the node's list, as what was not
there before. One list serves everybody who watches a task on that node, so that a class that switches its machines on
costs the node a call a second, not thirty.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import Task, TaskStatus, Upid
from cyberlab.proxmox.calls import Api
from cyberlab.proxmox.flight import Flight

_LIST_SECONDS = 15.0
_SEEN_SECONDS = 25.0  # pvesh takes 0.7 s until its task shows, six with nine others beside it
_TURN_SECONDS = 60.0
_FIRST_PAUSE, _LAST_PAUSE = 0.3, 4.0  # seconds between two looks; each longer than the one before
_AT_ONCE = 4  # tasks being begun on one node
_CLAIMED = 1000
# How a task is noted in the list when somebody looked between the end of its worker and the last line of its log, which
# is pvesh's to write (PVE/RESTEnvironment.pm, tee_worker and active_workers; PVE/Tools.pm, upid_read_status).
_TOO_EARLY = ("unexpected status", "unable to read tail", "unable to extract last line")
# The way to the node may break and come back while a task runs on.
_PASSING = (problems.SSH_REFUSED, problems.SSH_BUSY, problems.PVESH_TIMEOUT, problems.API_UNREACHABLE)


class _Board:
    """One node's list of tasks, asked once for however many look."""

    def __init__(self, api: Api, node: str) -> None:
        self._api = api
        self._node = node
        self._asked_at = float("-inf")
        self._tasks: list[Task] = []
        self._flight: Flight[None] = Flight()
        self.room = asyncio.Semaphore(_AT_ONCE)

    async def since(self, moment: float) -> list[Task]:
        """A list that was asked for at ``moment`` (monotonic) or later; raise Problem."""
        while self._asked_at < moment:
            await self._flight.join(self._renew)
        return self._tasks

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        self._tasks = await self._api.tasks(self._node, timeout=_LIST_SECONDS)
        self._asked_at = asked_at

    def close(self) -> None:
        self._flight.close()


class Tasks:
    """Begins and watches the tasks of one cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._boards: dict[str, _Board] = {}
        self._turns: dict[int, asyncio.Lock] = {}  # by VMID: two tasks begun at once could not be told apart
        self._waiting: dict[int, int] = {}
        self._claimed: deque[str] = deque(maxlen=_CLAIMED)
        self._closed = False

    def _board(self, node: str) -> _Board:
        if self._closed:
            raise Problem(problems.SHUTTING_DOWN)
        board = self._boards.get(node)
        if board is None:
            board = self._boards[node] = _Board(self._api, node)
        return board

    async def begin(self, node: str, vmid: int, kinds: Collection[str], path: str, parameters: dict[str, str]) -> Upid:
        """Begin a task on a guest and return its id while it runs; raise Problem.

        ``kinds``: the types that its task may have. Raises Problem(TASK_UNSEEN) when none showed in time: then nobody
        knows whether it was begun.
        """
        board = self._board(node)
        try:
            async with asyncio.timeout(_TURN_SECONDS) as patience, self._turn(vmid), board.room:
                patience.reschedule(None)
                return await self._begin(board, node, vmid, kinds, path, parameters)
        except TimeoutError:
            raise Problem(problems.SSH_BUSY, f"other tasks are being begun on {node}") from None

    async def _begin(
        self, board: _Board, node: str, vmid: int, kinds: Collection[str], path: str, parameters: dict[str, str]
    ) -> Upid:
        if self._api.tells_tasks:
            upid = await self._api.detach(path, parameters, subject=node)
            assert upid is not None
            return upid
        # Not by time: the node's clock may differ from ours.
        before = {task.upid.text for task in await board.since(time.monotonic())}
        await self._api.detach(path, parameters, subject=node)
        until, pause = time.monotonic() + _SEEN_SECONDS, _FIRST_PAUSE
        while time.monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(_LAST_PAUSE, 1.5 * pause)
            for task in await self._glance(board):
                text = task.upid.text
                if task.guest == str(vmid) and task.kind in kinds and text not in before and text not in self._claimed:
                    self._claimed.append(text)
                    return task.upid
        raise Problem(problems.TASK_UNSEEN, f"no {'/'.join(kinds)} of {vmid} on {node} within {_SEEN_SECONDS:.0f} s")

    async def _glance(self, board: _Board) -> list[Task]:
        try:
            return await board.since(time.monotonic())
        except Problem as problem:
            if problem.code not in _PASSING:
                raise
            return []

    async def status(self, upid: Upid) -> TaskStatus:
        """How a task is, or ended; raise Problem."""
        if self._api.tells_tasks:  # then a look costs next to nothing
            return await self._api.task_status(upid)
        for task in await self._board(upid.node).since(time.monotonic()):
            if task.upid.text == upid.text and not task.status.exit_status.startswith(_TOO_EARLY):
                return task.status
        return await self._api.task_status(upid)  # of long ago, made this moment, or noted too early

    async def wait(self, upid: Upid, timeout: float, progress: Callable[[TaskStatus], None] | None) -> TaskStatus:
        """Look at a task until it ends; raise Problem, PVESH_TIMEOUT after ``timeout`` seconds.

        ``progress`` is told what each look shows. What may pass on the way to the node is waited for as well.
        """
        until, pause = time.monotonic() + timeout, _FIRST_PAUSE
        while True:
            trouble: Problem | None = None
            try:
                status = await self.status(upid)
            except Problem as problem:
                if problem.code not in _PASSING:
                    raise
                trouble = problem
            else:
                if progress is not None:
                    progress(status)
                if not status.running:
                    return status
            left = until - time.monotonic()
            if left <= 0:
                raise trouble or Problem(problems.PVESH_TIMEOUT, "the task has not ended")
            await asyncio.sleep(min(pause, left))
            pause = min(_LAST_PAUSE, 1.5 * pause)

    @asynccontextmanager
    async def _turn(self, vmid: int) -> AsyncIterator[None]:
        lock = self._turns.setdefault(vmid, asyncio.Lock())
        self._waiting[vmid] = self._waiting.get(vmid, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[vmid] -= 1
            if not self._waiting[vmid]:
                del self._waiting[vmid], self._turns[vmid]

    def close(self) -> None:
        """End the calls in flight."""
        self._closed = True
        for board in self._boards.values():
            board.close()
