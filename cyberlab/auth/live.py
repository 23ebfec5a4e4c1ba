"""Whether open consoles may stay: what was once granted still has to hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from cyberlab import problems
from cyberlab.auth.access import Action, may
from cyberlab.db import assignments, logins, users
from cyberlab.db.models import User
from cyberlab.db.read_only import reads


@dataclass(frozen=True, slots=True)
class LiveKey:
    """An open console, by what it was opened with; ``as_teacher``: through the teacher's page."""

    user_id: int
    login_session_id: int
    vm_id: int
    as_teacher: bool = False


@reads
def live_problems(s: Session, keys: list[LiveKey], now: datetime) -> dict[LiveKey, str]:
    """Those open consoles that have to end now, with the code of the cause."""
    people = users.by_ids(s, {key.user_id for key in keys})
    sessions = logins.expiries(s, {key.login_session_id for key in keys})
    facts = assignments.facts_of(s, {(key.user_id, key.vm_id) for key in keys}, now)
    found: dict[LiveKey, str] = {}
    for key in keys:
        code = _problem(key, people.get(key.user_id), sessions.get(key.login_session_id), now)
        if code is None:
            action = Action.SUPERVISE if key.as_teacher else Action.OPEN_CONSOLE
            if not may(people[key.user_id].role, action, facts[key.user_id, key.vm_id]):
                code = problems.UNASSIGNED
        if code is not None:
            found[key] = code
    return found


def _problem(key: LiveKey, user: User | None, session: tuple[int, datetime] | None, now: datetime) -> str | None:
    if user is None or not user.active:
        return problems.DEACTIVATED
    if session is None or session[0] != key.user_id:
        return problems.SIGNED_OUT
    return problems.LOGIN_EXPIRED if session[1] <= now else None
