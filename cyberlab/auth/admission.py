"""From an identity to a login session: whose row it is, whether they may come in, which factor is missing."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from cyberlab.auth.base import (
    DISABLED,
    EXPIRED,
    GROUPS_UNKNOWN,
    LOCKED,
    MUST_CHANGE_PASSWORD,
    Identity,
    NeedsEnrolment,
    NeedsSecondFactor,
    Outcome,
    Pending,
    Rejected,
    SignedIn,
)
from cyberlab.auth.config import AuthConfig, GroupMapping, Policy
from cyberlab.auth.mapping import standing
from cyberlab.db import audit, devices, factors, identities, logins, throttle, users
from cyberlab.db.audit import Actor
from cyberlab.db.models import User, utcnow
from cyberlab.db.throttle import Attempt
from cyberlab.db.users import LOCAL
from cyberlab.phrases import Phrase

SUBJECT_LIMIT = 255  # characters
LATER = "later"
RECOVERY = "recovery"
NOT_ALLOWED = Rejected("Your account may not use this portal. Please ask those who run it.")
TOO_LATE = Rejected("The sign-in took too long. Please begin again.")
UNKNOWN_GROUPS = Phrase(
    "You are in so many groups that the university's sign-in does not name them all. "
    "Please tell those who run this portal."
)
NOT_VERIFIED = Rejected("The second factor is missing. Please begin again.")
ACCOUNT_MESSAGES = {
    EXPIRED: Phrase("Your account or its password has expired at the university. Please renew it there."),
    LOCKED: Phrase("Your account is locked at the university. Please wait, or ask its service desk."),
    DISABLED: Phrase("Your account is disabled at the university. Please ask its service desk."),
    GROUPS_UNKNOWN: UNKNOWN_GROUPS,
    MUST_CHANGE_PASSWORD: Phrase("The university wants you to change your password first. Please do so there."),
}


@dataclass(frozen=True, slots=True)
class Browser:
    """Where a sign-in comes from; ``device``: the token of a remembered device, or none."""

    address: str
    user_agent: str
    device: str = ""


def admit(
    s: Session, auth: AuthConfig, identity: Identity, attempt: Attempt | None, browser: Browser, lifetime: float
) -> Outcome | None:
    """Go as far as one factor leads; None: nobody here, or disabled, which is told like a wrong password.

    ``lifetime``: of a login session, in seconds.
    """
    user = _user(s, auth.mapping(identity.backend), identity, browser.address)
    if isinstance(user, Rejected):
        if attempt is not None:
            throttle.succeeded(s, attempt)  # the password was right
        return user
    if user is None or not user.active:
        return None
    if attempt is not None:
        throttle.succeeded(s, attempt)
    missing = _missing_factor(s, auth, user, browser, utcnow())
    return missing or _begin(s, user, browser, lifetime)


def complete(
    s: Session,
    auth: AuthConfig,
    pending: Pending,
    factor: str,
    attempt: Attempt | None,
    browser: Browser,
    lifetime: float,
    *,
    remember: bool,
) -> SignedIn | Rejected:
    """Begin the login session after the second factor, or without it while there is grace."""
    user = users.get(s, pending.user_id)
    if user is None or not user.active or user.backend != pending.backend:
        return TOO_LATE
    held = factors.enrolled(s, user.id)
    if factor == LATER:
        grace = user.factor_grace_until
        allowed = not held and grace is not None and utcnow() < grace
    else:
        allowed = factor in held or (factor == RECOVERY and bool(held))
    if not allowed:
        return NOT_VERIFIED
    if attempt is not None:
        throttle.succeeded(s, attempt)
    token = _begin(s, user, browser, lifetime, factor).token
    days = auth.second_factor.remember_seconds
    if not remember or factor == LATER or days <= 0:
        return SignedIn(user.id, token)
    device = devices.create(s, user.id, name=browser.user_agent, lifetime=days)
    return SignedIn(user.id, token, device)


def _user(s: Session, mapping: GroupMapping, identity: Identity, address: str) -> User | Rejected | None:
    """The identity's row, made or refreshed; Rejected for who may not use the portal; None: none, and none is made."""
    if not identity.subject:
        # Without it, everybody whom the backend does not tell apart would be one and the same user.
        detail = f"{identity.backend} gave nothing to know the person by"
        audit.record(s, Actor(None, identity.username, address), "login.refused", "", detail)
        return NOT_ALLOWED
    subject = _subject(identity.subject)
    user = users.claim(s, backend=identity.backend, subject=subject, username=identity.username)
    if identity.backend == LOCAL or (user is not None and not user.active):
        return user  # a local account is what the portal knows of it; a disabled one stays as it was
    held = standing(mapping, identity)
    actor = Actor(user.id if user else None, user.username if user else identity.username, address)
    if not held.admitted:
        if user is not None:
            identities.withdraw(s, actor, user)
        audit.record(s, actor, "login.refused", "", f"in none of the groups that {identity.backend} requires")
        return NOT_ALLOWED
    if user is None:
        if not mapping.create_users:
            return None
        user = identities.create(
            s,
            actor,
            backend=identity.backend,
            subject=subject,
            username=identity.username,
            role=held.role or mapping.default_role,
            mapped=held.role is not None,
        )
        if user is None:
            detail = f"the name is another account's of {identity.backend}, or none that can be used"
            audit.record(s, actor, "login.refused", "", detail)
            return NOT_ALLOWED
    identities.refresh(
        s,
        actor,
        user,
        username=identity.username,
        display_name=identity.display_name,
        email=identity.email,
        external_groups=identity.groups,
        role=held.role,
    )
    identities.enter_classes(s, actor, user, held.classes)
    return user


def is_about(identity: Identity, user: User) -> bool:
    """Whether a backend speaks of that very user, not of another one who has the name by now."""
    own = str(user.id) if user.backend == LOCAL else user.subject
    return identity.backend == user.backend and bool(identity.subject) and _subject(identity.subject) == own


def _subject(subject: str) -> str:
    """As the column holds it; an issuer's address and a pairwise identifier may be longer together."""
    if len(subject) <= SUBJECT_LIMIT:
        return subject
    return f"sha256:{hashlib.sha256(subject.encode('utf-8', 'replace')).hexdigest()}"


def _missing_factor(
    s: Session, auth: AuthConfig, user: User, browser: Browser, now: datetime
) -> NeedsSecondFactor | NeedsEnrolment | None:
    config = auth.second_factor
    policy = config.policy(user.role)
    if policy == Policy.OFF:
        return None
    held = factors.enrolled(s, user.id)
    if held:
        remembered = browser.device and config.remember_days > 0 and devices.use(s, user.id, browser.device, now)
        return None if remembered else NeedsSecondFactor(_pending(user, now), held)
    if policy == Policy.OPTIONAL:
        return None
    if user.factor_grace_until is None:
        user.factor_grace_until = now + timedelta(days=config.grace_days)
    grace = user.factor_grace_until
    return NeedsEnrolment(_pending(user, now), grace if grace > now else None)


def _pending(user: User, now: datetime) -> Pending:
    return Pending(user.id, user.backend, now.timestamp(), secrets.token_urlsafe(16))


def _begin(s: Session, user: User, browser: Browser, lifetime: float, factor: str = "") -> SignedIn:
    now = utcnow()
    user.last_login_at = now
    throttle.know(s, user.id, browser.address, now)
    token = logins.create(s, user.id, address=browser.address, user_agent=browser.user_agent, lifetime=lifetime)
    detail = f"second factor: {factor}" if factor else ""
    audit.record(s, Actor(user.id, user.username, browser.address), "login.success", "", detail)
    return SignedIn(user.id, token)
