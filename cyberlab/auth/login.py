"""Signing in and out, and whether what was once granted still holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from cyberlab.auth import admission, passwords
from cyberlab.auth.base import (
    TOO_MANY_ENTRIES,
    AccountProblem,
    BackendUnavailable,
    Identity,
    Outcome,
    PasswordBackend,
    Pending,
    Rejected,
    SignedIn,
)
from cyberlab.auth.config import AuthConfig
from cyberlab.auth.live import LiveKey, live_problems
from cyberlab.auth.visit import Visit, visit
from cyberlab.blocking import BlockingPool, PoolBusy
from cyberlab.db import audit, logins, throttle, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.logins import Login
from cyberlab.db.models import User, utcnow
from cyberlab.db.throttle import Attempt
from cyberlab.phrases import Phrase
from cyberlab.settings import Settings

__all__ = ["LiveKey", "LoginService", "Visit"]

WRONG = Rejected("This user name and password do not match.")
UNREACHABLE = Rejected(
    "This user name and password do not match, or the university's sign-in is not reachable just now; "
    "guests may use a local account."
)
NOT_YOURS = Rejected(Phrase("This is not your present password."))
AWAY = Rejected(Phrase("This is not your present password, or your directory is not reachable just now."))
SIGN_IN_TIMEOUT = 20.0  # seconds for one backend: a full queue of the auth pool and the hash itself
AUDITED_NAME = 64  # characters of a name that failed; people type passwords into the wrong field, or paste books
PENDING_LIFETIME = 300.0  # seconds between the factors
_DOWN = 60.0  # seconds for which a backend that failed is held to be down, in words only: it is asked all the same


class LoginService:
    """The fixed outer half of sign-in; what checks a password is a backend."""

    def __init__(
        self,
        database: Database,
        auth_pool: BlockingPool,
        backends: Sequence[PasswordBackend],
        settings: Settings,
        auth: AuthConfig | None = None,
        pools: Mapping[str, BlockingPool] | None = None,
    ) -> None:
        """``auth_pool``: where backends block, and whose bounded queue is the answer to a flood; the caller closes it.

        ``backends``: asked in this order. ``pools``: instead of ``auth_pool``, for the backends of these names.
        """
        self._database = database
        self._pool = auth_pool
        self._pools = pools or {}
        self._backends = tuple(backends)
        self._auth = auth or AuthConfig()
        self._lifetime = settings.login_lifetime
        self._idle = settings.login_idle
        self._down_until = 0.0

    async def sign_in(
        self, username: str, password: str, *, address: str, user_agent: str, device: str = ""
    ) -> Outcome:
        """Check a name and a password; a SignedIn carries the token for the cookie.

        ``device``: the token of a remembered device, if the browser sent one.

        Raises PoolBusy ("try again in a moment") when more people sign in than the pool will queue, or one
        waited too long; TimeoutError or DatabaseUnavailable from the database.
        """
        if wait := await self._database.run(throttle.blocked, username, address, utcnow()):
            return too_fast(wait)
        attempt = await self._database.run(throttle.begin, username, address, utcnow())
        if attempt.wait > 0:
            return too_fast(attempt.wait)
        actor = Actor(None, username[:AUDITED_NAME], address)
        try:
            identity = await self._authenticate(username, password, actor)
        except AccountProblem as problem:
            await self._database.run(_unusable, attempt, actor, problem)
            return Rejected(admission.ACCOUNT_MESSAGES[problem.code]) if _tells(problem) else WRONG
        except BaseException:  # neither right nor wrong; also a browser that has gone away meanwhile
            await self._database.run(throttle.release, attempt)
            raise
        if identity is not None:
            outcome = await self._admit(identity, attempt, address, user_agent, device)
            if outcome is not None:
                return outcome
        await self._database.run(_failed, attempt, actor)
        return UNREACHABLE if time.monotonic() < self._down_until else WRONG

    async def sign_in_identity(self, identity: Identity, *, address: str, user_agent: str, device: str = "") -> Outcome:
        """Sign in somebody for whom a redirect backend or the proxy in front has vouched."""
        outcome = await self._admit(identity, None, address, user_agent, device)
        if outcome is not None:
            return outcome
        actor = Actor(None, identity.username[:AUDITED_NAME], address)
        await self._database.run(audit.record, actor, "login.failure", "", f"no account here for {identity.backend}'s")
        return admission.NOT_ALLOWED

    async def _admit(
        self, identity: Identity, attempt: Attempt | None, address: str, user_agent: str, device: str
    ) -> Outcome | None:
        return await self._database.run(
            admission.admit,
            self._auth,
            identity,
            attempt,
            admission.Browser(address, user_agent, device),
            self._lifetime,
        )

    async def confirm(self, user: User, password: str, *, address: str) -> Rejected | None:
        """Check the password of somebody who is signed in already, counted like a sign-in; None: it is theirs.

        Else a found open page could be used to guess. Raises as sign_in() does.
        """
        attempt = await self._database.run(throttle.begin, user.username, address, utcnow())
        if attempt.wait > 0:
            return too_fast(attempt.wait)
        actor = Actor(user.id, user.username, address)
        try:
            identity = await self._authenticate(user.username, password, actor, only=user.backend)
        except AccountProblem as problem:
            await self._database.run(_unusable, attempt, actor, problem)
            return NOT_YOURS
        except BaseException:
            await self._database.run(throttle.release, attempt)
            raise
        if identity is not None and admission.is_about(identity, user):
            await self._database.run(throttle.succeeded, attempt)
            return None
        await self._database.run(_not_confirmed, attempt, actor)
        return AWAY if time.monotonic() < self._down_until else NOT_YOURS

    async def factor_attempt(self, pending: Pending, *, address: str) -> Attempt:
        """Count a try at the second factor; ``wait`` > 0: it comes too fast and must not be looked at.

        A right one goes to complete(); a wrong one to factor_failed().
        """
        return await self._database.run(throttle.begin, pending.user_id, address, utcnow())

    async def factor_failed(self, pending: Pending, attempt: Attempt, *, factor: str, address: str) -> None:
        """Count and note a wrong second factor."""
        await self._database.run(_factor_failed, pending, attempt, factor, address)

    async def complete(
        self,
        pending: Pending,
        *,
        factor: str,
        address: str,
        user_agent: str,
        remember: bool = False,
        attempt: Attempt | None = None,
    ) -> SignedIn | Rejected:
        """Begin the login session once the second factor has been verified (the caller has done that).

        ``factor``: "totp", "webauthn", "recovery", or LATER to put the enrolment off while there is grace.
        ``remember``: the SignedIn then carries a token for this device.
        """
        age = time.time() - pending.issued
        if not -1 <= age <= PENDING_LIFETIME:
            return admission.TOO_LATE
        return await self._database.run(
            admission.complete,
            self._auth,
            pending,
            factor,
            attempt,
            admission.Browser(address, user_agent),
            self._lifetime,
            remember=remember,
        )

    async def _authenticate(self, username: str, password: str, actor: Actor, only: str = "") -> Identity | None:
        # No backend takes an empty password (an LDAP bind without one succeeds: RFC 4513, section 5.1.2),
        # and none of our hashes is of a longer one than bcrypt reads. Neither says anything about the name.
        if not username.strip() or len(username) > users.NAME_LIMIT or not password or passwords.too_long(password):
            return None
        known = {only} if only else await self._database.run(users.backends_of, username)
        for backend in self._backends:
            # A name known here is asked only of its own backend, so that one directory cannot speak for
            # another's admin, and a password is not shown to directories which have no business with it.
            if known and backend.name not in known:
                continue
            pool = self._pools.get(backend.name, self._pool)
            try:
                identity = await pool.run(SIGN_IN_TIMEOUT, backend.authenticate, username, password)
            except TimeoutError as error:
                raise PoolBusy(pool.name) from error
            except BackendUnavailable as error:
                # Remembered, so that for a while every failure reads the same: else the names of local
                # accounts would be those whose failure does not mention the university.
                self._down_until = time.monotonic() + _DOWN
                detail = f"{backend.name}: {error.detail}"
                await self._database.run(audit.record, actor, "login.unavailable", "", detail)
                continue
            if identity is not None:
                return identity
        return None

    async def current(self, token: str) -> Login | None:
        """The login session of a cookie's token if it is in force; notes its use at most once a minute."""
        return (await self.visit(token)).login

    async def visit(self, token: str, *, vm_id: int | None = None, group_id: int | None = None) -> Visit:
        """The same, and what ties that user to a VM or a class, in one transaction: every console's opening asks it."""
        now = utcnow()
        found = await self._database.run(visit, token, now, self._idle, vm_id=vm_id, group_id=group_id)
        if found.login is not None and logins.needs_touch(found.login, now):
            await self._database.run(logins.touch, [found.login.session_id], now)
        return found

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
        return await self._database.run(live_problems, list(keys), utcnow())


def too_fast(wait: float) -> Rejected:
    """The answer to an attempt that comes too fast; the same for names that exist and names that do not."""
    seconds = max(1, round(wait + 0.5))
    if seconds < 90:
        words = Phrase(
            "Too many sign-ins have failed. Please try again in %(count)d second.",
            "Too many sign-ins have failed. Please try again in %(count)d seconds.",
            count=seconds,
        )
    else:
        minutes = round(seconds / 60)
        words = Phrase("Too many sign-ins have failed. Please try again in %(minutes)d minutes.", minutes=minutes)
    return Rejected(words, float(seconds))


def _tells(problem: AccountProblem) -> bool:
    """Whether the page may say it: with several entries of one name no password was looked at."""
    return problem.code in admission.ACCOUNT_MESSAGES and problem.code != TOO_MANY_ENTRIES


def _failed(s: Session, attempt: Attempt, actor: Actor) -> None:
    locks = throttle.failed(s, attempt, utcnow())
    audit.record(s, actor, "login.failure")
    if attempt.locks or locks:
        audit.record(s, actor, "login.lock", "", "account" if attempt.locks else "address")


def _not_confirmed(s: Session, attempt: Attempt, actor: Actor) -> None:
    locks = throttle.failed(s, attempt, utcnow())
    audit.record(s, actor, "user.password-failure", f"user {actor.name}")
    if attempt.locks or locks:
        audit.record(s, actor, "login.lock", "", "account" if attempt.locks else "address")


def _factor_failed(s: Session, pending: Pending, attempt: Attempt, factor: str, address: str) -> None:
    user = users.get(s, pending.user_id)
    actor = Actor(user.id if user else None, user.username if user else "", address)
    locks = throttle.failed(s, attempt, utcnow())
    audit.record(s, actor, "login.factor-failure", "", factor)
    if attempt.locks or locks:
        audit.record(s, actor, "login.lock", "", "second factor" if attempt.locks else "address")


def _unusable(s: Session, attempt: Attempt, actor: Actor, problem: AccountProblem) -> None:
    # It stays counted: a directory may say "locked" to any password at all.
    throttle.failed(s, attempt, utcnow())
    audit.record(s, actor, "login.failure", "", f"{problem.code}: {problem.detail}" if problem.detail else problem.code)


def _end(s: Session, login: Login, address: str) -> None:
    logins.revoke(s, login.session_id)
    audit.record(s, Actor(login.user_id, login.username, address), "login.sign-out")
