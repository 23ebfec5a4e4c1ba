"""Queries about failed sign-ins, counted per account and per address; they survive a restart and are shared.

An attempt is counted against its account before the password is looked at, and taken back when it was
right: however many come at once, no more than the allowed ones get through. Against its address it is
counted afterwards, because a class behind one address may well sign in at once.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.models import AttemptScope, KnownAddress, SignInAttempt, User
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean, normalise_username

CLEAN_WAIT = 60.0  # seconds that other people's guesses may cost an address that has not guessed itself
KNOWN_DAYS = 180
KEEP = timedelta(days=2)
_NAME_READ = 256  # characters


# What is guessed at: the password of a name, or the second factor of the user with that id. Not one text for
# both, or whoever types such a text as a name would make others wait.
Account = str | int


@dataclass(frozen=True, slots=True)
class Limit:
    """``free`` failures cost nothing, further ones waits of 2, 4, 8… seconds up to ``longest``.

    Counts halve in ``half_life`` seconds.
    """

    free: int
    longest: float
    half_life: float

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        over = failures - self.free
        return min(self.longest, 2.0 ** min(over, 32)) if over > 0 else 0.0


ACCOUNT = Limit(free=5, longest=900.0, half_life=12 * 3600.0)
ADDRESS = Limit(free=50, longest=300.0, half_life=3600.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: ``wait`` seconds if it comes too fast; else it counts against ``key`` until released."""

    key: str
    address: str
    wait: float = 0.0
    locks: bool = False  # it was the one too many: the next has to wait


@reads
def blocked(s: Session, account: Account, address: str, now: datetime) -> float:
    """Seconds that begin() would certainly refuse an attempt for; 0: ask begin().

    It only reads: a flood of refused attempts takes the database's one write lock from nobody.
    """
    by_address = _key("address", network(address))
    row = _row(s, AttemptScope.ADDRESS, by_address, locked=False)
    waiting = _remaining(row, now)
    if waiting > 0 or row is None or _faded(row, ADDRESS, now) == 0:
        return waiting
    return _remaining(_row(s, AttemptScope.ACCOUNT, _account_key(s, account, address, now), locked=False), now)


def begin(s: Session, account: Account, address: str, now: datetime) -> Attempt:
    """Count an attempt, unless it has to wait. Names that nobody has are counted like those of users."""
    by_address = _key("address", network(address))
    waiting = _remaining(_row(s, AttemptScope.ADDRESS, by_address), now)
    if waiting > 0:
        return Attempt("", by_address, waiting)
    key = _account_key(s, account, address, now)
    row = _row(s, AttemptScope.ACCOUNT, key) or _new(s, AttemptScope.ACCOUNT, key, now)
    waiting = _remaining(row, now)
    if waiting > 0 and _clean(s, by_address, now):
        waiting = _turn(s, account, address, waiting, now)
    if waiting > 0:
        return Attempt("", by_address, waiting)
    locks = _count(row, ACCOUNT, now)
    return Attempt(key, by_address, locks=locks)


def failed(s: Session, attempt: Attempt, now: datetime) -> bool:
    """Count a failure against the address; return whether it has to wait now."""
    row = _row(s, AttemptScope.ADDRESS, attempt.address) or _new(s, AttemptScope.ADDRESS, attempt.address, now)
    return _count(row, ADDRESS, now)


def release(s: Session, attempt: Attempt) -> None:
    """Take the attempt back: it was neither right nor wrong."""
    row = _row(s, AttemptScope.ACCOUNT, attempt.key)
    if row is not None:
        row.failures = max(0, row.failures - 1)
        wait = ACCOUNT.wait(row.failures)
        row.blocked_until = row.last_at + timedelta(seconds=wait) if wait else None


def succeeded(s: Session, attempt: Attempt) -> None:
    """Forget the account's failures; an address's stay, or one's own password would buy guesses at others'."""
    s.execute(
        delete(SignInAttempt).where(SignInAttempt.scope == AttemptScope.ACCOUNT, SignInAttempt.key == attempt.key)
    )


def know(s: Session, user_id: int, address: str, now: datetime) -> None:
    """Note that a user has signed in from there, every factor held."""
    where = network(address)
    row = s.get(KnownAddress, (user_id, where))
    if row is None:
        row = KnownAddress(user_id=user_id, address=where)
        try:
            with s.begin_nested():
                s.add(row)
                s.flush()
        except IntegrityError:  # two tabs at once
            return
    row.last_success_at = now


def unlock(s: Session, actor: Actor, name: str) -> bool:
    """Forget the failures of an account; False: there were none."""
    owners = s.scalars(select(User.id).where(User.username == normalise_username(clean(name)))).all()
    known = s.scalars(select(KnownAddress.address).where(KnownAddress.user_id.in_(owners)).distinct()).all()
    accounts: list[Account] = [name, *owners]
    keys = [_key(*_parts(account)) for account in accounts]
    keys += [_key("pair", *_parts(account), address) for account in accounts for address in known]
    gone = s.scalars(
        select(SignInAttempt).where(SignInAttempt.scope == AttemptScope.ACCOUNT, SignInAttempt.key.in_(keys))
    )
    rows = list(gone)
    for row in rows:
        s.delete(row)
    locked = any(row.failures for row in rows)
    if locked:
        audit.record(s, actor, "user.unlock", f"user {_folded(name)}")
    return locked


def purge(s: Session, now: datetime) -> None:
    """Forget what has no effect any more."""
    s.execute(delete(SignInAttempt).where(SignInAttempt.last_at < now - KEEP))
    s.execute(delete(KnownAddress).where(KnownAddress.last_success_at < now - timedelta(days=KNOWN_DAYS)))


def network(address: str) -> str:
    """What counts as one address: an IPv6 customer has a /64 at least (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return clean(address, 45)
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _account_key(s: Session, account: Account, address: str, now: datetime) -> str:
    """By the name alone, or, from where its owner has signed in before, by the name there.

    So guesses made elsewhere do not make the owner wait, and those made there are still counted.
    """
    where = network(address)
    of_user = User.id == account if isinstance(account, int) else User.username == _folded(account)
    known = s.scalar(
        select(KnownAddress.user_id)
        .join(User, User.id == KnownAddress.user_id)
        .where(of_user, KnownAddress.address == where, KnownAddress.last_success_at > now - timedelta(days=KNOWN_DAYS))
        .limit(1)
    )
    return _key(*_parts(account)) if known is None else _key("pair", *_parts(account), where)


def _turn(s: Session, account: Account, address: str, waiting: float, now: datetime) -> float:
    """Seconds that a clean address still has to wait for this account: no more than a minute from its first try.

    Else somebody who guesses all day, and is there first whenever a wait ends, would keep the owner out all day.
    """
    key = _key("turn", *_parts(account), network(address))
    row = _row(s, AttemptScope.ACCOUNT, key)
    if row is None:
        row = _new(s, AttemptScope.ACCOUNT, key, now)
        row.blocked_until = now + timedelta(seconds=min(waiting, CLEAN_WAIT))
    left = _remaining(row, now)
    if left <= 0:
        s.delete(row)
    return left


def _clean(s: Session, by_address: str, now: datetime) -> bool:
    row = _row(s, AttemptScope.ADDRESS, by_address)
    return row is None or _faded(row, ADDRESS, now) == 0


def _count(row: SignInAttempt, limit: Limit, now: datetime) -> bool:
    row.failures = _faded(row, limit, now) + 1
    row.last_at = now
    wait = limit.wait(row.failures)
    row.blocked_until = now + timedelta(seconds=wait) if wait else None
    return wait > 0


def _faded(row: SignInAttempt, limit: Limit, now: datetime) -> int:
    age = max(0.0, (now - row.last_at).total_seconds())
    return round(row.failures * math.exp2(-age / limit.half_life))


def _remaining(row: SignInAttempt | None, now: datetime) -> float:
    if row is None or row.blocked_until is None:
        return 0.0
    return max(0.0, (row.blocked_until - now).total_seconds())


def _row(s: Session, scope: AttemptScope, key: str, *, locked: bool = True) -> SignInAttempt | None:
    rows = select(SignInAttempt).where(SignInAttempt.scope == scope, SignInAttempt.key == key)
    return s.scalar(rows.with_for_update() if locked else rows)


def _new(s: Session, scope: AttemptScope, key: str, now: datetime) -> SignInAttempt:
    row = SignInAttempt(scope=scope, key=key, last_at=now, failures=0)
    try:
        with s.begin_nested():
            s.add(row)
            s.flush()
    except IntegrityError:  # another attempt of this very moment was quicker
        there = _row(s, scope, key)
        if there is None:
            raise
        return there
    return row


def _parts(account: Account) -> tuple[str, str]:
    return ("factor", str(account)) if isinstance(account, int) else ("name", _folded(account))


def _folded(name: str) -> str:
    return normalise_username(clean(name[:_NAME_READ]))


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
