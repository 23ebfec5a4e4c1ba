"""The whole simulated cluster: what the demo starts and the tests talk to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from cyberlab.simulator import guest_qemu
from cyberlab.simulator.api import Api
from cyberlab.simulator.certificates import Certificates, ed25519_key, public_line, rsa_key
from cyberlab.simulator.commands import Commands
from cyberlab.simulator.guest import Guest
from cyberlab.simulator.guest_drawn import DrawnGuest
from cyberlab.simulator.guest_qemu import QemuGuest
from cyberlab.simulator.member import Member, Shared
from cyberlab.simulator.options import Options
from cyberlab.simulator.power import Power
from cyberlab.simulator.pvesh import Pvesh
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.remote import Remote
from cyberlab.simulator.sshd import USER, Sshd
from cyberlab.simulator.state import ClusterState, Vm, demo_cluster
from cyberlab.simulator.tasks import Tasks
from cyberlab.simulator.termproxy import Terminals
from cyberlab.simulator.tickets import KeyRing, Tickets
from cyberlab.simulator.vncproxy import Consoles

# sun_path holds 108 bytes; the longest name in the folder takes 12 of them.
MAX_SOCKET_FOLDER = 90


log = logging.getLogger(__name__)


class StateInUse(Exception):
    """Another simulator runs on this state directory."""


class SimulatedCluster:
    """A Proxmox cluster on loopback. One of its nodes can be reached, at 127.0.0.1, unless ``addresses`` names several.

    ``state_dir`` keeps keys and certificates from one start to the next. ``qemu``: None uses QEMU where it is
    installed. A port of 0 takes a free one. ``addresses``: of nodes by name, each of its own (127.0.0.11 and so on),
    since all listen on the same two ports. ``state`` and ``options`` may be changed while it runs.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        qemu: bool | None = None,
        ssh_port: int = 0,
        api_port: int = 0,
        state: ClusterState | None = None,
        options: Options | None = None,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = state_dir
        self.state = state or demo_cluster()
        self.options = options or Options()
        self.qemu = guest_qemu.available() if qemu is None else qemu
        self.guests: dict[int, Guest] = {}
        self.tasks = Tasks()
        self.power = Power(self.options, self.tasks, self.guests, self._hang_up)
        self.members: dict[str, Member] = {}
        self._addresses = dict(addresses or {self.state.here: "127.0.0.1"})
        self._ports = ssh_port, api_port
        self._starting: set[asyncio.Task[None]] = set()
        self._lock: IO[bytes] | None = None
        self._run_folder: Path | None = None

    async def start(self) -> None:
        """Listen on all ports; the guests that run boot meanwhile.

        Raises StateInUse when another simulator has the directory, OSError when a port is taken.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self.folder / "lock")
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        self._run_folder = self._make_run_folder()
        ring = KeyRing(rsa_key(self.folder / "authkey.key"))
        (self.folder / "authorized_keys").write_text(public_line(ed25519_key(self.key_path)) + "\n")
        shared = Shared(self.state, self.options, self.tasks, self.guests, self.power, ring, self.key_path)
        for number, (name, host) in enumerate(self._addresses.items(), 1):
            first = number == 1
            own = self.folder if first else self.folder / "nodes" / name
            node = self.state.nodes[name]
            certificates = Certificates(self.folder, name, (node.address, host), own)
            if len(self._addresses) > 1:
                node.address = host
            socket = self._run_folder / ("node.sock" if first else f"node{number}.sock")
            self.members[name] = Member(name, host, shared, certificates, own, socket)
        self._here = next(iter(self.members.values()))
        for vm in self.state.vms.values():
            self._plug(vm)
        peers = {name: member.certificates for name, member in self.members.items()}
        ssh_port, api_port = self._ports
        for member in self.members.values():
            await member.start(peers, ssh_port, api_port)
            ssh_port, api_port = member.sshd.port, member.api.port
            if not self.state.nodes[member.name].online:
                member.unplug()
        self.known_hosts.write_text("".join(member.known_hosts for member in self.members.values()))

    # --- the node that can be reached, or the first of them

    @property
    def tickets(self) -> Tickets:
        """Its tickets; ``rotate`` counts for the whole cluster."""
        return self._here.tickets

    @property
    def consoles(self) -> Consoles:
        """Its console ports."""
        return self._here.consoles

    @property
    def terminals(self) -> Terminals:
        """Its termproxy workers."""
        return self._here.terminals

    @property
    def pvesh(self) -> Pvesh:
        """Its command of that name."""
        return self._here.pvesh

    @property
    def commands(self) -> Commands:
        """Its programs."""
        return self._here.commands

    @property
    def sshd(self) -> Sshd:
        """Its SSH server."""
        return self._here.sshd

    @property
    def api(self) -> Api:
        """Its web port."""
        return self._here.api

    @property
    def remote(self) -> Remote:
        """Its programs, for a real sshd."""
        return self._here.remote

    def _make_run_folder(self) -> Path:
        """Where the unix sockets are: inside the state directory unless its path is too long for one."""
        folder = self.folder.resolve() / "run"
        if len(str(folder)) <= MAX_SOCKET_FOLDER:
            folder.mkdir(exist_ok=True, mode=0o700)
            return folder
        return Path(tempfile.mkdtemp(prefix="cyberlab-"))

    def _plug(self, vm: Vm) -> None:
        """Give a machine its guest, and its power if the state says so."""
        node = self.state.nodes.get(vm.node)
        if node is None or not node.online:
            return
        assert self._run_folder is not None
        if self.qemu and vm.kind == "qemu":
            self.guests[vm.vmid] = QemuGuest(vm.vmid, vm.name, self._run_folder, self._crashed)
        else:
            self.guests[vm.vmid] = DrawnGuest(vm.vmid, vm.name)
        if vm.running:
            task = asyncio.create_task(self._boot(vm), name=f"boot {vm.vmid}")
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _boot(self, vm: Vm) -> None:
        try:
            await self.power.on(vm)
        except Refusal as refusal:
            log.warning("the guest %d (%s) did not start: %s", vm.vmid, vm.name, refusal.message)

    def _hang_up(self, vmid: int) -> None:
        """A guest went off: its terminals end, whichever node they were opened at."""
        for member in self.members.values():
            member.terminals.hang_up(vmid)

    def _crashed(self, vmid: int) -> None:
        """A QEMU ended by itself (or was told to): for Proxmox the VM is stopped from now on."""
        vm = self.state.vms.get(vmid)
        if vm is not None:
            vm.running = False

    async def close(self) -> None:
        """End everything: connections, threads, processes, sockets. The keys stay."""
        for member in self.members.values():
            await member.close()
        self.members.clear()
        await self.power.close()
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        await asyncio.gather(*(guest.stop() for guest in self.guests.values()))
        self.guests.clear()
        if self._run_folder is not None:
            shutil.rmtree(self._run_folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    @property
    def key_path(self) -> Path:
        """The private key that root@pve1 admits."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host key, as ssh-keyscan would have it."""
        return self.folder / "known_hosts"

    @property
    def bin_folder(self) -> Path:
        """Executables named pvesh, perl and setsid, for a real sshd's PATH."""
        return self.folder / "bin"

    def environment(self) -> dict[str, str]:
        """The settings under which the portal finds this cluster."""
        return {
            "PROXMOX_CLUSTER": self.state.name,
            **self._here.environment(),
            "PROXMOX_USER": "root@pam",
            "PROXMOX_SSH_USER": USER,
            "PROXMOX_SSH_KEY_PATH": str(self.key_path.resolve()),
            "PROXMOX_SSH_KNOWN_HOSTS": str(self.known_hosts.resolve()),
        }

    def environment_toml(self) -> str:
        """The same for all nodes: this cluster's part of a clusters.toml."""
        common = {
            "name": self.state.name,
            "user": "root@pam",
            "ssh_port": self.sshd.port,
            "ssh_user": USER,
            "ssh_key_path": str(self.key_path.resolve()),
            "ssh_known_hosts": str(self.known_hosts.resolve()),
        }
        # JSON's strings and numbers are TOML's, too.
        lines = ["[[cluster]]", *(f"{key} = {json.dumps(value)}" for key, value in common.items())]
        for member in self.members.values():
            node = {"name": member.name, "host": member.environment()["PROXMOX_HOST"], "ssh_host": member.host}
            lines += ["", "[[cluster.node]]", *(f"{key} = {json.dumps(value)}" for key, value in node.items())]
        return "\n".join(lines) + "\n"

    def cpu_used(self) -> dict[str, dict[str, float]]:
        """CPU-seconds by node and kind of work since the start, as the nodes' processors counted them."""
        return {name: dict(member.cpu.used) for name, member in self.members.items()}

    def vms(self) -> list[dict[str, object]]:
        """Every guest: vmid, kind, node, name, status."""
        return [
            {
                "vmid": vm.vmid,
                "kind": vm.kind,
                "node": vm.node,
                "name": vm.name,
                "status": "running" if vm.running else "stopped",
            }
            for _, vm in sorted(self.state.vms.items())
        ]

    async def start_vm(self, vmid: int) -> None:
        """Switch a machine on behind the portal's back."""
        await self.power.on(self.state.vms[vmid])

    async def stop_vm(self, vmid: int) -> None:
        """Switch it off."""
        await self.power.off(self.state.vms[vmid])

    def lock_vm(self, vmid: int, lock: str) -> None:
        """Lock its configuration (``backup``), or unlock it with an empty string."""
        self.state.vms[vmid].lock = lock

    def migrate_vm(self, vmid: int, node: str) -> None:
        """Move its configuration to another node, as a migration of a machine that is off."""
        self.state.vms[vmid].node = node

    async def migrate_live(self, vmid: int, node: str) -> None:
        """Move a machine that runs: it goes on over there, its consoles end here."""
        self.migrate_vm(vmid, node)
        await asyncio.gather(*(member.api.end_consoles(vmid) for member in self.members.values()))

    async def delete_vm(self, vmid: int) -> None:
        """Remove it from the cluster."""
        guest = self.guests.pop(vmid, None)
        if guest is not None:
            await guest.stop()
        del self.state.vms[vmid]

    async def add_vm(self, vm: Vm) -> None:
        """Put another machine into the cluster."""
        self.state.add(vm)
        self._plug(vm)

    def set_offline(self, node: str, offline: bool = True) -> None:
        """Cut a node off, or bring it back: whoever asks it waits, and its ports swallow connections."""
        self.state.nodes[node].online = not offline
        member = self.members.get(node)
        if member is not None and offline:
            member.unplug()
        elif member is not None:
            member.plug()
        for vm in self.state.vms.values():
            if vm.node == node and not offline and vm.vmid not in self.guests:
                self._plug(vm)

    async def booted(self) -> None:
        """Wait until every guest that runs can be reached."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._starting)


def _locked(path: Path) -> IO[bytes]:
    """Hold the directory: two simulators would take each other's guests' sockets away."""
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StateInUse(f"another simulator uses {path.parent}") from None
    return file
