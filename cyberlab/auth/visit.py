"""Who asks, and what ties them to a VM: one transaction for each page and each console that opens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from cyberlab.auth.access import NO_FACTS, AccessFacts
from cyberlab.db import assignments, logins, vms
from cyberlab.db.logins import Login
from cyberlab.db.models import Vm
from cyberlab.db.read_only import reads


@dataclass(frozen=True, slots=True)
class Visit:
    """What auth.access needs to decide."""

    login: Login | None
    vm: Vm | None = None
    facts: AccessFacts = NO_FACTS


@reads
def visit(s: Session, token: str, vm_id: int | None, now: datetime, idle: float) -> Visit:
    """The login session of a token, and the VM with that id and the user's ties to it, as far as there are."""
    login = logins.find(s, token, now, idle)
    if login is None or vm_id is None:
        return Visit(login)
    vm = vms.get(s, vm_id)
    return Visit(login, vm, assignments.facts(s, login.user_id, vm.id, now) if vm is not None else NO_FACTS)
