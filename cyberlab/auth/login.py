"""Signing in and out, and whether what was once granted still holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from cyberlab import problems
from cyberlab.auth import passwords
from cyberlab.auth.access import NO_FACTS, AccessFacts, Action, may
from cyberlab.auth.base import Identity, Outcome, PasswordBackend, Rejected, SignedIn
from cyberlab.blocking import BlockingPool, PoolBusy
from cyberlab.db import assignments, audit, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database, reads
from cyberlab.db.logins import Login
from cyberlab.db.models import User, Vm, utcnow
from cyberlab.settings import Settings

WRONG = Rejected("This user name and password do not match.")
SIGN_IN_TIMEOUT = 20.0  # seconds for one backend: a full queue of the auth pool and the hash itself
AUDITED_NAME = 64  # characters of a name that failed; people type passwords into the wrong field, or paste books


@dataclass(frozen=True, slots=True)
class LiveKey:
    """An open console, by what it was opened with; ``as_teacher``: through the teacher's page."""

    user_id: int
    login_session_id: int
    vm_id: int
    as_teacher: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, and for which VM: what auth.access needs to decide."""

    login: Login | None
    vm: Vm | None = None
    facts: AccessFacts = NO_FACTS


class LoginService:
    """The fixed outer half of sign-in; what checks a password is a backend."""

    def __init__(
        self, database: Database, auth_pool: BlockingPool, backends: Sequence[PasswordBackend], settings: Settings
    ) -> None:
        """``auth_pool``: where backends block, and whose bounded queue is the answer to a flood; the caller closes it.

        ``backends``: asked in this order.
        """
        self._database = database
        self._pool = auth_pool
        self._backends = tuple(backends)
        self._lifetime = settings.login_lifetime
        self._idle = settings.login_idle

    async def sign_in(self, username: str, password: str, *, address: str, user_agent: str) -> Outcome:
        """Check a name and a password; a SignedIn carries the token for the cookie.

        Raises PoolBusy ("try again in a moment") when more people sign in than the pool will queue, or one
        waited too long; TimeoutError or DatabaseUnavailable from the database.
        """
        identity = await self._authenticate(username, password)
        if identity is not None:
            outcome = await self._database.run(
                _begin, identity, address=address, user_agent=user_agent, lifetime=self._lifetime
            )
            if outcome is not None:
                return outcome
        actor = Actor(None, username[:AUDITED_NAME], address)
        await self._database.run(audit.record, actor, "login.failure")
        return WRONG

    async def _authenticate(self, username: str, password: str) -> Identity | None:
        # No backend takes an empty password (an LDAP bind without one succeeds: RFC 4513, section 5.1.2),
        # and none of our hashes is of a longer one than bcrypt reads. Neither says anything about the name.
        if not username.strip() or len(username) > users.NAME_LIMIT or not password or passwords.too_long(password):
            return None
        known = await self._database.run(users.backends_of, username)
        for backend in self._backends:
            # A name known here is asked only of its own backend, so that one directory cannot speak for
            # another's admin, and a password is not shown to directories which have no business with it.
            if known and backend.name not in known:
                continue
            try:
                identity = await self._pool.run(SIGN_IN_TIMEOUT, backend.authenticate, username, password)
            except TimeoutError as error:
                raise PoolBusy(self._pool.name) from error
            if identity is not None:
                return identity
        return None

    async def current(self, token: str) -> Login | None:
        """The login session of a cookie's token if it is in force; notes its use at most once a minute."""
        return (await self.visit(token, None)).login

    async def visit(self, token: str, vm_id: int | None) -> Visit:
        """The same, and what ties that user to a VM, in one transaction: what every console's opening asks."""
        now = utcnow()
        visit = await self._database.run(_visit, token, vm_id, now, self._idle)
        if visit.login is not None and logins.needs_touch(visit.login, now):
            await self._database.run(logins.touch, [visit.login.session_id], now)
        return visit

    async def sign_out(self, login: Login, *, address: str = "") -> None:
        """End a login session; the consoles that it opened end with it (live_problems)."""
        await self._database.run(_end, login, address)

    async def live_problem(
        self, user_id: int, login_session_id: int, vm_id: int, as_teacher: bool = False
    ) -> str | None:
        """The code for which that open console has to end now, or None."""
        key = LiveKey(user_id, login_session_id, vm_id, as_teacher)
        return (await self.live_problems([key])).get(key)

    async def live_problems(self, keys: Iterable[LiveKey]) -> Mapping[LiveKey, str]:
        """Those open consoles that have to end now, with the code of the cause.

        To be asked when the access epoch has grown, and once a minute (times that pass bump nothing).
        """
        return await self._database.run(_live_problems, list(keys), utcnow())


def _begin(s: Session, identity: Identity, *, address: str, user_agent: str, lifetime: float) -> SignedIn | None:
    """Claim the identity's row and begin a login session; None: no such user here, or disabled."""
    user = users.claim(s, backend=identity.backend, subject=identity.subject, username=identity.username)
    if user is None or not user.active:
        return None
    user.last_login_at = utcnow()
    token = logins.create(s, user.id, address=address, user_agent=user_agent, lifetime=lifetime)
    audit.record(s, Actor(user.id, user.username, address), "login.success")
    return SignedIn(user.id, token)


def _end(s: Session, login: Login, address: str) -> None:
    logins.revoke(s, login.session_id)
    audit.record(s, Actor(login.user_id, login.username, address), "login.sign-out")


@reads
def _visit(s: Session, token: str, vm_id: int | None, now: datetime, idle: float) -> Visit:
    login = logins.find(s, token, now, idle)
    if login is None or vm_id is None:
        return Visit(login)
    vm = vms.get(s, vm_id)
    return Visit(login, vm, assignments.facts(s, login.user_id, vm.id, now) if vm is not None else NO_FACTS)


@reads
def _live_problems(s: Session, keys: list[LiveKey], now: datetime) -> dict[LiveKey, str]:
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
