"""The whole simulated cluster: what the demo starts and the tests talk to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import shutil
import tempfile
from pathlib import Path
from typing import IO, Protocol

from cyberlab.simulator import guest_qemu
from cyberlab.simulator.api import Api
from cyberlab.simulator.calls import Calls
from cyberlab.simulator.certificates import Certificates, ed25519_key, public_line, rsa_key
from cyberlab.simulator.commands import Commands
from cyberlab.simulator.guest import Guest
from cyberlab.simulator.guest_drawn import DrawnGuest
from cyberlab.simulator.guest_qemu import QemuGuest
from cyberlab.simulator.options import Options
from cyberlab.simulator.power import Power
from cyberlab.simulator.pvesh import Pvesh
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.remote import Remote
from cyberlab.simulator.sshd import USER, Sshd
from cyberlab.simulator.state import ClusterState, Vm, demo_cluster
from cyberlab.simulator.tasks import Tasks
from cyberlab.simulator.termproxy import Terminals
from cyberlab.simulator.tickets import Tickets
from cyberlab.simulator.vncproxy import Consoles

# sun_path holds 108 bytes; the longest name in the folder takes 12 of them.
MAX_SOCKET_FOLDER = 90


log = logging.getLogger(__name__)


class StateInUse(Exception):
    """Another simulator runs on this state directory."""


class Service(Protocol):
    """A part of the node that must be closed."""

    async def close(self) -> None:
        """End everything it started."""
        ...


class SimulatedCluster:
    """A Proxmox cluster on 127.0.0.1, seen from its node pve1.

    ``state_dir`` keeps keys and certificates from one start to the next. ``qemu``: None uses QEMU where it is
    installed. A port of 0 takes a free one. ``state`` and ``options`` may be changed while it runs.
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
    ) -> None:
        self.folder = state_dir
        self.state = state or demo_cluster()
        self.options = options or Options()
        self.qemu = guest_qemu.available() if qemu is None else qemu
        self.guests: dict[int, Guest] = {}
        self.tasks = Tasks()
        self._ports = ssh_port, api_port
        self._starting: set[asyncio.Task[None]] = set()
        self._services: list[Service] = []
        self._lock: IO[bytes] | None = None
        self._run_folder: Path | None = None

    async def start(self) -> None:
        """Listen on both ports; the guests that run boot meanwhile.

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
        certificates = Certificates(self.folder)
        self.tickets = Tickets(rsa_key(self.folder / "authkey.key"))
        host_key = ed25519_key(self.folder / "ssh_host_ed25519_key")
        client_key = ed25519_key(self.key_path)
        (self.folder / "authorized_keys").write_text(public_line(client_key) + "\n")
        self.terminals = Terminals(self.state, self.options, self.tickets)
        self.consoles = Consoles(self.state, self.options, self.tasks, self.guests, self.terminals)
        self.power = Power(self.options, self.tasks, self.guests, self.terminals.hang_up)
        calls = Calls(self.state, self.options, self.tasks, self.tickets, self.consoles, self.power, certificates)
        routes = calls.routes()
        self.pvesh = Pvesh(self.state, self.options, routes)
        self.commands = Commands(self.state, self.options, self.tickets, self.pvesh)
        self.sshd = Sshd(self.folder / "ssh_host_ed25519_key", self.key_path, self.commands, self.options)
        self.api = Api(self.state, self.options, self.tickets, self.consoles, certificates, routes)
        self.remote = Remote(self._run_folder / "node.sock", self.bin_folder, self.commands)
        self._services = [
            self.sshd, self.api, self.remote, self.commands, self.power, self.consoles, self.terminals
        ]  # fmt: skip
        for vm in self.state.vms.values():
            self._plug(vm)
        await self.sshd.start(self._ports[0])
        await self.api.start(self._ports[1])
        await self.remote.start()
        hosts = f"[127.0.0.1]:{self.sshd.port},[localhost]:{self.sshd.port}"
        self.known_hosts.write_text(f"{hosts} {public_line(host_key)}\n")

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

    def _crashed(self, vmid: int) -> None:
        """A QEMU ended by itself (or was told to): for Proxmox the VM is stopped from now on."""
        vm = self.state.vms.get(vmid)
        if vm is not None:
            vm.running = False

    async def close(self) -> None:
        """End everything: connections, threads, processes, sockets. The keys stay."""
        for service in self._services:
            await service.close()
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        await asyncio.gather(*(guest.stop() for guest in self.guests.values()))
        self._services = []
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
            "PROXMOX_HOST": f"https://127.0.0.1:{self.api.port}",
            "PROXMOX_USER": "root@pam",
            "PROXMOX_SSH_HOST": "127.0.0.1",
            "PROXMOX_SSH_PORT": str(self.sshd.port),
            "PROXMOX_SSH_USER": USER,
            "PROXMOX_SSH_KEY_PATH": str(self.key_path.resolve()),
            "PROXMOX_SSH_KNOWN_HOSTS": str(self.known_hosts.resolve()),
        }

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
        """Move it to another node; a live migration would also end its consoles, which the caller may do."""
        self.state.vms[vmid].node = node

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
        """Cut a node off, or bring it back."""
        self.state.nodes[node].online = not offline

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
