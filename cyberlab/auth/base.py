"""The contracts of sign-in: what a backend asserts, and how a sign-in ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cyberlab.db.engine import Database
from cyberlab.settings import Settings

# Why an account cannot be used although the password was right, or its directory says so: the codes of AccountProblem.
EXPIRED = "expired"
LOCKED = "locked"
DISABLED = "disabled"
MUST_CHANGE_PASSWORD = "must-change-password"  # noqa: S105 - a code
TOO_MANY_ENTRIES = "too-many-entries"
GROUPS_UNKNOWN = "groups-unknown"  # there are more than it gives: a role or a class might be among the others


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


class AccountProblem(Exception):
    """The password was right, or the directory says so, but the account cannot be used: ``code`` as above."""

    def __init__(self, code: str, detail: str = "") -> None:
        """``detail``: for the log and the audit row, without secrets."""
        super().__init__(detail or code)
        self.code = code
        self.detail = detail


class BackendUnavailable(Exception):
    """The other side cannot be asked: down, silent, or not who it should be."""

    def __init__(self, detail: str) -> None:
        """``detail``: for the log and the audit row, without secrets."""
        super().__init__(detail)
        self.detail = detail


class SignInRefused(Exception):
    """What came back from another page proves nothing; ``code`` says what was wrong with it, for log and audit."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What a backend's class is called with beside its name and its options: ``Backend(name, options, context)``."""

    database: Database
    settings: Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """How one step of a look at a backend ended (`server.py check`); ``said`` is for the admin and has no secrets.

    ``step``: a word, twelve characters at most. ``server``: which of several.
    """

    step: str
    held: bool
    said: str
    server: str = ""
    warnings: tuple[str, ...] = ()


# A backend of either kind may also have ``check(username: str)``, which returns Findings, as an iterable or an
# asynchronous one; ``username``: whose entry to look up, or "". It keeps to its own timeouts. And ``reach()``, which
# returns Findings of step "answers" about its servers now, blocking where it is a PasswordBackend.


class PasswordBackend(Protocol):
    """Checks a name and a password; blocking, runs on the auth executor."""

    name: str

    def authenticate(self, username: str, password: str) -> Identity | None:
        """Return the identity, or None: not my user or not this password (the caller never learns which).

        Raises AccountProblem or BackendUnavailable; keeps to its own timeouts.
        """
        ...


class RedirectBackend(Protocol):
    """Signs in by a round trip through somebody else's page (OIDC, CAS, SAML)."""

    name: str
    label: str

    async def begin(self, callback_url: str) -> RedirectStart:
        """Return the address to redirect to; raise BackendUnavailable."""
        ...

    async def finish(self, callback_url: str, state: Mapping[str, str], arguments: Mapping[str, str]) -> Identity:
        """Check what came back; return the identity. Raises SignInRefused or BackendUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in between its factors, as the five-minute signed cookie carries it; it is no login session."""

    user_id: int
    backend: str
    issued: float  # seconds since the epoch
    nonce: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Every factor held: ``token`` goes into the cookie, only its hash into the database.

    ``device``: the token of a device that is to be remembered, for a cookie of its own.
    """

    user_id: int
    token: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class NeedsSecondFactor:
    """The first factor held; one of ``methods`` ("totp", "webauthn") is enrolled and must be verified."""

    pending: Pending
    methods: frozenset[str]


@dataclass(frozen=True, slots=True)
class NeedsEnrolment:
    """The first factor held; the role's policy wants a second one that is not enrolled yet.

    ``grace_until``: until then it may be put off.
    """

    pending: Pending
    grace_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """No sign-in; ``message`` is for the page and never says which part was wrong.

    ``retry_after``: seconds until the next attempt is looked at, if attempts come too fast.
    """

    message: str
    retry_after: float | None = None


Outcome = SignedIn | NeedsSecondFactor | NeedsEnrolment | Rejected
