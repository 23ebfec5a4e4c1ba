"""The API paths that the simulated pvesh knows, and what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from cyberlab.simulator.certificates import Certificates
from cyberlab.simulator.options import Options
from cyberlab.simulator.power import Power
from cyberlab.simulator.pvesh import BadCall, Call, Parameter, Route
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.state import MIB, ClusterState, Vm
from cyberlab.simulator.tasks import Task, Tasks
from cyberlab.simulator.tickets import Tickets, vnc_password
from cyberlab.simulator.vncproxy import Consoles

VERSION = {"release": "9.1", "repoid": "d0fe1b2f3f1a7c5e", "version": "9.1.9"}
_GUEST = "/nodes/{node}/{kind}/{vmid}"
_NAME = Parameter(
    pattern=r"(?i)[a-z][a-z0-9_-]{1,39}", complaint="invalid format - invalid configuration ID '{}'\n", required=True
)
_BOOLEAN = Parameter("boolean")
_INTEGER = Parameter("integer")
_VMS = "/vms/{vmid}"
Action = Callable[[Call, Vm], Awaitable[str]]
Params = Mapping[str, Parameter]


class Calls:
    """Every call, as methods over the cluster's state; ``routes`` is the list for pvesh and the web port."""

    def __init__(
        self,
        state: ClusterState,
        here: str,
        options: Options,
        tasks: Tasks,
        tickets: Tickets,
        consoles: Consoles,
        power: Power,
        certificates: Certificates,
        peers: Mapping[str, Certificates],
    ) -> None:
        """``here``: the node that answers, whose ``certificates`` these are; ``peers``: all nodes' by name."""
        self._state = state
        self._here = here
        self._peers = peers
        self._options = options
        self._tasks = tasks
        self._tickets = tickets
        self._consoles = consoles
        self._power = power
        self._certificates = certificates
        self._resources: list[dict[str, object]] = []
        self._resources_at = 0.0

    def routes(self) -> list[Route]:
        """The API tree, as far as the portal walks it."""
        power = self._power
        vnc = {"websocket": _BOOLEAN, "generate-password": _BOOLEAN, "width": _INTEGER, "height": _INTEGER}
        page = {"start": _INTEGER, "limit": _INTEGER}
        filters = page | {"source": Parameter(), "vmid": _INTEGER, "typefilter": Parameter(), "errors": _BOOLEAN}
        create = {"snapname": _NAME, "description": Parameter(), "vmstate": _BOOLEAN}
        stop = {"timeout": _INTEGER, "forceStop": _BOOLEAN, "overrule-shutdown": _BOOLEAN}
        snapshot = _GUEST + "/snapshot/{snapname}"
        audit, console, switch = (_VMS, "VM.Audit"), (_VMS, "VM.Console"), (_VMS, "VM.PowerMgmt")
        keep, back = (_VMS, "VM.Snapshot"), (_VMS, "VM.Snapshot", "VM.Snapshot.Rollback")

        def change(method: str, path: str, action: Action, params: Params, permission: tuple[str, ...]) -> Route:
            return Route(method, path, self._on_guest(action), params, permission=permission)

        return [
            Route("get", "/version", self._version),
            Route("get", "/nodes", self._nodes),
            Route("get", "/cluster/status", self._cluster_status, permission=("/", "Sys.Audit")),
            Route("get", "/nodes/{node}/time", self._time, permission=("/nodes/{node}", "Sys.Audit")),
            Route("get", "/cluster/resources", self._resource_list, {"type": Parameter()}),
            Route("get", _GUEST + "/status/current", self._current, permission=audit),
            Route("get", _GUEST + "/config", self._config, {"current": _BOOLEAN}, permission=audit),
            Route("get", _GUEST + "/snapshot", self._snapshots, permission=audit),
            # No `proxyto` on these two: the port opens where pvesh runs, whatever node is in the path.
            Route("create", _GUEST + "/vncproxy", self._vncproxy, vnc, proxied=False, permission=console),
            Route(
                "create", _GUEST + "/termproxy", self._termproxy, {"serial": Parameter()},
                proxied=False, permission=console,
            ),
            change("create", _GUEST + "/status/start", power.start, {"timeout": _INTEGER}, switch),
            change("create", _GUEST + "/status/stop", power.stop, stop, switch),
            change("create", _GUEST + "/status/shutdown", power.shutdown, stop, switch),
            change("create", _GUEST.replace("{kind}", "qemu") + "/status/reset", power.reset, {}, switch),
            change("create", _GUEST + "/status/reboot", power.reboot, {"timeout": _INTEGER}, switch),
            change("create", _GUEST + "/snapshot", power.snapshot, create, keep),
            change("create", snapshot + "/rollback", power.rollback, {"start": _BOOLEAN}, back),
            change("delete", snapshot, power.delete_snapshot, {"force": _BOOLEAN}, keep),
            Route("get", "/nodes/{node}/tasks", self._task_list, filters),
            Route("get", "/nodes/{node}/tasks/{upid}/status", self._task_status),
            Route("get", "/nodes/{node}/tasks/{upid}/log", self._task_log, page),
            Route("get", "/nodes/{node}/certificates/info", self._certificate_info),
            Route("get", "/access/users", self._users),
            Route("get", "/access/permissions", self._permissions, {"userid": Parameter(), "path": Parameter()}),
        ]  # fmt: skip

    def _guest(self, call: Call) -> Vm:
        return self._state.vm(call.node, call.path.get("kind", "qemu"), call.vmid)

    def _on_guest(self, action: Action) -> Callable[[Call], Awaitable[object]]:
        async def handler(call: Call) -> object:
            return await action(call, self._guest(call))

        return handler

    async def _version(self, _: Call) -> object:
        return VERSION

    async def _nodes(self, _: Call) -> object:
        rows = []
        for node in self._state.nodes.values():
            row: dict[str, object] = {"id": f"node/{node.name}", "node": node.name, "type": "node", "status": "unknown"}
            row["ssl_fingerprint"] = self._peers.get(node.name, self._certificates).fingerprint
            if not node.online:
                row["status"] = "offline"
            elif node.known:
                row |= {"status": "online", "level": "", "uptime": 86_400, "cpu": 0.03, "maxcpu": 16}
                row |= {"mem": 8192 * MIB, "maxmem": 65_536 * MIB, "disk": 12_288 * MIB, "maxdisk": 98_304 * MIB}
            rows.append(row)
        return rows

    async def _cluster_status(self, _: Call) -> object:
        """PVE/API2/Cluster.pm get_status: the cluster, then its nodes with their addresses."""
        nodes = list(self._state.nodes.values())
        online = sum(node.online for node in nodes)
        cluster: dict[str, object] = {"id": "cluster", "name": self._state.name, "type": "cluster", "version": 3}
        rows = [cluster | {"nodes": len(nodes), "quorate": int(2 * online > len(nodes))}]
        for number, node in enumerate(nodes, 1):
            row: dict[str, object] = {"id": f"node/{node.name}", "name": node.name, "type": "node", "level": ""}
            row |= {"ip": node.address, "nodeid": number, "online": int(node.online)}
            rows.append(row | {"local": int(node.name == self._here)})
        return rows

    async def _time(self, call: Call) -> object:
        node = self._state.nodes[self._here if call.node == "localhost" else call.node]
        now = int(time.time() + node.skew)
        return {"time": now, "localtime": now, "timezone": "UTC"}

    async def _resource_list(self, call: Call) -> object:
        now = time.monotonic()
        if now - self._resources_at >= self._options.resources_age:
            self._resources = [self._resource(vm) for _, vm in sorted(self._state.vms.items())]
            self._resources_at = now
        if call.text("type", "vm") != "vm":
            raise BadCall("Parameter verification failed.\ntype: the simulated cluster lists type 'vm' only")
        # PVE/API2/Cluster.pm lists containers and machines together, by kind, as far as the caller may audit them.
        may = [row for row in self._resources if self._state.may(call.user, f"/vms/{row['vmid']}", "VM.Audit")]
        shown = []
        for row in may:
            # Without this privilege a machine's pool is not told.
            hidden = "pool" in row and not self._state.may(call.user, f"/pool/{row['pool']}", "Pool.Audit")
            shown.append({key: value for key, value in row.items() if not (hidden and key == "pool")})
        return sorted(shown, key=lambda row: row["type"] != "qemu")

    def _resource(self, vm: Vm) -> dict[str, object]:
        """API2Tools.pm:84-119: for a guest that no living pvestatd reports, only what the configuration tells.

        A machine's status is QEMU's own word, where that has one (pvestatd, update_qemu_status).
        """
        row: dict[str, object] = {"id": f"{vm.kind}/{vm.vmid}", "node": vm.node, "type": vm.kind, "vmid": vm.vmid}
        row |= {key: value for key, value in (("tags", vm.tags), ("lock", vm.lock), ("pool", vm.pool)) if value}
        node = self._state.nodes.get(vm.node)
        if node is None or not node.online or not vm.known:
            return row | {"status": "unknown"}
        status = "stopped" if not vm.running else "paused" if vm.paused else "running"
        row |= {"name": vm.name, "status": status, "template": 0}
        return row | _load(vm) | {"maxcpu": 1, "diskread": 0, "diskwrite": 0}

    async def _current(self, call: Call) -> object:
        vm = self._guest(call)
        status = "running" if vm.running else "stopped"
        facts: dict[str, object] = {"vmid": vm.vmid, "name": vm.name, "status": status, "cpus": 1, "ha": {"managed": 0}}
        facts |= _load(vm) | {"cpu": 0, "diskread": 0, "diskwrite": 0}
        if vm.kind == "qemu":
            del facts["diskread"], facts["diskwrite"]
            facts["qmpstatus"] = "paused" if vm.paused else status
        else:
            del facts["memhost"]
            facts |= {"type": "lxc", "swap": 0, "maxswap": 512 * MIB, "diskread": 0, "diskwrite": 0}
        if vm.running:
            facts["pid"] = 31_000 + vm.vmid
            kinds = ("cpufull", "cpusome", "iofull", "iosome", "memoryfull", "memorysome")
            facts |= {f"pressure{kind}": 0 for kind in kinds}
        if vm.tags:
            facts["tags"] = vm.tags
        if vm.lock:
            facts["lock"] = vm.lock
        return facts

    async def _config(self, call: Call) -> object:
        vm = self._guest(call)
        facts: dict[str, object] = {"cores": 1, "digest": vm.digest}
        if vm.kind == "qemu":
            serial = f"{vm.vmid:08x}-5c5c-406d-9457-5fd9a08bc304"
            facts |= {"boot": " ", "memory": str(vm.memory), "name": vm.name, "smbios1": f"uuid={serial}"}
            facts |= {"meta": f"creation-qemu=10.1.2,ctime={vm.created}", "vmgenid": serial[::-1]}
            if vm.disk:
                facts["scsi0"] = f"local:{vm.vmid}/vm-{vm.vmid}-disk-0.qcow2,size={vm.disk // (1024 * MIB)}G"
        else:
            facts |= {"hostname": vm.name, "memory": vm.memory, "ostype": "debian", "arch": "amd64"}
        extra = {"tags": vm.tags, "lock": vm.lock, "parent": vm.parent}
        return facts | {key: value for key, value in extra.items() if value}

    async def _snapshots(self, call: Call) -> object:
        vm = self._guest(call)
        rows: list[dict[str, object]] = []
        for snapshot in vm.snapshots.values():
            row: dict[str, object] = {"name": snapshot.name, "snaptime": snapshot.taken}
            row |= {"description": snapshot.description, "vmstate": int(snapshot.vmstate)}
            rows.append(row | ({"parent": snapshot.parent} if snapshot.parent else {}))
        current: dict[str, object] = {"name": "current", "description": "You are here!"}
        current |= {"digest": vm.digest, "running": int(vm.running)}
        return [*rows, current | ({"parent": vm.parent} if vm.parent else {})]

    async def _vncproxy(self, call: Call) -> object:
        """Qemu.pm:2990-3140. There is no check that the VM runs."""
        vm = self._guest(call)
        if not call.number("websocket"):
            raise Refusal("the simulated vncproxy needs --websocket 1: without it the port listens on every interface")
        if vm.kind == "lxc" and call.cli:
            # LXC.pm:1073 has no `background`, so pvesh waits for a vncterm that waits for its viewer.
            await asyncio.sleep(self._options.lxc_vncproxy)
            raise Refusal("Timeout while waiting for port '5901' to get ready!")
        answer: dict[str, object] = {"user": call.user, "cert": self._certificates.ca_pem}
        if self._options.hardened:
            password = vnc_password()
            port, task = self._consoles.listen(vm, call.user, password)
            ticket = f"{password}:{self._ticket(call, port)}"
            return answer | {"port": str(port), "ticket": ticket, "password": password, "upid": task.upid}
        # Before April 2026 the password was the ticket, of which RFB uses eight characters: "PVEVNC:6" for all.
        ticket = self._ticket(call, 0)
        asked = vm.kind == "qemu" and bool(call.number("generate-password"))
        password = vnc_password() if asked else ticket
        port, task = self._consoles.listen(vm, call.user, password)
        answer |= {"port": str(port), "ticket": ticket, "upid": task.upid}
        return answer | ({"password": password} if asked else {})

    def _ticket(self, call: Call, port: int) -> str:
        """For the acting user, a token's full id included; the port is part of it since April 2026."""
        return self._tickets.vnc_ticket(call.user, f"/vms/{call.vmid}", port if self._options.hardened else None)

    async def _termproxy(self, call: Call) -> object:
        vm = self._guest(call)
        port, task = self._consoles.listen(vm, call.user, "")
        ticket = self._ticket(call, port)
        if self._options.hardened:
            self._consoles.pin(port, f"{call.user}:{ticket}")
        return {"user": call.user, "port": str(port), "ticket": ticket, "upid": task.upid}

    async def _task_list(self, call: Call) -> object:
        source = call.text("source", "archive")
        found = [] if source == "active" else self._tasks.finished(call.node)
        if source in ("active", "all"):
            found = self._tasks.active(call.node) + found
        if not self._state.may(call.user, f"/nodes/{call.node}", "Sys.Audit"):
            found = [task for task in found if task.user == call.user]
        if "vmid" in call.params:
            found = [task for task in found if task.id == str(call.params["vmid"])]
        if "typefilter" in call.params:
            found = [task for task in found if task.kind == call.params["typefilter"]]
        if call.number("errors"):
            found = [task for task in found if task.status not in ("", "OK")]
        start = call.number("start")
        ended = found[start : start + call.number("limit", 50)]
        return [t.facts() | ({"endtime": t.endtime, "status": t.status} if t.status else {}) for t in ended]

    async def _task_status(self, call: Call) -> object:
        task = self._task(call)
        done = {"status": "stopped", "exitstatus": task.status}
        return task.facts() | (done if task.status else {"status": "running"})

    async def _task_log(self, call: Call) -> object:
        start = call.number("start")
        return self._task(call).log()[start : start + call.number("limit", 50)]

    def _task(self, call: Call) -> Task:
        """The caller's own task, or anybody's for who may audit the node (PVE/API2/Tasks.pm)."""
        task = self._tasks.get(call.path["upid"])
        if task is None:
            raise Refusal("no such task")
        path = f"/nodes/{call.node}"
        if task.user != call.user and not self._state.may(call.user, path, "Sys.Audit"):
            raise Refusal(f"Permission check failed ({path}, Sys.Audit)", forbidden=True)
        return task

    async def _certificate_info(self, call: Call) -> object:
        if call.node == "localhost":
            # The node's own files are looked for under the name in the path (PVE/API2/Certificates.pm, info).
            return self._certificates.describe()[:1]
        return self._peers.get(call.node, self._certificates).describe()

    async def _users(self, call: Call) -> object:
        everybody = self._state.may(call.user, "/access", "Sys.Audit")
        own = call.user.partition("!")[0]
        users = sorted(self._state.users.values(), key=lambda user: user.userid)
        users = [user for user in users if everybody or user.userid == own]
        return [{"enable": int(u.enabled), "expire": 0, "realm-type": u.realm, "userid": u.userid} for u in users]

    async def _permissions(self, call: Call) -> object:
        asked = call.text("userid", call.user)
        if asked != call.user and not self._state.may(call.user, "/access", "Sys.Audit"):
            raise Refusal("Permission check failed (/access, Sys.Audit)", forbidden=True)
        user = self._state.users.get(asked.partition("!")[0])
        paths = user.permissions if user is not None else {}
        if user is not None and user.userid == "root@pam":
            most = ("Pool.Audit", "Sys.Modify", "VM.Audit", "VM.Console", "VM.PowerMgmt", "VM.Snapshot.Rollback")
            paths = {"/": frozenset(most)}
        return {path: dict.fromkeys(sorted(privileges), 1) for path, privileges in paths.items()}


def _load(vm: Vm) -> dict[str, object]:
    """The figures that pvestatd measures."""
    memory = vm.memory * MIB
    used = memory * 3 // 8 if vm.running else 0
    facts: dict[str, object] = {"cpu": 0.01 if vm.running else 0, "mem": used, "memhost": used, "maxmem": memory}
    return facts | {"disk": 0, "maxdisk": vm.disk, "netin": 0, "netout": 0, "uptime": vm.uptime}
