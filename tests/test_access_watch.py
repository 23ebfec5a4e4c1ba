"""Taking a right away ends the consoles that hung on it, whoever took it away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from cyberlab import access_watch, problems
from cyberlab.access_watch import AccessWatch
from cyberlab.auth.login import LiveKey, LoginService
from cyberlab.blocking import BlockingPool
from cyberlab.console.registry import ConsoleRequest, Registry
from cyberlab.db import assignments, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Role, VmKind, utcnow
from cyberlab.settings import Settings

ADMIN = Actor(None, "test")


class Lab:
    """A student with a machine, signed in, and what was told to the open consoles."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.pool = BlockingPool("auth", 1)
        self.logins = LoginService(database, self.pool, [], Settings(_env_file=None))
        self.registry = Registry()
        self.watch = AccessWatch(database, self.logins, self.registry)
        self.closed: list[str] = []
        self.open = ExitStack()
        with database.transaction() as s:
            self.user = users.create(s, ADMIN, username="ada", role=Role.STUDENT)
            self.vm = vms.create(s, ADMIN, cluster="demo", vmid=100, kind=VmKind.QEMU, node="pve1", name="kali")
            self.assignment = assignments.create(s, ADMIN, vm_id=self.vm.id, user_id=self.user.id)
            self.token = logins.create(s, self.user.id, address="", user_agent="", lifetime=3600)
        with database.transaction() as s:
            login = logins.resolve(s, self.token, utcnow(), 3600)
            assert login is not None
            self.login = login
        self.show()

    def show(self) -> None:
        """List a console of the student's as open."""
        request = ConsoleRequest(self.user.id, "ada", self.login.session_id, self.vm.id, "demo/100 kali")
        self.open.enter_context(self.registry.entry(request, self.closed.append))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    database.upgrade()
    made = Lab(database)
    yield made
    made.open.close()
    made.pool.close()
    database.close()


def unassign(lab: Lab) -> None:
    with lab.database.transaction() as s:
        assignments.delete(s, ADMIN, lab.assignment.id)


def sign_out(lab: Lab) -> None:
    with lab.database.transaction() as s:
        logins.revoke(s, lab.login.session_id)


def deactivate(lab: Lab) -> None:
    with lab.database.transaction() as s:
        users.set_active(s, ADMIN, lab.user.id, False)


@pytest.mark.gen_test
async def test_a_console_whose_rights_hold_stays_open(lab: Lab) -> None:
    await lab.watch.look()
    await lab.watch.look()
    assert lab.closed == []


@pytest.mark.parametrize(
    ("take_away", "code"),
    [(unassign, problems.UNASSIGNED), (sign_out, problems.SIGNED_OUT), (deactivate, problems.DEACTIVATED)],
)
@pytest.mark.gen_test
async def test_what_is_taken_away_ends_the_console_at_the_next_look(
    lab: Lab, take_away: Callable[[Lab], None], code: str
) -> None:
    await lab.watch.look()
    take_away(lab)
    await lab.watch.look()
    assert lab.closed == [code]


@pytest.mark.gen_test
async def test_a_console_listed_after_the_change_was_seen_is_asked_for_itself(lab: Lab) -> None:
    """Authorized, then unassigned, then listed: the counter grew before the console was there."""
    await lab.watch.look()
    unassign(lab)
    await lab.watch.look()
    lab.closed.clear()
    lab.show()
    await lab.watch.look()
    assert lab.closed == [problems.UNASSIGNED]


@pytest.mark.gen_test
async def test_a_change_in_the_midst_of_a_look_is_not_missed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Authorized before the change, listed while a look that has seen the change already asks about others."""
    lab.show()
    await lab.watch.look()
    ask = lab.logins.live_problems
    late: list[str] = []

    async def asked(keys: Iterable[LiveKey]) -> Mapping[LiveKey, str]:
        found = await ask(keys)
        request = ConsoleRequest(lab.user.id, "ada", lab.login.session_id, lab.vm.id, "demo/100 kali")
        lab.open.enter_context(lab.registry.entry(request, late.append))
        return found

    unassign(lab)
    monkeypatch.setattr(lab.logins, "live_problems", asked)
    await lab.watch.look()
    assert late == [], "it was not there when this look began"
    monkeypatch.setattr(lab.logins, "live_problems", ask)
    await lab.watch.look()
    assert late == [problems.UNASSIGNED]


@pytest.mark.gen_test
async def test_time_that_passes_bumps_no_counter_and_is_noticed_all_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.watch.look()
    now = utcnow()
    monkeypatch.setattr("cyberlab.auth.login.utcnow", lambda: now + timedelta(hours=2))
    await lab.watch.look()
    assert lab.closed == [], "not asked again before its time"
    monkeypatch.setattr(access_watch, "ALL_SECONDS", 0.0)
    await lab.watch.look()
    assert lab.closed == [problems.LOGIN_EXPIRED]


@pytest.mark.gen_test
async def test_an_open_console_keeps_its_login_session_in_use(lab: Lab) -> None:
    with lab.database.transaction() as s:
        logins.touch(s, [lab.login.session_id], utcnow() - timedelta(hours=1))
    await lab.watch.look()
    with lab.database.transaction() as s:
        assert logins.resolve(s, lab.token, utcnow(), idle=60) is not None
