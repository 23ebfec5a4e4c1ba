"""What somebody was let do, asked about once more when it is done: the right may have been taken away meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action, may
from cyberlab.db import assignments, holdings, tokens, users
from cyberlab.db.audit import Actor
from cyberlab.db.read_only import reads


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asked for something, and what let them ask.

    ``group_id``: the class that ``action`` concerns, 0 if it concerns a machine or nothing; ``token_id``: the API's
    token that asked, 0 for a page. Signing out takes no right away, so the login session is no part of it.
    """

    actor: Actor
    action: Action
    group_id: int = 0
    token_id: int = 0


@reads
def holds(s: Session, grant: Grant, vm_id: int, asked_at: datetime, now: datetime) -> bool:
    """Whether what was granted still is, for that VM.

    ``asked_at``: what is done for a class may be done to what was the class's then. A lesson that has ended since takes
    nothing from what was asked in it; an assignment that is deleted, or a class that is archived, does.
    """
    actor, group_id = grant.actor, grant.group_id
    user = users.get(s, actor.user_id) if actor.user_id is not None else None
    if user is None or not user.active:
        return False
    if grant.token_id and not tokens.is_valid(s, grant.token_id, now):
        return False
    if not group_id:
        return may(user.role, grant.action, assignments.facts(s, user.id, vm_id, now))
    facts = assignments.class_facts(s, user.id, group_id)
    return may(user.role, grant.action, facts) and holdings.is_of_class(s, vm_id, group_id, asked_at)
