"""Queries about second factors: authenticator apps, passkeys, recovery codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from cyberlab.db import audit, devices
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import LoginSession, RecoveryCode, TotpDevice, User, WebauthnCredential, utcnow
from cyberlab.db.read_only import reads
from cyberlab.db.rows import add, fetch
from cyberlab.db.text import clean
from cyberlab.phrases import Phrase

TOTP = "totp"
WEBAUTHN = "webauthn"
MOST = 10  # of one kind for one user
NAME_LIMIT = 64
_UNCONFIRMED = timedelta(hours=1)  # a picture that was shown is good for so long


@dataclass(frozen=True, slots=True)
class Overview:
    """What a user has: confirmed apps, passkeys, and how many recovery codes are left."""

    apps: Sequence[TotpDevice]
    passkeys: Sequence[WebauthnCredential]
    codes: int

    @property
    def any(self) -> bool:
        """Whether there is a second factor at all."""
        return bool(self.apps or self.passkeys)


@reads
def enrolled(s: Session, user_id: int) -> frozenset[str]:
    """The kinds of second factor which that user has confirmed: "totp", "webauthn"."""
    kinds = set()
    if s.scalar(
        select(TotpDevice.id).where(TotpDevice.user_id == user_id, TotpDevice.confirmed_at.is_not(None)).limit(1)
    ):
        kinds.add(TOTP)
    if s.scalar(select(WebauthnCredential.id).where(WebauthnCredential.user_id == user_id).limit(1)):
        kinds.add(WEBAUTHN)
    return frozenset(kinds)


@reads
def overview(s: Session, user_id: int) -> Overview:
    """Everything that the account page shows."""
    left = select(func.count()).select_from(RecoveryCode)
    left = left.where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return Overview(apps(s, user_id), passkeys(s, user_id), s.scalar(left) or 0)


# Authenticator apps. A secret comes and goes sealed (auth/vault.py).


@reads
def apps(s: Session, user_id: int) -> Sequence[TotpDevice]:
    """The confirmed ones."""
    rows = select(TotpDevice).where(TotpDevice.user_id == user_id, TotpDevice.confirmed_at.is_not(None))
    return s.scalars(rows.order_by(TotpDevice.id)).all()


@reads
def unconfirmed(s: Session, user_id: int) -> TotpDevice | None:
    """The app that is being set up."""
    since = utcnow() - _UNCONFIRMED
    rows = select(TotpDevice).where(
        TotpDevice.user_id == user_id, TotpDevice.confirmed_at.is_(None), TotpDevice.created_at > since
    )
    return s.scalars(rows.order_by(TotpDevice.id.desc()).limit(1)).first()


def begin_app(s: Session, user_id: int, sealed: str) -> TotpDevice:
    """Set up an app, unless one is being set up already; return that one."""
    _lock(s, user_id)
    device = unconfirmed(s, user_id)
    if device is None:
        s.execute(sql_delete(TotpDevice).where(TotpDevice.user_id == user_id, TotpDevice.confirmed_at.is_(None)))
        device = TotpDevice(user_id=user_id, secret=sealed)
        s.add(device)
        s.flush()
    return device


def confirm_app(s: Session, actor: Actor, device_id: int, step: int, name: str) -> None:
    """Take an app into use, its first code being of ``step``; raise NotFound, or Conflict for too many."""
    device = s.get(TotpDevice, device_id, with_for_update=True)
    if device is None or device.confirmed_at is not None:
        raise NotFound("authenticator app")
    if len(apps(s, device.user_id)) >= MOST:
        raise Conflict("code", Phrase("there are %(most)d apps already; remove one first", most=MOST))
    device.name = clean(name, NAME_LIMIT)
    device.confirmed_at, device.last_step = utcnow(), step
    audit.record(s, actor, "factor.add", _label(s, device.user_id), TOTP)


def use_step(s: Session, device_id: int, step: int) -> bool:
    """Mark a step as used; False if it, or a later one, has been (of two at once one is right)."""
    used = s.execute(
        sql_update(TotpDevice)
        .where(TotpDevice.id == device_id, or_(TotpDevice.last_step.is_(None), TotpDevice.last_step < step))
        .values(last_step=step)
        .returning(TotpDevice.id)
    )
    return used.first() is not None


def remove_app(s: Session, actor: Actor, user_id: int, device_id: int) -> None:
    """Remove one of a user's apps; raise NotFound."""
    device = fetch(s, TotpDevice, device_id)
    if device is None or device.user_id != user_id:
        raise NotFound("authenticator app")
    s.delete(device)
    _removed(s, actor, user_id, TOTP)


# Passkeys.


@reads
def passkeys(s: Session, user_id: int) -> Sequence[WebauthnCredential]:
    """A user's, oldest first."""
    rows = select(WebauthnCredential).where(WebauthnCredential.user_id == user_id)
    return s.scalars(rows.order_by(WebauthnCredential.id)).all()


def add_passkey(
    s: Session,
    actor: Actor,
    user_id: int,
    *,
    name: str,
    credential_id: str,
    public_key: str,
    sign_count: int,
    transports: str,
) -> None:
    """Keep a passkey; raise NotFound, or Conflict for one that is known or one too many."""
    _lock(s, user_id)
    if len(passkeys(s, user_id)) >= MOST:
        raise Conflict("passkey", Phrase("there are %(most)d passkeys already; remove one first", most=MOST))
    row = WebauthnCredential(
        user_id=user_id,
        name=clean(name, NAME_LIMIT),
        credential_id=credential_id,
        public_key=public_key,
        sign_count=sign_count,
        transports=clean(transports, 255),
    )
    add(s, row, Conflict("passkey", "this passkey is in use already"))
    audit.record(s, actor, "factor.add", _label(s, user_id), WEBAUTHN)


def use_passkey(s: Session, passkey_id: int, before: int, after: int) -> bool:
    """Note a use, which counted from ``before`` to ``after``; False if another use came in between."""
    used = s.execute(
        sql_update(WebauthnCredential)
        .where(WebauthnCredential.id == passkey_id, WebauthnCredential.sign_count == before)
        .values(sign_count=after, last_used_at=utcnow())
        .returning(WebauthnCredential.id)
    )
    return used.first() is not None


def remove_passkey(s: Session, actor: Actor, user_id: int, passkey_id: int) -> None:
    """Remove one of a user's passkeys; raise NotFound."""
    row = fetch(s, WebauthnCredential, passkey_id)
    if row is None or row.user_id != user_id:
        raise NotFound("passkey")
    s.delete(row)
    _removed(s, actor, user_id, WEBAUTHN)


# Recovery codes.


def replace_codes(s: Session, actor: Actor, user_id: int, hashes: Iterable[str]) -> None:
    """Give a user new codes; the old ones are worth nothing from now on."""
    s.execute(sql_delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    s.add_all(RecoveryCode(user_id=user_id, code_hash=code) for code in hashes)
    audit.record(s, actor, "factor.recovery-codes", _label(s, user_id))


def use_code(s: Session, user_id: int, code_hash: str) -> bool:
    """Use a code up; False if it is none, or was used."""
    used = s.execute(
        sql_update(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.code_hash == code_hash, RecoveryCode.used_at.is_(None))
        .values(used_at=utcnow())
        .returning(RecoveryCode.id)
    )
    return used.first() is not None


# All of them.


def reset(s: Session, actor: Actor, user_id: int) -> bool:
    """Take away all of a user's second factors, recovery codes and remembered devices; False: there were none.

    Their login sessions end too. Raises NotFound.
    """
    user = _lock(s, user_id)
    gone = 0
    for table in (TotpDevice, WebauthnCredential, RecoveryCode):
        removed = s.execute(sql_delete(table).where(table.user_id == user_id).returning(table.id))
        gone += len(removed.all())
    gone += devices.revoke_all(s, user_id)
    s.execute(sql_delete(LoginSession).where(LoginSession.user_id == user_id))
    audit.record(s, actor, "factor.reset", f"user {user.username}")
    return gone > 0


@reads
def sealed(s: Session) -> Sequence[TotpDevice]:
    """Every app, for a change of keys."""
    return s.scalars(select(TotpDevice).order_by(TotpDevice.id)).all()


def reseal(s: Session, device_id: int, old: str, new: str) -> None:
    """Exchange the sealed form of an unchanged secret."""
    s.execute(sql_update(TotpDevice).where(TotpDevice.id == device_id, TotpDevice.secret == old).values(secret=new))


def _removed(s: Session, actor: Actor, user_id: int, kind: str) -> None:
    s.flush()
    if not enrolled(s, user_id):  # nothing that they could stand in for
        s.execute(sql_delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
        devices.revoke_all(s, user_id)
    audit.record(s, actor, "factor.remove", _label(s, user_id), kind)


def _lock(s: Session, user_id: int) -> User:
    user = s.scalar(select(User).where(User.id == user_id).with_for_update(key_share=True))
    if user is None:
        raise NotFound(f"user {user_id}")
    return user


def _label(s: Session, user_id: int) -> str:
    return f"user {s.scalar(select(User.username).where(User.id == user_id)) or user_id}"
