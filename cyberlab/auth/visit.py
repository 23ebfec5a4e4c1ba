"""Who asks, and what ties them to a VM or a class: one transaction for each page and each console that opens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from cyberlab.auth.access import NO_FACTS, AccessFacts
from cyberlab.db import assignments, groups, logins, vms
from cyberlab.db.logins import Login
from cyberlab.db.models import Group, Vm
from cyberlab.db.read_only import reads


@dataclass(frozen=True, slots=True)
class Visit:
    """What auth.access needs to decide."""

    login: Login | None
    vm: Vm | None = None
    group: Group | None = None
    facts: AccessFacts = NO_FACTS


@reads
def visit(s: Session, token: str, now: datetime, idle: float, *, vm_id: int | None, group_id: int | None) -> Visit:
    """The login session of a token; the VM or class with that id and the user's ties to it, as far as there are."""
    login = logins.find(s, token, now, idle)
    return Visit(None) if login is None else ties(s, login, now, vm_id=vm_id, group_id=group_id)


@reads
def ties(s: Session, login: Login, now: datetime, *, vm_id: int | None, group_id: int | None) -> Visit:
    """The same for somebody who has been recognised already (by a token of the API)."""
    if vm_id is not None:
        vm = vms.get(s, vm_id)
        facts = NO_FACTS if vm is None else assignments.facts(s, login.user_id, vm.id, now)
        return Visit(login, vm=vm, facts=facts)
    if group_id is not None:
        group = groups.get(s, group_id)
        facts = NO_FACTS if group is None else assignments.class_facts(s, login.user_id, group.id)
        return Visit(login, group=group, facts=facts)
    return Visit(login)
