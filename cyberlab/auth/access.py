"""Authorization, in one place and pure: a role, and the facts about one VM or one class, decide what may be done."""

from __future__ import annotations

import enum

from cyberlab.db.assignments import AccessFacts
from cyberlab.db.models import Role

__all__ = ["NO_FACTS", "AccessFacts", "Action", "may"]

NO_FACTS = AccessFacts()


class Action(enum.Enum):
    """What somebody may or may not do; the first block concerns one VM, the second one class."""

    OPEN_CONSOLE = "open the VM's console"
    SUPERVISE = "open it from the teacher's side"
    POWER = "start, stop and reboot the VM"
    RESET = "roll the VM back to a snapshot"
    CHOOSE_SNAPSHOT = "name the snapshot that the VM is rolled back to"

    RUN_CLASS = "see a class's VMs and consoles, and act on all of them"

    USE = "use the portal and one's own account"
    TEACH = "see the teachers' pages"
    ADMINISTER = "keep users, classes, VMs and assignments"


def may(role: Role, action: Action, facts: AccessFacts = NO_FACTS) -> bool:
    """Whether a user of that role may do ``action`` with a VM or a class to which ``facts`` tie them."""
    if role == Role.ADMIN:
        return True
    teaches = role == Role.TEACHER and facts.teaches
    match action:
        case Action.OPEN_CONSOLE:
            return facts.assigned or teaches
        case Action.SUPERVISE:
            return role == Role.TEACHER and (facts.assigned or facts.teaches)
        case Action.POWER:
            return (facts.assigned and facts.can_power) or teaches
        case Action.RESET:
            return (facts.assigned and facts.can_reset) or teaches
        case Action.CHOOSE_SNAPSHOT | Action.RUN_CLASS:
            return teaches
        case Action.USE:
            return True
        case Action.TEACH:
            return role == Role.TEACHER
        case Action.ADMINISTER:
            return False
