"""Second factors: enrol, verify, replace. What they are kept as is in db/factors.py, the page flow in handlers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cyberlab.auth import recovery, totp
from cyberlab.auth.vault import Vault, VaultError
from cyberlab.blocking import BlockingPool
from cyberlab.db import factors
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict

log = logging.getLogger(__name__)

ISSUER = "CyberLab"
RECOVERY = "recovery"
PICTURE_TIMEOUT = 20.0  # seconds: the auth pool may be busy with a lesson's sign-ins
WRONG_CODE = "this code is not right, or was used before. Wait for the next one, and check the clock of the phone"


@dataclass(frozen=True, slots=True)
class Person:
    """Whose factors they are; ``newcomer``: between two factors, so that only a first one may be enrolled."""

    user_id: int
    username: str
    newcomer: bool = False


class AlreadyEnrolled(Exception):
    """There is a second factor: who knows only the password must show it, and cannot add another instead."""


class Factors:
    """Authenticator apps and recovery codes."""

    def __init__(
        self, database: Database, pool: BlockingPool, vault: Vault, clock: Callable[[], float] = time.time
    ) -> None:
        """``pool``: where pictures are drawn, that of passwords. ``clock``: seconds since the epoch."""
        self._database = database
        self._pool = pool
        self._vault = vault
        self.clock = clock

    async def begin_app(self, person: Person) -> str:
        """Set up an app, or go on with one that is being set up; return its secret. Raises AlreadyEnrolled."""
        return await self._database.run(_begin, self._vault, person)

    async def picture(self, person: Person) -> bytes:
        """The QR code of the app that is being set up, SVG. Raises AlreadyEnrolled."""
        secret = await self.begin_app(person)
        address = totp.address(secret, person.username, ISSUER)
        return await self._pool.run(PICTURE_TIMEOUT, totp.picture, address)

    async def confirm_app(self, actor: Actor, person: Person, code: str, name: str) -> list[str]:
        """Take the app into use; return fresh recovery codes if there were none, which nobody can show again.

        Raises Conflict for a wrong code, AlreadyEnrolled.
        """
        return await self._database.run(_confirm, self._vault, actor, person, _plain(code), name, self.clock())

    async def verify_code(self, user_id: int, typed: str) -> str | None:
        """Use up what was typed: "totp" or "recovery", by what it is; None if it is wrong."""
        code = _plain(typed)
        if totp.is_code(code):
            right = await self._database.run(_verify, self._vault, user_id, code, self.clock())
            return factors.TOTP if right else None
        used = await self._database.run(factors.use_code, user_id, recovery.hashed(code, user_id))
        return RECOVERY if used else None

    async def new_codes(self, actor: Actor, user_id: int) -> list[str]:
        """Fresh recovery codes instead of the old ones."""
        return await self._database.run(give_codes, actor, user_id)


def give_codes(s: Session, actor: Actor, user_id: int) -> list[str]:
    """Replace a user's recovery codes; return the new ones, to be shown once."""
    codes = recovery.new_codes()
    factors.replace_codes(s, actor, user_id, [recovery.hashed(code, user_id) for code in codes])
    return codes


def check_newcomer(s: Session, person: Person) -> None:
    """Raise AlreadyEnrolled for somebody between two factors who has a second one."""
    if person.newcomer and factors.enrolled(s, person.user_id):
        raise AlreadyEnrolled


def change_keys(s: Session, vault: Vault) -> tuple[int, int]:
    """Seal every secret with the present key; return how many were, and how many no key of ours opens."""
    done = lost = 0
    for device in factors.sealed(s):
        if vault.is_present(device.secret):
            continue
        try:
            secret = vault.open(device.secret, owner(device.user_id))
        except VaultError:
            lost += 1
            continue
        factors.reseal(s, device.id, device.secret, vault.seal(secret, owner(device.user_id)))
        done += 1
    return done, lost


def owner(user_id: int) -> str:
    """Whose secret it is, as the vault wants it."""
    return f"totp:{user_id}"


def _begin(s: Session, vault: Vault, person: Person) -> str:
    check_newcomer(s, person)
    fresh = vault.seal(totp.new_secret(), owner(person.user_id))
    return vault.open(factors.begin_app(s, person.user_id, fresh).secret, owner(person.user_id))


def _confirm(s: Session, vault: Vault, actor: Actor, person: Person, code: str, name: str, now: float) -> list[str]:
    check_newcomer(s, person)
    device = factors.unconfirmed(s, person.user_id)
    if device is None:
        raise Conflict("code", "this took too long. Please scan the new picture")
    step = totp.matching_step(vault.open(device.secret, owner(person.user_id)), code, now, None)
    if step is None:
        raise Conflict("code", WRONG_CODE)
    factors.confirm_app(s, actor, device.id, step, name)
    return give_codes(s, actor, person.user_id) if not factors.overview(s, person.user_id).codes else []


def _verify(s: Session, vault: Vault, user_id: int, code: str, now: float) -> bool:
    for device in factors.apps(s, user_id):
        try:
            secret = vault.open(device.secret, owner(user_id))
        except VaultError as error:
            log.error("the secret of authenticator app %s cannot be read: %s", device.id, error)
            continue
        step = totp.matching_step(secret, code, now, device.last_step)
        if step is not None and factors.use_step(s, device.id, step):
            return True
    return False


def _plain(typed: str) -> str:
    """What was typed, without the blanks that apps show codes with."""
    return "".join(typed[:100].split())
