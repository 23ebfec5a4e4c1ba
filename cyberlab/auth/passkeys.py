"""Passkeys and security keys as a second factor (W3C Web Authentication, Level 2).

A challenge travels in the page, signed by the handlers, and is good once.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import webauthn
from sqlalchemy.orm import Session
from webauthn.helpers import exceptions, structs

from cyberlab.auth.encoding import from_base64url, to_base64url
from cyberlab.auth.factors import ISSUER, Person, check_newcomer, give_codes
from cyberlab.blocking import BlockingPool
from cyberlab.db import factors
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database, reads
from cyberlab.db.models import WebauthnCredential

LIFETIME = 300.0  # seconds from the page to the answer
LONGEST = 20_000  # characters of an answer
_TIMEOUT = 20.0  # seconds: the auth pool may be busy with a lesson's sign-ins
_MOST_SPENT = 10_000
_TRANSPORTS = {transport.value for transport in structs.AuthenticatorTransport}
_BROKEN = (exceptions.WebAuthnException, ValueError, KeyError, TypeError)


class PasskeyRefused(Exception):
    """The answer proves nothing; the text is for log and audit."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the page hands to the browser: ``options`` as JSON, and the challenge in it."""

    options: str
    challenge: bytes


class Passkeys:
    """Registers and verifies them."""

    def __init__(self, database: Database, pool: BlockingPool, public_url: str) -> None:
        """``public_url``: as in the browser's address line; its host is what passkeys are bound to."""
        parts = urlsplit(public_url)
        self._database = database
        self._pool = pool
        self._rp = parts.hostname or ""
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._spent: dict[bytes, float] = {}

    @property
    def possible(self) -> bool:
        """Browsers have passkeys for names only, and over TLS only but for this very machine (section 5.1.2)."""
        try:
            ipaddress.ip_address(self._rp)
        except ValueError:
            return self._origin.startswith("https:") or self._rp == "localhost"
        return False

    async def begin(self, person: Person, display_name: str) -> Question:
        """Ask for a new one. Raises AlreadyEnrolled."""
        known = await self._database.run(_known, person)
        challenge = secrets.token_bytes(32)
        options = webauthn.generate_registration_options(
            rp_id=self._rp,
            rp_name=ISSUER,
            user_name=person.username,
            user_id=f"user-{person.user_id}".encode(),
            user_display_name=display_name or person.username,
            challenge=challenge,
            timeout=int(LIFETIME * 1000),
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.DISCOURAGED,
                user_verification=structs.UserVerificationRequirement.DISCOURAGED,
            ),
            exclude_credentials=[_descriptor(row) for row in known],
        )
        return Question(webauthn.options_to_json(options), challenge)

    async def finish(self, actor: Actor, person: Person, challenge: bytes, answer: str, name: str) -> list[str]:
        """Keep the new one; return fresh recovery codes if there were none. Raises PasskeyRefused, AlreadyEnrolled.

        Raises Conflict for one that is known.
        """
        self._spend(challenge)
        try:
            verified = await self._pool.run(_TIMEOUT, self._verify_registration, challenge, answer)
        except _BROKEN as error:
            raise PasskeyRefused(str(error)) from error
        row = {
            "name": name,
            "credential_id": to_base64url(verified.credential_id),
            "public_key": to_base64url(verified.credential_public_key),
            "sign_count": verified.sign_count,
            "transports": _transports(answer),
        }
        return await self._database.run(_keep, actor, person, row)

    async def ask(self, user_id: int) -> Question | None:
        """Ask for one of a user's; None if there is none."""
        rows = await self._database.run(factors.passkeys, user_id)
        if not rows or not self.possible:
            return None
        challenge = secrets.token_bytes(32)
        options = webauthn.generate_authentication_options(
            rp_id=self._rp,
            challenge=challenge,
            timeout=int(LIFETIME * 1000),
            allow_credentials=[_descriptor(row) for row in rows],
            user_verification=structs.UserVerificationRequirement.DISCOURAGED,
        )
        return Question(webauthn.options_to_json(options), challenge)

    async def verify(self, user_id: int, challenge: bytes, answer: str) -> None:
        """Check the answer, use it up; raise PasskeyRefused."""
        self._spend(challenge)
        rows = {row.credential_id: row for row in await self._database.run(factors.passkeys, user_id)}
        try:
            row = rows[json.loads(answer)["id"]]
            after = await self._pool.run(_TIMEOUT, self._verify_answer, row, challenge, answer)
        except _BROKEN as error:
            raise PasskeyRefused(f"{type(error).__name__}: {error}") from error
        if not await self._database.run(factors.use_passkey, row.id, row.sign_count, after):
            raise PasskeyRefused("its counter was used meanwhile")

    def _verify_registration(self, challenge: bytes, answer: str) -> Any:
        return webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=self._rp,
            expected_origin=self._origin,
        )

    def _verify_answer(self, row: WebauthnCredential, challenge: bytes, answer: str) -> int:
        verified = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=self._rp,
            expected_origin=self._origin,
            credential_public_key=from_base64url(row.public_key),
            credential_current_sign_count=row.sign_count,
        )
        return verified.new_sign_count

    def _spend(self, challenge: bytes) -> None:
        """A challenge is answered once; raise PasskeyRefused for the second time."""
        now = time.monotonic()
        if challenge in self._spent:
            raise PasskeyRefused("the challenge was answered before")
        if len(self._spent) >= _MOST_SPENT:
            self._spent = {spent: until for spent, until in self._spent.items() if until > now}
        self._spent[challenge] = now + LIFETIME


def _descriptor(row: WebauthnCredential) -> structs.PublicKeyCredentialDescriptor:
    transports = [structs.AuthenticatorTransport(name) for name in row.transports.split() if name in _TRANSPORTS]
    return structs.PublicKeyCredentialDescriptor(id=from_base64url(row.credential_id), transports=transports or None)


def _transports(answer: str) -> str:
    named = json.loads(answer).get("response", {}).get("transports")
    return " ".join(sorted({name for name in named if name in _TRANSPORTS})) if isinstance(named, list) else ""


@reads
def _known(s: Session, person: Person) -> list[WebauthnCredential]:
    check_newcomer(s, person)
    return list(factors.passkeys(s, person.user_id))


def _keep(s: Session, actor: Actor, person: Person, row: dict[str, Any]) -> list[str]:
    check_newcomer(s, person)
    factors.add_passkey(s, actor, person.user_id, **row)
    return give_codes(s, actor, person.user_id) if not factors.overview(s, person.user_id).codes else []
