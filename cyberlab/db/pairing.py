"""Machines for the students of a class: who gets which, by order, by name or by number; seen first, then made."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyberlab.db import bulk, bulk_assignments, members, overlaps
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Assignment, Group, User, Vm
from cyberlab.db.overlaps import Holder
from cyberlab.db.page import matching
from cyberlab.db.read_only import reads
from cyberlab.db.rows import MAX_ID, fetch
from cyberlab.phrases import Phrase

AT_MOST = 500  # machines of one pairing
HAS_IT = Phrase("has it already")
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_LETTER = re.compile(r"[^\W_]")


class By(enum.StrEnum):
    """What decides who gets which machine."""

    ORDER = "order"  # the first to the first: kali-2 before kali-10
    NAME = "name"  # the user's name is in the machine's
    NUMBER = "number"  # the last number in the machine's name is the student's place in the class


@dataclass(frozen=True, slots=True)
class Terms:
    """Times and rights of all that are made."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    can_power: bool = False
    can_reset: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A machine for somebody; ``remark``: what speaks against it, ``possible``: whether it can be made all the same."""

    vm: Vm
    user: User
    remark: Phrase | None = None
    possible: bool = True


@dataclass(frozen=True, slots=True)
class Pairing:
    """Who would get what, and what is left over."""

    pairs: list[Pair] = field(default_factory=list)
    machines: list[Vm] = field(default_factory=list)
    students: list[User] = field(default_factory=list)
    cut: bool = False  # more machines fit than one pairing takes


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be paired. ``machines``: a pattern for names (kali-*) or words to search; or else ``vm_ids``."""

    machines: str = ""
    vm_ids: Collection[int] = ()
    by: By = By.ORDER
    free_only: bool = True  # no machines that somebody has in that time
    new_only: bool = True  # no students who have a machine for this class in that time


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key to sort by as people count: kali-2 before kali-10."""
    parts = re.split(r"([0-9]+)", text.casefold())
    return [(0, int(part), "") if part.isascii() and part.isdecimal() else (1, 0, part) for part in parts if part]


@reads
def preview(s: Session, group_id: int, wish: Wish, terms: Terms) -> Pairing:
    """Who would get what; raise NotFound for the class."""
    if fetch(s, Group, group_id) is None:
        raise NotFound(f"class {group_id}")
    machines = _machines(s, wish)
    students = sorted(members.students(s, group_id), key=lambda user: natural(user.username))
    holders = overlaps.holders(s, [vm.id for vm in machines], terms.starts_at, terms.ends_at)
    if wish.free_only:
        machines = [vm for vm in machines if not holders.get(vm.id)]
    cut = len(machines) > AT_MOST
    machines = machines[:AT_MOST]
    served = _served(s, group_id, terms) if wish.new_only else set()
    # Numbers count all students of the class, so that number 7 stays number 7 whoever has a machine already.
    matched = _match(machines, students, wish.by, served)
    exact = _exact(s, [vm.id for vm, _ in matched])
    pairs = [_pair(vm, user, holders.get(vm.id, ()), (vm.id, user.id) in exact) for vm, user in matched]
    given = {pair.vm.id for pair in pairs}
    lucky = {pair.user.id for pair in pairs} | served
    return Pairing(
        pairs,
        [vm for vm in machines if vm.id not in given],
        [user for user in students if user.id not in lucky],
        cut,
    )


def apply(s: Session, actor: Actor, group_id: int, chosen: Sequence[tuple[int, int]], terms: Terms) -> int:
    """Give the (machine id, user id) of a preview; return the id of the change, for the undo.

    All or nothing: raises NotFound for the class, Conflict for whatever has changed since the preview.
    """
    group = fetch(s, Group, group_id)
    if group is None:
        raise NotFound(f"class {group_id}")
    if len(chosen) > AT_MOST:
        raise Conflict("pair", Phrase("at most %(count)d machines at a time", count=AT_MOST))
    students = {user.id for user in members.students(s, group_id)}
    vm_ids = {vm_id for vm_id, _ in chosen if 0 < vm_id <= MAX_ID}
    there: set[int] = set()
    for some in bulk.chunks(vm_ids):
        there.update(s.scalars(select(Vm.id).where(Vm.id.in_(some))))
    if any(vm_id not in there or user_id not in students for vm_id, user_id in chosen):
        raise Conflict("pair", Phrase("a machine or a student of these has gone meanwhile; look at the preview again"))
    wanted = [
        {
            "vm_id": vm_id,
            "user_id": user_id,
            "via_group_id": group_id,
            "starts_at": terms.starts_at,
            "ends_at": terms.ends_at,
            "can_power": terms.can_power,
            "can_reset": terms.can_reset,
        }
        for vm_id, user_id in dict.fromkeys(chosen)
    ]
    return bulk_assignments.make(s, actor, wanted, group.name)


def _pair(vm: Vm, user: User, holders: Iterable[Holder], exact: bool) -> Pair:
    if exact:
        return Pair(vm, user, HAS_IT, possible=False)
    others = ", ".join(holder.name for holder in list(holders)[:3])
    return Pair(vm, user, Phrase("%(names)s has it in that time", names=others) if others else None)


def _match(machines: Sequence[Vm], students: Sequence[User], by: By, served: Collection[int]) -> list[tuple[Vm, User]]:
    waiting = [user for user in students if user.id not in served]
    if by is By.ORDER:
        return list(zip(machines, waiting, strict=False))
    found = []
    for vm in machines:
        user = _named(vm.name, waiting) if by is By.NAME else _numbered(vm.name, students)
        if user is not None and user.id not in served:
            found.append((vm, user))
    return found


def _named(name: str, students: Iterable[User]) -> User | None:
    """The student whose name stands in a machine's, not as a part of another word; the longest if there are several."""
    folded = name.casefold()
    best: User | None = None
    for user in students:
        place = folded.find(user.username)
        if place < 0 or (best is not None and len(best.username) >= len(user.username)):
            continue
        before, after = folded[:place][-1:], folded[place + len(user.username) :][:1]
        if not _LETTER.fullmatch(before) and not _LETTER.fullmatch(after):
            best = user
    return best


def _numbered(name: str, students: Sequence[User]) -> User | None:
    numbers = _NUMBER.findall(name)
    place = int(numbers[-1][-9:]) if numbers else 0
    return students[place - 1] if 0 < place <= len(students) else None


def _machines(s: Session, wish: Wish) -> list[Vm]:
    rows = select(Vm).where(Vm.template.is_(False), Vm.vanished_at.is_(None))
    if wish.vm_ids:
        rows = rows.where(Vm.id.in_([number for number in wish.vm_ids if 0 < number <= MAX_ID][:AT_MOST]))
    elif "*" in wish.machines or "?" in wish.machines:
        escaped = re.sub(r"([\\%_])", r"\\\1", wish.machines.strip()[:255].lower())
        rows = rows.where(func.lower(Vm.name).like(escaped.replace("*", "%").replace("?", "_"), escape="\\"))
    elif wish.machines.strip():
        rows = rows.where(matching(Vm.search_text, wish.machines))
    else:
        return []
    return sorted(s.scalars(rows), key=lambda vm: (natural(vm.name), vm.cluster, vm.vmid))


def _served(s: Session, group_id: int, terms: Terms) -> set[int]:
    """The students who have a machine for this class's sake at any time of the span."""
    rows = select(Assignment.user_id).where(Assignment.via_group_id == group_id)
    if terms.starts_at is not None:
        rows = rows.where(Assignment.ends_at.is_(None) | (Assignment.ends_at > terms.starts_at))
    if terms.ends_at is not None:
        rows = rows.where(Assignment.starts_at.is_(None) | (Assignment.starts_at < terms.ends_at))
    return {user_id for user_id in s.scalars(rows) if user_id is not None}


def _exact(s: Session, vm_ids: Iterable[int]) -> Mapping[tuple[int, int], int]:
    """(machine id, user id) of what is assigned to users already, at whatever time."""
    found: dict[tuple[int, int], int] = {}
    for some in bulk.chunks(set(vm_ids)):
        rows = select(Assignment.vm_id, Assignment.user_id, Assignment.id).where(
            Assignment.vm_id.in_(some), Assignment.user_id.is_not(None)
        )
        found |= {(vm_id, user_id or 0): row_id for vm_id, user_id, row_id in s.execute(rows)}
    return found
