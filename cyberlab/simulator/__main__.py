"""``python -m cyberlab.simulator --state DIR``: the simulated cluster as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from cyberlab.simulator.node import SimulatedCluster, StateInUse


def main() -> None:
    """Start, print one line of JSON when ready, run until a signal (or the parent's end)."""
    parser = argparse.ArgumentParser(prog="python -m cyberlab.simulator", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory for keys and certificates")
    parser.add_argument("--ssh-port", type=int, default=0, help="0: a free one")
    parser.add_argument("--api-port", type=int, default=0, help="0: a free one")
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
    cluster = SimulatedCluster(
        args.state, qemu=False if args.no_qemu else None, ssh_port=args.ssh_port, api_port=args.api_port
    )
    try:
        await cluster.start()
    except (StateInUse, OSError) as trouble:
        sys.exit(f"the simulated Proxmox node did not start: {trouble}")
    try:
        ready = {"environment": cluster.environment(), "vms": cluster.vms(), "qemu": cluster.qemu}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if args.with_parent:
            loop.remove_reader(0)
        await cluster.close()


def _until_end(stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        stop.set()


if __name__ == "__main__":
    main()
