"""The shell commands for assignments: assign, unassign."""

from __future__ import annotations

import argparse
import asyncio
import re
from datetime import datetime, time, timedelta

from sqlalchemy.orm import Session

from cyberlab import settings
from cyberlab.cli_common import CommandError, Parsers, actor, command, opened, user_named
from cyberlab.db import assignments, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, Vm, VmKind
from cyberlab.problems import Problem
from cyberlab.settings import ClusterSettings, SettingsError

_REFERENCE = re.compile(r"([a-z0-9][a-z0-9-]{0,31})/([1-9][0-9]{2,8})", re.ASCII)


def add_commands(commands: Parsers) -> None:
    """Declare ``assign`` and ``unassign``."""
    assign = command(
        commands,
        "assign",
        _assign,
        "give a VM to a user",
        "Give a VM to a user, or change times and rights if they have it. A VM that is new here is looked up on the "
        "cluster, unless --node says where it is.",
    )
    _add_pair(assign)
    assign.add_argument("--from", dest="starts", type=_start, metavar="TIME", help="2026-10-01 or 2026-10-01T08:00")
    assign.add_argument(
        "--until", dest="ends", type=_end, metavar="TIME", help="the same; a day counts to its end. Local time"
    )
    assign.add_argument("--power", action="store_true", help="they may start, stop and restart it")
    assign.add_argument("--reset", action="store_true", help="they may roll it back to a snapshot")
    assign.add_argument("--node", help="the node that holds a VM which is new here; the cluster is then not asked")
    assign.add_argument(
        "--kind", choices=[kind.value for kind in VmKind], default=VmKind.QEMU.value, help="with --node; default: qemu"
    )
    assign.add_argument("--name", default="", help="with --node: the VM's name on the pages")
    unassign = command(
        commands,
        "unassign",
        _unassign,
        "take a VM from a user",
        "Take a VM from a user; a console that is open ends within a second. What a class gives them stays.",
    )
    _add_pair(unassign)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER")
    parser.add_argument("vm", type=reference, metavar="CLUSTER/VMID", help="for example pve/100")


def reference(text: str) -> tuple[str, int]:
    """Read ``pve/100``; raise argparse.ArgumentTypeError."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"“{text}” is not CLUSTER/VMID, for example pve/100")
    return match[1], int(match[2])


def _start(text: str) -> datetime:
    return _moment(text, timedelta())


def _end(text: str) -> datetime:
    return _moment(text, timedelta(days=1))


def _moment(text: str, of_a_day: timedelta) -> datetime:
    """Read a time, local unless it says its zone; a bare day is its midnight plus ``of_a_day``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"“{text}” is no time; write 2026-10-01 or 2026-10-01T08:00") from None
    if re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", text):
        # The next midnight of the calendar, which is not always 24 hours away.
        moment = datetime.combine(moment.date() + of_a_day, time())
    return moment.astimezone()


def _assign(arguments: argparse.Namespace) -> int:
    with opened() as (database, _):
        user = user_named(database, arguments.user)
        vm = database.call(vms.by_ref, *arguments.vm)
        found = _found(arguments) if vm is None else None
        row = database.call(_give, actor(), arguments, user.id, vm, found)
    rights = [word for word, given in (("power", row.can_power), ("reset", row.can_reset)) if given]
    times = [f"{word} {when.astimezone():%Y-%m-%d %H:%M}" for word, when in _times(row) if when is not None]
    print(f"{user.username} has {row.vm.label} on {row.vm.node}: {', '.join(['console', *rights, *times])}.")
    return 0


def _times(row: Assignment) -> list[tuple[str, datetime | None]]:
    return [("from", row.starts_at), ("until", row.ends_at)]


def _give(
    s: Session, who: Actor, arguments: argparse.Namespace, user_id: int, vm: Vm | None, found: Vm | None
) -> Assignment:
    """The VM's row if it is new, and the assignment or its change, in one transaction."""
    if vm is None:
        assert found is not None
        vm = vms.ensure(
            s, who, cluster=found.cluster, vmid=found.vmid, kind=found.kind, node=found.node, name=found.name
        )
    known = assignments.find(s, vm_id=vm.id, user_id=user_id)
    if known is None:
        return assignments.create(
            s,
            who,
            vm_id=vm.id,
            user_id=user_id,
            starts_at=arguments.starts,
            ends_at=arguments.ends,
            can_power=arguments.power,
            can_reset=arguments.reset,
        )
    return assignments.update(
        s,
        who,
        known.id,
        starts_at=arguments.starts,
        ends_at=arguments.ends,
        can_power=arguments.power,
        can_reset=arguments.reset,
    )


def _unassign(arguments: argparse.Namespace) -> int:
    cluster, vmid = arguments.vm
    with opened() as (database, _):
        user = user_named(database, arguments.user)
        row = _held(database, user.id, cluster, vmid)
        if row is None:
            raise CommandError(f"{cluster}/{vmid} is not assigned to {user.username} (classes are kept in the web UI)")
        database.call(assignments.delete, actor(), row.id)
    print(f"Took {cluster}/{vmid} from {user.username}.")
    return 0


def _held(database: Database, user_id: int, cluster: str, vmid: int) -> Assignment | None:
    vm = database.call(vms.by_ref, cluster, vmid)
    return None if vm is None else database.call(assignments.find, vm_id=vm.id, user_id=user_id)


def _found(arguments: argparse.Namespace) -> Vm:
    """A VM that has no row yet: as the arguments describe it, else as the cluster does."""
    cluster, vmid = arguments.vm
    if arguments.node:
        return Vm(cluster=cluster, vmid=vmid, kind=VmKind(arguments.kind), node=arguments.node, name=arguments.name)
    hint = f"{cluster}/{vmid} is new here; say where it is with --node NODE"
    try:
        known = {one.cluster: one for one in settings.load_clusters()}
        configured = known.get(cluster)
        if configured is None:
            raise CommandError(f"no cluster “{cluster}” is configured; there is {', '.join(sorted(known))}")
        vm = asyncio.run(_ask(configured, vmid))
    except SettingsError as error:
        raise CommandError(f"{hint} (the cluster cannot be asked: {'; '.join(error.problems)})") from None
    except Problem as error:
        raise CommandError(f"{hint} (the cluster cannot be asked: {error})") from None
    if vm is None:
        raise CommandError(f"the cluster {cluster} has no VM {vmid}")
    return vm


async def _ask(configured: ClusterSettings, vmid: int) -> Vm | None:
    from cyberlab.proxmox.cluster import Cluster

    cluster = Cluster(configured)
    try:
        inventory = await cluster.resources(0.0)
    finally:
        cluster.close()
    resource = inventory.resources.get(vmid)
    if resource is None:
        return None
    return Vm(
        cluster=configured.cluster,
        vmid=vmid,
        kind=VmKind(resource.kind),
        node=resource.node,
        name=resource.name or "",
    )
