"""Sign-in by an LDAP directory or Active Directory: find the person, bind as them, read who they are.

The person's own bind is what proves the password: also with a direct bind the entry that was found is bound to
again unless it is the one already bound, so that a filter which finds somebody else proves nothing.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
import uuid
from collections.abc import Mapping

from ldap3.core.exceptions import LDAPInvalidDnError
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn, parse_dn, safe_dn

from cyberlab.auth.base import (
    DISABLED,
    EXPIRED,
    LOCKED,
    MUST_CHANGE_PASSWORD,
    TOO_MANY_ENTRIES,
    AccountProblem,
    BackendContext,
    BackendUnavailable,
    Finding,
    Identity,
)
from cyberlab.auth.ldap_link import (
    INVALID_CREDENTIALS,
    INVALID_DN,
    NO_SUCH_OBJECT,
    SUCCESS,
    Entry,
    Link,
    LinkFailed,
    open_link,
)
from cyberlab.auth.ldap_options import Groups, LdapOptions

__all__ = ["LdapBackend", "LdapOptions"]

BUDGET = 12.0  # seconds in which a further server is still begun with; the caller waits no longer than 20
GROUP_LIMIT = 1000  # Active Directory's own limit for one answer
_IN_CHAIN = "1.2.840.113556.1.4.1941"  # MS-ADTS, section 3.1.1.3.4.4.3
_REST = 5.0  # seconds for which nobody waits for a directory none of whose servers could be reached just now
_SIDELINED = 60.0  # seconds for which a server that failed is asked last
_DATA = re.compile(r"\bdata ([0-9a-f]+)\b", re.IGNORECASE)
# Active Directory says why in the message of "invalid credentials": Win32 error codes, in hexadecimal.
_STATES = {
    0x530: DISABLED,  # not at this time
    0x531: DISABLED,  # not from this workstation
    0x532: EXPIRED,  # the password
    0x533: DISABLED,
    0x701: EXPIRED,  # the account
    0x773: MUST_CHANGE_PASSWORD,
    0x775: LOCKED,
}
# Other directories (389 DS) say it by the result code of the bind: RFC 4511, appendix A.
_CODES = {19: LOCKED, 53: DISABLED}
log = logging.getLogger(__name__)


class LdapBackend:
    """A PasswordBackend over one directory, which may have several servers; blocking, runs on the auth pool."""

    def __init__(self, name: str, options: LdapOptions, context: BackendContext | None = None) -> None:
        """Nothing connects yet."""
        self.name = name
        self.options = options
        self._failed: dict[str, float] = {}
        self._unreached: dict[str, float] = {}
        self._lock = threading.Lock()

    def authenticate(self, username: str, password: str) -> Identity | None:
        """Check the password at the first server that answers; see PasswordBackend."""
        username = username.strip()
        if not password or not username or not username.isprintable():
            return None
        begun = time.monotonic()
        if self._rests(begun):
            raise BackendUnavailable(f"{self.name}: not asked, none of its servers could be reached a moment ago")
        details: list[str] = []
        for server in self._order():
            if details and time.monotonic() - begun > BUDGET - self.options.timeout:
                details.append(f"{server}: not asked, the time was up")
                continue
            try:
                with open_link(self.options, server) as link:
                    return self._sign_in(link, username, password)
            except LinkFailed as failure:
                details.append(str(failure))
                log.warning("directory %s: %s", self.name, failure)
                with self._lock:
                    self._failed[server] = time.monotonic()
                    if not failure.reached:
                        self._unreached[server] = self._failed[server]
        raise BackendUnavailable("; ".join(details))

    def reach(self) -> list[Finding]:
        """Whether each server answers now, and takes our bind where there is one; blocking."""
        found = []
        for server in self.options.servers:
            try:
                with open_link(self.options, server) as link:
                    if self.options.bind_dn:
                        self.bind_service(link)
                found.append(Finding("answers", True, "", server))
            except LinkFailed as failure:
                found.append(Finding("answers", False, str(failure).removeprefix(f"{server}: "), server))
        return found

    def _rests(self, now: float) -> bool:
        """Whether a lesson's sign-ins would only queue up behind a directory that hangs."""
        with self._lock:
            return all(now - self._unreached.get(server, -_REST) < _REST for server in self.options.servers)

    def _order(self) -> list[str]:
        """The servers as configured, those that failed lately last."""
        now = time.monotonic()
        with self._lock:
            return sorted(
                self.options.servers, key=lambda server: now - self._failed.get(server, -_SIDELINED) < _SIDELINED
            )

    def _sign_in(self, link: Link, username: str, password: str) -> Identity | None:
        options = self.options
        bound = ""
        if options.user_dn:
            bound = direct_name(options.user_dn, username)
            if not self._bind_person(link, bound, password):
                return None
        else:
            self.bind_service(link)
        entry = self.find(link, username, bound if "=" in options.user_dn else "")
        if entry is None:
            if not bound:  # as many round trips as for a name that exists
                link.bind(f"cn={secrets.token_hex(8)},{options.base}", password)
            return None
        if not _same(entry[0], bound) and not self._bind_person(link, entry[0], password):
            return None
        if not bound and options.groups in (Groups.SEARCH, Groups.NESTED):
            self.bind_service(link)
        return self.identity(link, entry, self.groups(link, entry, username))

    def bind_service(self, link: Link) -> None:
        """Bind as the service account; raise LinkFailed if the directory does not take it."""
        code, message = link.bind(self.options.bind_dn, self.options.bind_password.get_secret_value())
        if code != SUCCESS:
            raise LinkFailed(f"{link.server}: the service account was refused (result {code}) {message}".rstrip())

    @staticmethod
    def _bind_person(link: Link, dn: str, password: str) -> bool:
        code, message = link.bind(dn, password)
        if code == SUCCESS:
            return True
        if code == INVALID_CREDENTIALS and (found := _DATA.search(message)):
            if state := _STATES.get(int(found[1], 16)):
                raise AccountProblem(state, f"the directory says data {found[1].lower()}")
            return False
        if code in (INVALID_CREDENTIALS, INVALID_DN, NO_SUCH_OBJECT):
            return False
        if state := _CODES.get(code):
            raise AccountProblem(state, f"the directory says result {code}")
        raise LinkFailed(f"{link.server}: the bind was refused (result {code}) {message}".rstrip())

    def find(self, link: Link, username: str, dn: str = "") -> Entry | None:
        """The person's entry; AccountProblem if there are several.

        ``dn``: it is known, and only read; many directories let people read themselves but not search.
        """
        options = self.options
        wanted = [options.username_from, options.subject_from, options.name_attribute, options.mail_attribute]
        if options.groups is Groups.MEMBEROF:
            wanted.append("memberOf")
        query = options.user_filter if dn and not options.user_filter else options.filter
        query = (query or "(objectClass=*)").replace("{username}", escape_filter_chars(username))
        found = link.search(dn or options.base, query, wanted, 2, one=bool(dn))
        if len(found) > 1:
            raise AccountProblem(TOO_MANY_ENTRIES, f"{found[0][0]} and {found[1][0]} both match")
        return found[0] if found else None

    def groups(self, link: Link, entry: Entry, username: str) -> frozenset[str]:
        """The names of the person's groups."""
        options = self.options
        dn, attributes = entry
        if options.groups is Groups.NONE:
            return frozenset()
        if options.groups is Groups.MEMBEROF:
            names = (value.decode("utf-8", "replace") for value in attributes.get("memberof", []))
            return frozenset(group for name in names if (group := self._group_of(name)))
        query = options.group_filter
        if options.groups is Groups.NESTED:
            query = f"(member:{_IN_CHAIN}:={{dn}})"
        login = _text(attributes, options.username_from) or username
        parts = {"{dn}": escape_filter_chars(dn), "{username}": escape_filter_chars(login)}
        query = re.sub(r"\{dn\}|\{username\}", lambda match: parts[match[0]], query)
        found = link.search(options.group_base or options.base, query, [options.group_attribute], GROUP_LIMIT)
        return frozenset(name for _, group in found if (name := _text(group, options.group_attribute)))

    def _group_of(self, dn: str) -> str:
        """The name in a group's DN, if the group lies where groups count."""
        try:
            parts = parse_dn(dn)
        except LDAPInvalidDnError:
            return ""
        base = self.options.group_base
        if base and not _same_parts(parts[-len(parse_dn(base)) :], parse_dn(base)):
            return ""
        return _unescaped(parts[0][1])

    def identity(self, link: Link, entry: Entry, groups: frozenset[str]) -> Identity:
        """What the directory asserts; raise LinkFailed where it lacks what people are known by."""
        options = self.options
        dn, attributes = entry
        subject = _subject(attributes.get(options.subject_from.casefold(), []))
        username = _text(attributes, options.username_from)
        for value, name in ((subject, options.subject_from), (username, options.username_from)):
            if not value:
                raise LinkFailed(f"{link.server}: {dn} has no {name}, or it may not be read")
        name, mail = _text(attributes, options.name_attribute), _text(attributes, options.mail_attribute)
        return Identity(self.name, subject, username, name, mail or None, groups)


def direct_name(template: str, username: str) -> str:
    """The name to bind with: a DN with the user name escaped (RFC 4514), or a UPN like ``{username}@ad.example``."""
    if "=" in template:
        return template.replace("{username}", escape_rdn(username))
    return username if "@" in username else template.replace("{username}", username)


def _subject(values: list[bytes]) -> str:
    """objectGUID is 16 bytes in Microsoft's order; entryUUID is text."""
    if not values:
        return ""
    if len(values[0]) == 16:
        return str(uuid.UUID(bytes_le=values[0]))
    return values[0].decode("utf-8", "replace")


def _text(attributes: Mapping[str, list[bytes]], name: str) -> str:
    values = attributes.get(name.casefold(), [])
    return values[0].decode("utf-8", "replace").strip() if values else ""


def _unescaped(value: str) -> str:
    """A value of a DN without its escapes (RFC 4514, section 2.4)."""
    pairs = re.sub(rb"\\([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), value.encode())
    return re.sub(r"\\(.)", r"\1", pairs.decode("utf-8", "replace"))


def _same(dn: str, other: str) -> bool:
    try:
        return bool(other) and safe_dn(dn).casefold() == safe_dn(other).casefold()
    except LDAPInvalidDnError:
        return False


def _same_parts(parts: list[tuple[str, str, str]], others: list[tuple[str, str, str]]) -> bool:
    return [(a.casefold(), b.casefold()) for a, b, _ in parts] == [(a.casefold(), b.casefold()) for a, b, _ in others]
