"""Whether open consoles may stay."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cyberlab import problems
from cyberlab.auth import passwords
from cyberlab.auth.live import LiveKey
from cyberlab.auth.login import LoginService
from cyberlab.db import assignments, groups, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import LoginSession, MembershipRole, Role, User, utcnow

PASSWORD = "correct horse"


@pytest.fixture
def anna(database: Database, actor: Actor) -> User:
    hashed = passwords.hash_password(PASSWORD, 4)
    return database.call(users.create, actor, username="anna", role=Role.STUDENT, password_hash=hashed)


class Open:
    """Anna's console on VM 1 from login session ``login``, and her teacher's view of it."""

    def __init__(self, database: Database, actor: Actor, anna: User) -> None:
        self.database, self.actor, self.anna = database, actor, anna
        self.vm = database.call(vms.create, actor, cluster="pve", vmid=100, node="pve1")
        self.row = database.call(assignments.create, actor, vm_id=self.vm.id, user_id=anna.id)
        self.group = database.call(groups.create, actor, name="NetSec")
        self.teacher = database.call(users.create, actor, username="carla", role=Role.TEACHER)
        database.call(groups.add_member, actor, self.group.id, anna.id)
        database.call(groups.add_member, actor, self.group.id, self.teacher.id, MembershipRole.TEACHER)
        self.mine = LiveKey(anna.id, self._login(anna), self.vm.id)
        self.theirs = LiveKey(self.teacher.id, self._login(self.teacher), self.vm.id, as_teacher=True)

    def _login(self, user: User) -> int:
        token = self.database.call(logins.create, user.id, address="", user_agent="", lifetime=3600)
        login = self.database.call(logins.find, token, utcnow(), 3600)
        assert login is not None
        return login.session_id


@pytest.fixture
def live(database: Database, actor: Actor, anna: User) -> Open:
    return Open(database, actor, anna)


@pytest.mark.gen_test
async def test_what_is_in_order_stays(service: LoginService, live: Open) -> None:
    assert await service.live_problems([live.mine, live.theirs]) == {}
    assert await service.live_problems([]) == {}
    assert await service.live_problem(live.anna.id, live.mine.login_session_id, live.vm.id) is None


@pytest.mark.gen_test
async def test_unassigned(service: LoginService, live: Open) -> None:
    live.database.call(assignments.delete, live.actor, live.row.id)
    gone = {live.mine: problems.UNASSIGNED, live.theirs: problems.UNASSIGNED}
    assert await service.live_problems([live.mine, live.theirs]) == gone


@pytest.mark.gen_test
async def test_the_end_of_an_assignment_counts_without_any_change(service: LoginService, live: Open) -> None:
    rights = {"can_power": False, "can_reset": False}
    past = utcnow() - timedelta(seconds=1)
    live.database.call(assignments.update, live.actor, live.row.id, starts_at=None, ends_at=past, **rights)
    assert (await service.live_problems([live.mine]))[live.mine] == problems.UNASSIGNED


@pytest.mark.gen_test
async def test_no_longer_a_student_of_theirs(service: LoginService, live: Open) -> None:
    live.database.call(groups.remove_member, live.actor, live.group.id, live.anna.id)
    assert await service.live_problems([live.mine, live.theirs]) == {live.theirs: problems.UNASSIGNED}


@pytest.mark.gen_test
async def test_no_longer_a_teacher(service: LoginService, live: Open) -> None:
    live.database.call(users.update, live.actor, live.teacher.id, display_name="", email=None, role=Role.STUDENT)
    assert await service.live_problems([live.mine, live.theirs]) == {live.theirs: problems.UNASSIGNED}


@pytest.mark.gen_test
async def test_deactivated_and_deleted(service: LoginService, live: Open) -> None:
    live.database.call(users.set_active, live.actor, live.anna.id, False)
    live.database.call(users.delete, live.actor, live.teacher.id)
    gone = {live.mine: problems.DEACTIVATED, live.theirs: problems.DEACTIVATED}
    assert await service.live_problems([live.mine, live.theirs]) == gone


@pytest.mark.gen_test
async def test_signed_out_in_that_browser_only(service: LoginService, live: Open) -> None:
    other = LiveKey(live.anna.id, live._login(live.anna), live.vm.id)
    live.database.call(logins.revoke, live.mine.login_session_id)
    assert await service.live_problems([live.mine, other, live.theirs]) == {live.mine: problems.SIGNED_OUT}


@pytest.mark.gen_test
async def test_somebody_elses_login_session_is_none(service: LoginService, live: Open) -> None:
    forged = LiveKey(live.anna.id, live.theirs.login_session_id, live.vm.id)
    assert await service.live_problems([forged]) == {forged: problems.SIGNED_OUT}


@pytest.mark.gen_test
async def test_expired(service: LoginService, live: Open) -> None:
    with live.database.transaction() as s:
        s.get_one(LoginSession, live.mine.login_session_id).expires_at = utcnow()
    assert await service.live_problems([live.mine, live.theirs]) == {live.mine: problems.LOGIN_EXPIRED}
