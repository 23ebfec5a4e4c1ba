"""Sign-in with a password, and sign-out."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from cyberlab.auth import passwords
from cyberlab.auth.base import AccountProblem, BackendUnavailable, Identity, Rejected, SignedIn
from cyberlab.auth.config import AuthConfig, BackendConfig
from cyberlab.auth.local import LocalBackend
from cyberlab.auth.login import UNREACHABLE, LoginService, too_fast
from cyberlab.blocking import BlockingPool, PoolBusy
from cyberlab.db import audit, logins, throttle, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import AuditEvent, LoginSession, Role, User, utcnow
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
async def test_a_directory_that_hangs_does_not_hold_up_local_accounts(database: Database, anna: User) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Hanging:
        name = "campus"

        def authenticate(self, username: str, password: str) -> Identity | None:
            inside.set()
            assert leave.wait(10)
            raise BackendUnavailable("no answer in time")

    pool, campus = BlockingPool("auth", 1, waiting=1), BlockingPool("campus", 1, waiting=1)
    backends = [LocalBackend(database, 4), Hanging()]
    service = LoginService(database, pool, backends, Settings(_env_file=None), pools={"campus": campus})
    try:
        strangers = [asyncio.ensure_future(service.sign_in(name, "guess", **BROWSER)) for name in ("x", "y")]
        await asyncio.get_running_loop().run_in_executor(None, inside.wait, 10)
        assert isinstance(await service.sign_in("anna", PASSWORD, **BROWSER), SignedIn)
        assert not any(call.done() for call in strangers)
        leave.set()
        assert await asyncio.gather(*strangers) == [UNREACHABLE, UNREACHABLE]
    finally:
        leave.set()
        pool.close()
        campus.close()
    assert [row.action for row in _audit(database)].count("login.unavailable") == 2


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


class Failing:
    """A directory that answers with an exception."""

    def __init__(self, error: Exception, name: str = "campus-ldap") -> None:
        self.name, self.error = name, error

    def authenticate(self, username: str, password: str) -> Identity | None:
        raise self.error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("expired", "expired"),
        ("locked", "locked"),
        ("disabled", "disabled"),
        ("must-change-password", "change your password"),
        ("too-many-entries", "do not match"),  # no password was looked at: nothing to be told
        ("made-up", "do not match"),
    ],
)
@pytest.mark.gen_test
async def test_an_account_that_cannot_be_used_is_told(
    database: Database, auth_pool: BlockingPool, code: str, words: str
) -> None:
    directory = Failing(AccountProblem(code, "data 532"))
    service = LoginService(database, auth_pool, [directory], Settings(_env_file=None))
    outcome = await service.sign_in("anna", PASSWORD, **BROWSER)
    assert isinstance(outcome, Rejected)
    assert words in outcome.message
    (row,) = _audit(database)
    assert (row.action, row.detail, row.actor) == ("login.failure", f"{code}: data 532", "anna")


@pytest.mark.gen_test
async def test_a_directory_that_is_down_is_told_alike_to_everybody(
    database: Database, auth_pool: BlockingPool, anna: User
) -> None:
    """Else the names whose failure does not mention the university would be the local ones."""
    down = Failing(BackendUnavailable("connection refused"))
    service = LoginService(database, auth_pool, [down, LocalBackend(database, 4)], Settings(_env_file=None))
    stranger = await service.sign_in("carl", PASSWORD, **BROWSER)
    assert isinstance(stranger, Rejected)
    assert "not reachable" in stranger.message
    assert await service.sign_in("anna", "wrong", **BROWSER) == stranger
    assert [row.action for row in _audit(database)] == ["login.failure", "login.failure", "login.unavailable"]
    assert _audit(database)[-1].detail == "campus-ldap: connection refused"
    assert isinstance(await service.sign_in("anna", PASSWORD, **BROWSER), SignedIn)  # a guest still gets in


@pytest.mark.gen_test
async def test_unknown_names_are_asked_of_the_next_backend_when_one_is_down(
    database: Database, auth_pool: BlockingPool
) -> None:
    backends = [Failing(BackendUnavailable("down")), Directory("second", {"carl": (PASSWORD, "uuid-1")})]
    auth = AuthConfig((BackendConfig(name="second", kind="x"),))
    service = LoginService(database, auth_pool, backends, Settings(_env_file=None), auth)
    assert isinstance(await service.sign_in("carl", PASSWORD, **BROWSER), SignedIn)


@pytest.mark.gen_test
async def test_an_attempt_that_could_not_be_looked_at_does_not_count(
    database: Database, auth_pool: BlockingPool, anna: User
) -> None:
    busy = Failing(PoolBusy("auth"), "local")
    service = LoginService(database, auth_pool, [busy], Settings(_env_file=None))
    for _ in range(3 * throttle.ACCOUNT.free):
        with pytest.raises(PoolBusy):
            await service.sign_in("anna", PASSWORD, **BROWSER)


@pytest.mark.parametrize("name", ["anna", "unknown"])
@pytest.mark.gen_test
async def test_too_many_failures_read_the_same_whether_the_name_exists(
    service: LoginService, database: Database, anna: User, name: str
) -> None:
    for _ in range(throttle.ACCOUNT.free + 1):
        assert await service.sign_in(name, "wrong", **BROWSER) == Rejected("This user name and password do not match.")
    outcome = await service.sign_in(name, PASSWORD, **BROWSER)  # also the right one has to wait
    assert isinstance(outcome, Rejected)
    assert outcome.message.startswith("Too many sign-ins have failed. Please try again in ")
    assert outcome.retry_after in (1, 2, 3)
    rows = _audit(database)
    assert (rows[0].action, rows[0].detail, rows[0].actor) == ("login.lock", "account", name)
    assert len(rows) == throttle.ACCOUNT.free + 2  # a refused attempt writes none: a flood would fill the disk


@pytest.mark.parametrize(
    ("wait", "words"), [(0.2, "1 second."), (2, "2 seconds."), (59.7, "60 seconds."), (900, "15 minutes.")]
)
def test_the_wait_is_told_in_words(wait: float, words: str) -> None:
    assert too_fast(wait).message.endswith(f"again in {words}")


@pytest.mark.gen_test(timeout=180)
async def test_ten_thousand_wrong_passwords(database: Database, anna: User, actor: Actor) -> None:
    """Hardly any is looked at, none on the loop; a colleague signs in meanwhile, and the owner afterwards."""
    threads: list[int] = []

    class Counting(LocalBackend):
        def authenticate(self, username: str, password: str) -> Identity | None:
            threads.append(threading.get_ident())
            return super().authenticate(username, password)

    hashed = passwords.hash_password(PASSWORD, 4)
    database.call(users.create, actor, username="bert", role=Role.STUDENT, password_hash=hashed)
    pool = BlockingPool("auth", 2)
    service = LoginService(database, pool, [Counting(database, 4)], Settings(_env_file=None))
    assert isinstance(await service.sign_in("anna", PASSWORD, **BROWSER), SignedIn)
    threads.clear()
    guesser = {"address": "198.51.100.9", "user_agent": "hydra"}
    outcomes: list[object] = []

    async def guess(first: int) -> None:
        for number in range(first, 10_000, 8):
            outcomes.append(await service.sign_in("anna", f"guess {number}", **guesser))  # noqa: PERF401 - watched

    async def colleague() -> None:
        while len(outcomes) < 5000:
            await asyncio.sleep(0.01)
        outcome = await service.sign_in("bert", PASSWORD, address="192.0.2.8", user_agent="Firefox")
        assert isinstance(outcome, SignedIn)
        assert len(outcomes) < 10_000  # he did not wait for the flood's end

    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_later(0.001, turn)

    loop = asyncio.get_running_loop()
    turn()
    await asyncio.gather(colleague(), *(guess(first) for first in range(8)))
    assert turns > 1000  # whatever else the loop serves was served meanwhile
    assert len(outcomes) == 10_000
    assert {type(outcome) for outcome in outcomes} == {Rejected}
    assert len(threads) < 30
    assert threading.get_ident() not in threads
    assert isinstance(await service.sign_in("anna", PASSWORD, **BROWSER), SignedIn)
    noted = [row.action for row in _audit(database)]
    assert noted.count("login.failure") == len(threads) - 2  # the colleague's, and the owner's, were right
    assert "login.lock" in noted
    pool.close()
