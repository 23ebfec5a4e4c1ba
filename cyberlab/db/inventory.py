"""What a cluster's inventory says, written into the portal's rows; nobody's right changes by any of it.

Rows are compared without a write lock first, as most looks find nothing new; what is written goes by bulk statements
that bump neither the access epoch nor the version that forms compare.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.models import Vm, VmKind
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean, fold

PORTAL = Actor(None, "portal")  # nobody did it: the cluster says so
SEEN_EVERY = timedelta(hours=1)  # vms.seen_at is exact to this, so that a look at 5,000 machines writes none of them
AUDITED = 20  # new machines that get an audit row each; more of them are one row
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_UNCHANGED = {"access_epoch": False, "synchronize_session": False}
_COLUMNS = (
    Vm.id, Vm.vmid, Vm.kind, Vm.node, Vm.name, Vm.status, Vm.lock, Vm.pool, Vm.tags, Vm.template, Vm.seen_at,
    Vm.vanished_at, Vm.renamed,
)  # fmt: skip


class Guest(Protocol):
    """One line of a cluster's inventory (proxmox.answers.Resource is one)."""

    @property
    def vmid(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def lock(self) -> str: ...
    @property
    def template(self) -> bool: ...
    @property
    def pool(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


@dataclass(slots=True)
class Plan:
    """What is to be written."""

    new: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)  # action, object, detail
    missing: bool = False  # machines that the portal has and the answer has not


@reads
def compare(s: Session, cluster: str, guests: Iterable[Guest], as_of: datetime) -> Plan:
    """What sync() would write."""
    plan = Plan()
    known = {row.vmid: row for row in s.execute(select(*_COLUMNS).where(Vm.cluster == cluster))}
    for guest in guests:
        if not 100 <= guest.vmid <= 999_999_999 or not _NODE.fullmatch(guest.node):
            continue  # nothing that could be opened
        row = known.pop(guest.vmid, None)
        if row is None:
            plan.new.append(_new(cluster, guest, as_of))
        else:
            _compare(plan, cluster, row, guest, as_of)
    plan.missing = any(row.vanished_at is None for row in known.values())
    if len(plan.new) <= AUDITED:
        labels = ((f"{cluster}/{row['vmid']} {row['name']}".rstrip(), row) for row in plan.new)
        plan.events += [("vm.found", f"vm {label}", f"{row['kind']} on {row['node']}") for label, row in labels]
    else:
        plan.events.append(("vm.found", f"cluster {cluster}", f"{len(plan.new)} machines"))
    return plan


def sync(s: Session, cluster: str, guests: Iterable[Guest], as_of: datetime) -> None:
    """Write what a cluster's inventory says; machines that it lacks are left to vanish()."""
    plan = compare(s, cluster, guests, as_of)
    if plan.new:
        s.execute(insert(Vm).execution_options(access_epoch=False), plan.new)
    if plan.changed:
        s.execute(update(Vm).execution_options(access_epoch=False), plan.changed)
    for action, thing, detail in plan.events:
        audit.record(s, PORTAL, action, thing, detail)


def vanish(s: Session, cluster: str, listed: Collection[int], as_of: datetime, nodes: Mapping[str, str]) -> list[str]:
    """Mark the machines that a cluster lists no more, and return their labels; their assignments stay.

    ``listed``: the VMIDs that it does list. ``nodes``: the state of each node; a machine whose node is there but not
    online is not called vanished, as the cluster may only be unable to see it.
    """
    away = {node for node, state in nodes.items() if state != "online"}
    rows = s.execute(select(*_COLUMNS).where(Vm.cluster == cluster, Vm.vanished_at.is_(None)))
    missing = [row for row in rows if row.vmid not in listed]
    unseen = [row.id for row in missing if row.node in away and row.status != "unknown"]
    gone = [row for row in missing if row.node not in away]
    _set(s, unseen, status="unknown")
    _set(s, [row.id for row in gone], vanished_at=as_of, status="unknown", lock="")
    labels = [f"{cluster}/{row.vmid} {row.name}".rstrip() for row in gone]
    for label, row in zip(labels, gone, strict=True):
        audit.record(s, PORTAL, "vm.vanished", f"vm {label}", f"was on {row.node}")
    return labels


def _set(s: Session, ids: list[int], **values: Any) -> None:
    for start in range(0, len(ids), 500):  # a statement's parameters have a limit
        some = update(Vm).where(Vm.id.in_(ids[start : start + 500])).values(**values)
        s.execute(some.execution_options(**_UNCHANGED))


def lost(s: Session, cluster: str) -> None:
    """Note that a cluster has not answered for long: what state its machines are in is not known."""
    asked = update(Vm).where(Vm.cluster == cluster, Vm.status != "unknown").values(status="unknown")
    s.execute(asked.execution_options(**_UNCHANGED))


@reads
def counts(s: Session) -> dict[str, tuple[int, int]]:
    """How many machines there are of each cluster, and how many of them have vanished; templates do not count."""
    rows = s.execute(
        select(Vm.cluster, func.count(), func.count(Vm.vanished_at)).where(Vm.template.is_(False)).group_by(Vm.cluster)
    )
    return {cluster: (total, vanished) for cluster, total, vanished in rows}


def _new(cluster: str, guest: Guest, as_of: datetime) -> dict[str, Any]:
    said = _said(guest)
    name = said.pop("name", "")
    return {
        "cluster": cluster,
        "vmid": guest.vmid,
        "name": name,
        "search_text": _search_text(name, cluster, guest.vmid, guest.node),
        "seen_at": as_of,
        "vanished_at": None,
        "pool": "",
        "tags": "",
        "template": False,
        **said,
    }


def _said(guest: Guest) -> dict[str, Any]:
    """What the line says; of a guest whose node is offline that is little, and what was known before stays."""
    said: dict[str, Any] = {
        "kind": VmKind(guest.kind),
        "node": guest.node,
        "status": clean(guest.status, 16) or "unknown",
        "lock": clean(guest.lock, 32),
    }
    if guest.name:
        tags = [tag for tag in (clean(tag.replace(";", " "), 128) for tag in guest.tags) if tag]
        said |= {
            "name": clean(guest.name, 255),
            "pool": clean(guest.pool, 255),
            "tags": f";{';'.join(tags)};" if tags else "",
            "template": guest.template,
        }
    return said


def _compare(plan: Plan, cluster: str, row: Any, guest: Guest, as_of: datetime) -> None:
    said = _said(guest)
    if row.renamed:  # here; what the cluster calls it is not shown
        said["name"] = row.name
    kept = {name: getattr(row, name) for name in ("name", "pool", "tags", "template") if name not in said}
    values = {
        "id": row.id,
        **kept,
        **said,
        "vanished_at": None,
        "search_text": "",
        "seen_at": row.seen_at,
    }
    same = all(getattr(row, name) == value for name, value in values.items() if name not in ("search_text", "seen_at"))
    if same and row.seen_at is not None and as_of - row.seen_at < SEEN_EVERY:
        return
    values["seen_at"] = as_of
    values["search_text"] = _search_text(values["name"], cluster, row.vmid, guest.node)
    plan.changed.append(values)
    label = f"vm {cluster}/{row.vmid} {values['name']}".rstrip()
    if row.kind != values["kind"]:
        # The same number, another guest: the assignments now give something else.
        plan.events.append(("vm.replaced", label, f"{row.kind} {row.name} -> {values['kind']} {values['name']}"))
    elif row.name != values["name"] and row.vanished_at is not None:
        plan.events.append(("vm.replaced", label, f"{row.name} had vanished -> {values['name']}"))
    elif row.name != values["name"]:
        plan.events.append(("vm.renamed", label, f"{row.name} -> {values['name']}"))
    if row.vanished_at is not None:
        plan.events.append(("vm.returned", label, f"on {guest.node}"))
    if row.node != guest.node:
        plan.events.append(("vm.moved", label, f"{row.node} -> {guest.node}"))


def _search_text(name: str, cluster: str, vmid: int, node: str) -> str:
    return fold(f"{name} {cluster} {vmid} {node}")
