"""One node of the simulated cluster: its sshd, its web port, its console ports, its programs, its processors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cyberlab.simulator.api import Api
from cyberlab.simulator.calls import Calls
from cyberlab.simulator.certificates import Certificates, ed25519_key, public_line
from cyberlab.simulator.commands import Commands
from cyberlab.simulator.cpu import Cpu
from cyberlab.simulator.guest import Guest
from cyberlab.simulator.options import Options
from cyberlab.simulator.power import Power
from cyberlab.simulator.pvesh import Pvesh
from cyberlab.simulator.remote import Remote
from cyberlab.simulator.sshd import Sshd
from cyberlab.simulator.state import ClusterState
from cyberlab.simulator.tasks import Tasks
from cyberlab.simulator.termproxy import Terminals
from cyberlab.simulator.tickets import KeyRing, Tickets
from cyberlab.simulator.vncproxy import Consoles


@dataclass(frozen=True, slots=True)
class Shared:
    """What all nodes of a cluster share."""

    state: ClusterState
    options: Options
    tasks: Tasks
    guests: dict[int, Guest]
    power: Power
    ring: KeyRing
    client_key: Path
    cpus: dict[str, Cpu] = field(default_factory=dict)


class Member:
    """A node that can be reached; ``folder`` keeps what is its own, ``socket`` is where its programs ask."""

    def __init__(self, name: str, host: str, shared: Shared, certificates: Certificates, folder: Path, socket: Path):
        self.name = name
        self.host = host
        self.folder = folder
        self.certificates = certificates
        self._state = shared.state
        self._socket = socket
        self._shared = shared
        self.cpu = shared.cpus[name] = Cpu()
        self.tickets = Tickets(shared.ring, self.clock)
        self.terminals = Terminals(shared.state, shared.options, self.tickets)
        self.consoles = Consoles(
            shared.state, name, shared.options, shared.tasks, shared.guests, self.terminals, shared.cpus
        )

    def clock(self) -> float:
        """The time as this node has it."""
        node = self._state.nodes.get(self.name)
        return time.time() + (node.skew if node is not None else 0.0)

    async def start(self, peers: Mapping[str, Certificates], ssh_port: int, api_port: int) -> None:
        """Listen on both ports; 0 takes a free one. ``peers``: the certificates of all nodes. Raises OSError."""
        shared, state, options = self._shared, self._shared.state, self._shared.options
        key = self.folder / "ssh_host_ed25519_key"
        self._host_key = public_line(ed25519_key(key))
        calls = Calls(
            state, self.name, options, shared.tasks, self.tickets, self.consoles, shared.power, self.certificates, peers
        )
        routes = calls.routes()
        self.pvesh = Pvesh(state, self.name, options, routes, shared.cpus)
        self.commands = Commands(self.name, options, self.tickets, self.pvesh, self.cpu, self._socket)
        self.sshd = Sshd(key, shared.client_key, self.commands, options)
        self.api = Api(state, self.name, options, self.tickets, self.consoles, self.certificates, routes, self.cpu)
        self.remote = Remote(self._socket, self.folder / "bin", self.commands)
        self.cpu.cores = options.cores
        await self.sshd.start(self.host, ssh_port)
        try:
            await self.api.start(self.host, api_port)
        except BaseException:
            await self.sshd.close()
            raise
        await self.remote.start()

    async def close(self) -> None:
        """End everything it started."""
        if not hasattr(self, "remote"):  # it never started
            return
        await self.sshd.close()
        await self.api.close()
        await self.remote.close()
        await self.commands.close()
        await self.consoles.close()
        await self.terminals.close()
        self.cpu.close()

    def unplug(self) -> None:
        """No packet gets an answer from now on: new connections hang, and so does every command and call."""
        self.cpu.powered.clear()
        self.sshd.listener.stall()
        self.api.listener.stall()

    def plug(self) -> None:
        """Back again."""
        self.cpu.powered.set()
        self.sshd.listener.resume()
        self.api.listener.resume()

    @property
    def known_hosts(self) -> str:
        """Its lines in known_hosts."""
        names = [self.host, "localhost"] if self.host == "127.0.0.1" else [self.host]
        hosts = ",".join(f"[{name}]:{self.sshd.port}" for name in names)
        return f"{hosts} {self._host_key}\n"

    def environment(self) -> dict[str, str]:
        """The settings under which the portal finds this node."""
        return {
            "PROXMOX_HOST": f"https://{self.host}:{self.api.port}",
            "PROXMOX_SSH_HOST": self.host,
            "PROXMOX_SSH_PORT": str(self.sshd.port),
        }
