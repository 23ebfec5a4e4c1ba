"""The simulated cluster of bench/nine.py, as a process of its own that is told what to do on stdin.

    python bench/nine_cluster.py DIRECTORY NODES MACHINES CORES

One line of JSON when it is ready, and one for each command: `facts` (what the nodes' processors did, how many
connections there were at most, how late this process's own timers were), `mark` (the same, and begin anew), `restart
NODE SECONDS` (its sshd ends every connection, refuses new ones for so long, and comes back). It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyberlab.simulator.member import Member
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.state import classroom

TICK = 0.01  # seconds between two looks at the connections


class Watch:
    """Looks at the nodes all the time, and at the clock."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._restarted: dict[str, float] = {}
        self.back: dict[str, float] = {}  # seconds from the restart's beginning to the first command over SSH
        for name, member in cluster.members.items():
            self._listen(name, member)
        self._begin()

    def _begin(self) -> None:
        self._used = self._cpu()
        self._burnt = time.process_time()
        self._connections: Counter[str] = Counter()
        self._late: list[float] = []

    def _listen(self, name: str, member: Member) -> None:
        """Note when a node has its first command after a restart of its sshd."""
        commands: Any = member.commands

        def noting(run: Callable[..., Any]) -> Callable[..., Any]:
            def noted(*arguments: Any) -> Any:
                if name in self._restarted:
                    self.back[name] = time.monotonic() - self._restarted.pop(name)
                return run(*arguments)

            return noted

        commands.run, commands.run_warm = noting(commands.run), noting(commands.run_warm)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            self._late.append(time.monotonic() - before - TICK)
            for name, member in self._cluster.members.items():
                self._connections[name] = max(self._connections[name], member.sshd.connections)

    def _cpu(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for used in self._cluster.cpu_used().values():
            total.update(used)
        return total

    def facts(self) -> dict[str, Any]:
        """What has happened since the mark."""
        late = sorted(self._late) or [0.0]
        return {
            "cpu": {kind: seconds - self._used[kind] for kind, seconds in self._cpu().items()},
            "burnt": time.process_time() - self._burnt,
            "ssh": dict(self._connections),
            "late": {"p50": late[len(late) // 2], "p99": late[len(late) * 99 // 100], "max": late[-1]},
            "consoles": sum(len(member.api.consoles) for member in self._cluster.members.values()),
            "back": self.back,
        }

    def mark(self) -> dict[str, Any]:
        """The same, and begin anew."""
        facts = self.facts()
        self._begin()
        return facts

    async def restart(self, name: str, down: float) -> dict[str, Any]:
        """One node's sshd."""
        sshd = self._cluster.members[name].sshd
        began = time.monotonic()
        await sshd.stop()
        await asyncio.sleep(max(0.0, down - (time.monotonic() - began)))
        self._restarted[name] = began
        await sshd.listener.reopen()
        return {"down": time.monotonic() - began}


async def main() -> None:
    """Run until stdin ends."""
    folder, nodes, machines, cores = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    state = classroom("nine", nodes, machines)
    addresses = {name: f"127.0.0.{11 + number}" for number, name in enumerate(state.nodes)}
    # The sockets' names must be short ones.
    with tempfile.TemporaryDirectory(prefix="nine-") as short:
        cluster = SimulatedCluster(
            Path(short), qemu=False, state=state, options=Options.as_measured(cores), addresses=addresses
        )
        await cluster.start()
        watching = asyncio.create_task(_watch(cluster, folder))
        try:
            await watching
        finally:
            await cluster.close()


async def _watch(cluster: SimulatedCluster, folder: Path) -> None:
    await cluster.booted()
    (folder / "clusters.toml").write_text(cluster.environment_toml())
    watch = Watch(cluster)
    looking = asyncio.create_task(watch.run())
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(json.dumps({"vms": cluster.vms()}), flush=True)
    try:
        while words := (await commands.readline()).decode().split():
            if words[0] == "restart":
                answer = await watch.restart(words[1], float(words[2]))
            else:
                answer = watch.mark() if words[0] == "mark" else watch.facts()
            print(json.dumps(answer), flush=True)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
