"""Queries about virtual machines. Every change writes an audit row in the same transaction."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Vm, VmKind
from cyberlab.db.page import Page, matching, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import add, edit, fetch
from cyberlab.db.text import clean
from cyberlab.phrases import Phrase

_CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # a host name's label, RFC 1123 section 2.1


@reads
def get(s: Session, vm_id: int) -> Vm | None:
    """The VM with the portal's own id."""
    return fetch(s, Vm, vm_id)


@reads
def by_ref(s: Session, cluster: str, vmid: int) -> Vm | None:
    """The VM that a cluster knows by that VMID."""
    if not 100 <= vmid <= 999_999_999:
        return None
    return s.scalar(select(Vm).where(Vm.cluster == clean(cluster), Vm.vmid == vmid))


@reads
def page(s: Session, *, search: str = "", cluster: str | None = None, offset: int = 0, limit: int = 50) -> Page[Vm]:
    """VMs by name; every word of ``search`` is in the name, cluster, VMID or node."""
    rows = select(Vm).where(matching(Vm.search_text, search))
    if cluster is not None:
        rows = rows.where(Vm.cluster == clean(cluster))
    return paged(s, rows, (Vm.name, Vm.id), offset, limit)


def create(
    s: Session, actor: Actor, *, cluster: str, vmid: int, kind: VmKind = VmKind.QEMU, node: str, name: str = ""
) -> Vm:
    """Add a VM; raise Conflict if it is there already or a value cannot be one of Proxmox's."""
    vm = Vm(cluster=cluster, vmid=vmid, kind=kind, node=node, name=clean(name, 255))
    _check(vm)
    add(s, vm, Conflict("vmid", Phrase("%(machine)s is known already", machine=f"{cluster}/{vmid}")))
    audit.record(s, actor, "vm.create", f"vm {vm.label}", f"{kind} on {node}")
    return vm


def update(
    s: Session,
    actor: Actor,
    vm_id: int,
    *,
    cluster: str | None = None,
    vmid: int | None = None,
    kind: VmKind | None = None,
    node: str | None = None,
    name: str | None = None,
    version: int | None = None,
) -> Vm:
    """Change what is given; raise NotFound, Stale, or Conflict as create() does."""
    vm = _found(s, vm_id)
    edit(s, vm, version)
    before = _describe(vm)
    with s.no_autoflush:
        vm.cluster = vm.cluster if cluster is None else cluster
        vm.vmid = vm.vmid if vmid is None else vmid
        vm.kind = vm.kind if kind is None else kind
        vm.node = vm.node if node is None else node
        vm.name = vm.name if name is None else clean(name, 255)
        _check(vm)
        other = by_ref(s, vm.cluster, vm.vmid)
    if other is not None and other.id != vm.id:
        raise Conflict("vmid", Phrase("%(machine)s is known already", machine=f"{vm.cluster}/{vm.vmid}"))
    audit.record(s, actor, "vm.update", f"vm {vm.label}", f"was {before}")
    return vm


def rename(s: Session, actor: Actor, vm_id: int, name: str, version: int | None = None) -> Vm:
    """Give a VM a name of the portal's own, or with "" its cluster's again (which then comes with the inventory).

    Raises NotFound, Stale.
    """
    vm = _found(s, vm_id)
    edit(s, vm, version)
    before, name = vm.label, clean(name, 255)
    if name == vm.name:
        return vm
    vm.name, vm.renamed = name or vm.name, bool(name)
    audit.record(s, actor, "vm.rename", f"vm {vm.label}", f"was {before}" if name else "as on its cluster")
    return vm


def delete(s: Session, actor: Actor, vm_id: int) -> None:
    """Forget a VM and its assignments (on the cluster nothing changes); raise NotFound."""
    vm = _found(s, vm_id)
    audit.record(s, actor, "vm.delete", f"vm {vm.label}")
    s.delete(vm)


def ensure(
    s: Session, actor: Actor, *, cluster: str, vmid: int, kind: VmKind = VmKind.QEMU, node: str, name: str = ""
) -> Vm:
    """The VM of that cluster and VMID as it is known, else as given; raise Conflict as create() does."""
    known = by_ref(s, cluster, vmid)
    if known is not None:
        return known
    try:
        return create(s, actor, cluster=cluster, vmid=vmid, kind=kind, node=node, name=name)
    except Conflict:
        quicker = by_ref(s, cluster, vmid)  # another transaction's
        if quicker is None:
            raise
        return quicker


def moved(s: Session, vm_id: int, node: str) -> None:
    """Record that the cluster has migrated a VM to another node (nobody's act, so the actor is the portal)."""
    vm = fetch(s, Vm, vm_id)
    if vm is None or vm.node == node:
        return
    before, vm.node = vm.node, node
    _check(vm)
    audit.record(s, Actor(None, "portal"), "vm.moved", f"vm {vm.label}", f"{before} -> {node}")


def _found(s: Session, vm_id: int) -> Vm:
    vm = fetch(s, Vm, vm_id)
    if vm is None:
        raise NotFound(f"VM {vm_id}")
    return vm


def _describe(vm: Vm) -> str:
    return f"{vm.label}, {vm.kind} on {vm.node}"


def _check(vm: Vm) -> None:
    if not _CLUSTER.fullmatch(vm.cluster):
        raise Conflict("cluster", "a cluster's name is lower-case letters, digits and dashes, 32 at most")
    if not 100 <= vm.vmid <= 999_999_999:
        raise Conflict("vmid", "a VMID is a number from 100 to 999999999")
    if not _NODE.fullmatch(vm.node):
        raise Conflict("node", "a node's name is letters, digits and dashes, 63 at most")
