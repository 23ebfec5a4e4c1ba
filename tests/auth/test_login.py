"""Sign-in, sign-out, and whether open consoles may stay."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from cyberlab import problems
from cyberlab.auth import passwords
from cyberlab.auth.base import Identity, Rejected, SignedIn
from cyberlab.auth.local import LocalBackend
from cyberlab.auth.login import LiveKey, LoginService
from cyberlab.blocking import BlockingPool, PoolBusy
from cyberlab.db import assignments, audit, groups, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import AuditEvent, LoginSession, MembershipRole, Role, User, utcnow
from cyberlab.settings import Settings

PASSWORD = "correct horse"
BROWSER = {"address": "192.0.2.7", "user_agent": "Firefox"}


@pytest.fixture
def anna(database: Database, actor: Actor) -> User:
    hashed = passwords.hash_password(PASSWORD, 4)
    return database.call(users.create, actor, username="anna", role=Role.STUDENT, password_hash=hashed)


class Directory:
    """A directory of its own: name -> (password, subject)."""

    def __init__(self, name: str, people: dict[str, tuple[str, str]]) -> None:
        self.name = name
        self.people = people
        self.asked: list[str] = []

    def authenticate(self, username: str, password: str) -> Identity | None:
        self.asked.append(username)
        known = self.people.get(username)
        return Identity(self.name, known[1], username) if known and known[0] == password else None


def _audit(database: Database) -> list[AuditEvent]:
    return [row for row in database.call(audit.page).rows if row.action.startswith("login.")]


@pytest.mark.gen_test
async def test_the_right_password_begins_a_login_session(service: LoginService, database: Database, anna: User) -> None:
    outcome = await service.sign_in("Anna", PASSWORD, **BROWSER)
    assert isinstance(outcome, SignedIn)
    assert outcome.user_id == anna.id
    login = await service.current(outcome.token)
    assert login is not None
    assert (login.username, login.role) == ("anna", Role.STUDENT)
    row = _audit(database)[0]
    assert (row.action, row.actor_id, row.actor, row.address) == ("login.success", anna.id, "anna", "192.0.2.7")
    user = database.call(users.get, anna.id)
    assert user is not None
    assert user.subject == str(anna.id)
    assert user.last_login_at is not None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("anna", "wrong"),
        ("anna", ""),
        ("anna", PASSWORD + "\x00"),
        ("anna", "x" * 73),
        ("unknown", PASSWORD),
        ("", PASSWORD),
        ("  ", PASSWORD),
        ("a\x00nna", PASSWORD),
        ("x" * 100_000, PASSWORD),
    ],
)
@pytest.mark.gen_test
async def test_whatever_is_wrong_the_answer_is_the_same(
    service: LoginService, database: Database, anna: User, name: str, password: str
) -> None:
    outcome = await service.sign_in(name, password, **BROWSER)
    assert outcome == Rejected("This user name and password do not match.")
    (row,) = _audit(database)
    assert (row.action, row.actor_id, row.address) == ("login.failure", None, "192.0.2.7")
    assert len(row.actor) <= 64
    assert PASSWORD not in f"{row.actor}{row.object}{row.detail}"
    with database.transaction() as s:
        assert s.scalars(select(LoginSession)).all() == []


@pytest.mark.gen_test
async def test_a_disabled_user_is_rejected_like_a_wrong_password(
    service: LoginService, database: Database, anna: User, actor: Actor
) -> None:
    database.call(users.set_active, actor, anna.id, False)
    assert await service.sign_in("anna", PASSWORD, **BROWSER) == await service.sign_in("anna", "wrong", **BROWSER)


@pytest.mark.gen_test
async def test_sign_out_ends_the_login_session(service: LoginService, database: Database, anna: User) -> None:
    outcome = await service.sign_in("anna", PASSWORD, **BROWSER)
    assert isinstance(outcome, SignedIn)
    login = await service.current(outcome.token)
    assert login is not None
    await service.sign_out(login, address="192.0.2.7")
    assert await service.current(outcome.token) is None
    assert [row.action for row in _audit(database)] == ["login.sign-out", "login.success"]
    await service.sign_out(login)  # a second tab


@pytest.mark.gen_test
async def test_use_is_noted(service: LoginService, database: Database, anna: User) -> None:
    token = database.call(logins.create, anna.id, address="", user_agent="", lifetime=3600)
    with database.transaction() as s:
        s.scalars(select(LoginSession)).one().seen_at = utcnow() - timedelta(minutes=5)
    before = utcnow()
    assert await service.current(token) is not None
    with database.transaction() as s:
        assert s.scalars(select(LoginSession.seen_at)).one() >= before
    assert await service.current("nonsense") is None


@pytest.mark.gen_test
async def test_a_flood_is_told_to_try_again(database: Database, anna: User) -> None:
    """One thread, one place to wait: the third of three is refused at once, and the others sign in."""
    inside, leave = threading.Event(), threading.Event()

    class Slow(LocalBackend):
        def authenticate(self, username: str, password: str) -> Identity | None:
            inside.set()
            assert leave.wait(10)
            return super().authenticate(username, password)

    pool = BlockingPool("auth", 1, waiting=1)
    service = LoginService(database, pool, [Slow(database, 4)], Settings(_env_file=None))
    loop = asyncio.get_running_loop()
    try:
        calls = [asyncio.ensure_future(service.sign_in("anna", PASSWORD, **BROWSER)) for _ in range(3)]
        await loop.run_in_executor(None, inside.wait, 10)
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [type(call.exception()) for call in done] == [PoolBusy]
        leave.set()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["PoolBusy", "SignedIn", "SignedIn"]
    finally:
        leave.set()
        pool.close()


@pytest.mark.gen_test
async def test_a_known_name_is_asked_only_of_its_own_backend(
    database: Database, auth_pool: BlockingPool, anna: User, actor: Actor
) -> None:
    """Else a directory that lets somebody be "anna" would have our anna's rights, and see her password."""
    campus = Directory("campus-ldap", {"anna": ("theirs", "uuid-1"), "carl": ("theirs", "uuid-2")})
    database.call(users.create, actor, username="carl", role=Role.TEACHER, backend="campus-ldap")
    service = LoginService(database, auth_pool, [LocalBackend(database, 4), campus], Settings(_env_file=None))
    assert isinstance(await service.sign_in("anna", "theirs", **BROWSER), Rejected)
    assert isinstance(await service.sign_in("anna", PASSWORD, **BROWSER), SignedIn)
    assert campus.asked == []
    assert isinstance(await service.sign_in("carl", "theirs", **BROWSER), SignedIn)
    campus.people["carl"] = ("theirs", "uuid-3")  # the directory has given the name to another person
    assert isinstance(await service.sign_in("carl", "theirs", **BROWSER), Rejected)
    campus.people["dora"] = ("theirs", "uuid-4")  # right there, but nobody here
    assert isinstance(await service.sign_in("dora", "theirs", **BROWSER), Rejected)
    assert campus.asked == ["carl", "carl", "dora"]


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
