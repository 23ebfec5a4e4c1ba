"""Power calls that outlive the request that asked for them: a start may take two minutes, a page waits for none."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from cyberlab.problems import INTERNAL, Problem

log = logging.getLogger(__name__)

TELL_FAILURE = 60.0  # seconds that a failed start is shown
SETTLE = 15.0  # seconds that a cluster's list may still call a started machine stopped (pvestatd runs every ten)


@dataclass(slots=True, eq=False)
class Errand:
    """One call: under way, or how it ended."""

    task: asyncio.Task[None] | None = None
    ended_at: float = 0.0
    problem: Problem | None = None

    @property
    def running(self) -> bool:
        """Whether it is still under way."""
        return self.task is not None

    @property
    def settling(self) -> bool:
        """Whether it has just succeeded."""
        return not self.running and self.problem is None

    def worth_telling(self) -> bool:
        """Whether it still says something about the machine."""
        kept = SETTLE if self.problem is None else TELL_FAILURE
        return self.running or time.monotonic() - self.ended_at < kept


class Errands:
    """At most one call a machine, by the portal's id of the VM; owns the tasks."""

    def __init__(self) -> None:
        self._by_vm: dict[int, Errand] = {}

    def begin(self, vm_id: int, call: Coroutine[Any, Any, None], label: str) -> None:
        """Run ``call`` in the background; ``label``: what it is, for the log. Dropped if one is under way."""
        known = self._by_vm.get(vm_id)
        if known is not None and known.running:
            call.close()
            return
        errand = Errand()
        self._by_vm[vm_id] = errand
        errand.task = asyncio.create_task(self._run(errand, call, label))

    def of(self, vm_id: int) -> Errand | None:
        """The machine's call if it is under way or has just ended."""
        errand = self._by_vm.get(vm_id)
        if errand is not None and not errand.worth_telling():
            del self._by_vm[vm_id]
            return None
        return errand

    async def close(self) -> None:
        """Give up what is under way; the clusters carry on with what they have begun."""
        tasks = [errand.task for errand in self._by_vm.values() if errand.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, errand: Errand, call: Coroutine[Any, Any, None], label: str) -> None:
        try:
            await call
        except Problem as problem:
            log.warning("%s failed: %s", label, problem)
            errand.problem = problem
        except Exception:
            log.exception("%s failed", label)
            errand.problem = Problem(INTERNAL)
        finally:
            errand.task = None
            errand.ended_at = time.monotonic()
