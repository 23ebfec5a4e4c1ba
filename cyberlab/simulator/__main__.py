"""``python -m cyberlab.simulator --state DIR``: the simulated cluster as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import signal
import sys
from pathlib import Path

from cyberlab.simulator.node import SimulatedCluster, StateInUse
from cyberlab.simulator.options import Options
from cyberlab.simulator.state import add_lab, classroom, demo_cluster


def main() -> None:
    """Start, print one line of JSON when ready, run until a signal (or the parent's end)."""
    parser = argparse.ArgumentParser(prog="python -m cyberlab.simulator", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory for keys and certificates")
    parser.add_argument("--ssh-port", type=int, default=0, help="0: a free one")
    parser.add_argument("--api-port", type=int, default=0, help="0: a free one")
    parser.add_argument("--name", default="", help="the cluster's name; with --nodes and --machines")
    parser.add_argument("--nodes", type=int, default=0, help="that many nodes at ADDRESS and the addresses behind it")
    parser.add_argument("--address", default="127.0.0.11", help="of the first node, with --nodes")
    parser.add_argument("--machines", type=int, default=0, help="that many machines instead of the demo's")
    parser.add_argument("--lab", type=int, default=0, help="that many machines more, with snapshots; half of them run")
    parser.add_argument("--task-seconds", type=float, default=0.0, help="how long power and snapshot tasks take")
    parser.add_argument("--cores", type=float, default=0.0, help="cores of a node; calls then cost what real ones do")
    parser.add_argument("--no-qemu", action="store_true", help="draw the guests' screens even where QEMU is installed")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin reaches its end")
    args = parser.parse_args()
    asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if args.with_parent:
        loop.add_reader(0, _until_end, stop)
    several = args.nodes or args.machines
    state = classroom(args.name or "demo", args.nodes or 1, args.machines) if several else demo_cluster()
    if args.lab:
        add_lab(state, args.lab)
    options = Options.as_measured(args.cores) if args.cores else Options()
    options.task_duration = args.task_seconds
    first = ipaddress.ip_address(args.address)
    cluster = SimulatedCluster(
        args.state,
        qemu=False if args.no_qemu else None,
        ssh_port=args.ssh_port,
        api_port=args.api_port,
        state=state,
        options=options,
        addresses={name: str(first + number) for number, name in enumerate(state.nodes)} if args.nodes else None,
    )
    try:
        await cluster.start()
    except (StateInUse, OSError) as trouble:
        sys.exit(f"the simulated Proxmox node did not start: {trouble}")
    try:
        loop.add_signal_handler(signal.SIGUSR1, _tell, cluster)
        restarts: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGUSR2, _restart, cluster, restarts)
        ready = {"environment": cluster.environment(), "vms": cluster.vms(), "qemu": cluster.qemu}
        ready["clusters_toml"] = cluster.environment_toml()
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if args.with_parent:
            loop.remove_reader(0)
        await cluster.close()


def _tell(cluster: SimulatedCluster) -> None:
    """A line of JSON: what the nodes' processors have done, and who is connected by SSH. At SIGUSR1."""
    ssh = {name: member.sshd.connections for name, member in cluster.members.items()}
    sys.stdout.write(json.dumps({"cpu": cluster.cpu_used(), "ssh": ssh}) + "\n")
    sys.stdout.flush()


def _restart(cluster: SimulatedCluster, restarts: set[asyncio.Task[None]]) -> None:
    """Every node's sshd. At SIGUSR2."""
    for member in cluster.members.values():
        task = asyncio.create_task(member.sshd.restart())
        restarts.add(task)
        task.add_done_callback(restarts.discard)


def _until_end(stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        stop.set()


if __name__ == "__main__":
    main()
