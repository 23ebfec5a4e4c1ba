"""The contracts of sign-in: what a backend asserts, and how a sign-in ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """What a backend asserts about the person in front of the form."""

    backend: str  # configured name: "local", "campus-ldap"
    subject: str  # immutable there: entryUUID / objectGUID, iss|sub, our user id
    username: str
    display_name: str = ""
    email: str | None = None
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RedirectStart:
    """Where to send the browser, and what must come back with it unchanged."""

    url: str
    state: Mapping[str, str]


class PasswordBackend(Protocol):
    """Checks a name and a password; blocking, runs on the auth executor."""

    name: str

    def authenticate(self, username: str, password: str) -> Identity | None:
        """Return the identity, or None: not my user or not this password (the caller never learns which)."""
        ...


class RedirectBackend(Protocol):
    """Signs in by a round trip through somebody else's page (OIDC, CAS, SAML)."""

    name: str
    label: str

    async def begin(self, callback_url: str) -> RedirectStart:
        """Return the address to redirect to."""
        ...

    async def finish(self, callback_url: str, state: Mapping[str, str], arguments: Mapping[str, str]) -> Identity:
        """Check what came back; return the identity."""
        ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Every factor held: ``token`` goes into the cookie, only its hash into the database."""

    user_id: int
    token: str


@dataclass(frozen=True, slots=True)
class NeedsSecondFactor:
    """The password held; a second factor is enrolled and must be verified."""

    user_id: int


@dataclass(frozen=True, slots=True)
class NeedsEnrolment:
    """The password held; the role's policy wants a second factor that is not enrolled yet."""

    user_id: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """No sign-in; ``message`` is for the page and never says which part was wrong."""

    message: str


Outcome = SignedIn | NeedsSecondFactor | NeedsEnrolment | Rejected
