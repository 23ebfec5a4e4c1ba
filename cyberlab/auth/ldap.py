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

from ldap3.utils.conv import escape_filter_chars

from cyberlab.auth import ldap_values as values
from cyberlab.auth.base import (
    GROUPS_UNKNOWN,
    TOO_MANY_ENTRIES,
    AccountProblem,
    BackendContext,
    BackendUnavailable,
    Finding,
    Identity,
)
from cyberlab.auth.ldap_link import (
    INVALID_DN,
    NO_SUCH_OBJECT,
    SUCCESS,
    Entry,
    Incomplete,
    Link,
    LinkFailed,
    open_link,
)
from cyberlab.auth.ldap_options import Groups, LdapOptions
from cyberlab.auth.ldap_states import INVALID_CREDENTIALS

__all__ = ["LdapBackend", "LdapOptions"]

BUDGET = 12.0  # seconds in which a further server is still begun with; the caller waits no longer than 20
MOST_PARTS = 20  # in which Active Directory may give somebody's groups, 1500 at a time
_IN_CHAIN = "1.2.840.113556.1.4.1941"  # MS-ADTS, section 3.1.1.3.4.4.3
_REST = 5.0  # seconds for which nobody waits for a directory none of whose servers could be reached just now
_SIDELINED = 60.0  # seconds for which a server that failed is asked last
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
                    return self.sign_in(link, username, password)
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

    def sign_in(self, link: Link, username: str, password: str) -> Identity | None:
        """authenticate() at one server; raise AccountProblem or LinkFailed."""
        options = self.options
        bound = ""
        if options.user_dn:
            bound = values.direct_name(options.user_dn, username)
            if not self._bind_person(link, bound, password):
                return None
        else:
            self.bind_service(link)
        entry = self.find(link, username, bound if "=" in options.user_dn else "")
        if entry is None:
            if not bound:  # as many round trips as for a name that exists, without showing a stranger's password
                link.bind(f"cn={secrets.token_hex(8)},{options.base}", secrets.token_urlsafe(12))
            return None
        if not values.same(entry[0], bound) and not self._bind_person(link, entry[0], password):
            return None
        if not bound and options.groups in (Groups.SEARCH, Groups.NESTED):
            self.bind_service(link)
        return self.identity(link, entry, self.groups(link, entry, username))

    def bind_service(self, link: Link) -> None:
        """Bind as the service account; raise LinkFailed if the directory does not take it."""
        answer = link.bind(self.options.bind_dn, self.options.bind_password.get_secret_value())
        if answer.state:  # also with a password that was taken: what must be changed first may read nothing
            raise LinkFailed(f"{link.server}: the service account is unusable ({answer.state}): {answer.words}")
        if answer.code != SUCCESS:
            why = "its name or its password is not right, " if answer.code == INVALID_CREDENTIALS else ""
            said = f"({why}result {answer.code}) {answer.message}".rstrip()
            raise LinkFailed(f"{link.server}: the service account was refused {said}")

    @staticmethod
    def _bind_person(link: Link, dn: str, password: str) -> bool:
        answer = link.bind(dn, password)
        if answer.state:
            raise AccountProblem(answer.state, answer.words)
        if answer.code == SUCCESS:
            return True
        if answer.code in (INVALID_CREDENTIALS, INVALID_DN, NO_SUCH_OBJECT):
            return False
        raise LinkFailed(f"{link.server}: the bind was refused (result {answer.code}) {answer.message}".rstrip())

    def find(self, link: Link, username: str, dn: str = "") -> Entry | None:
        """The person's entry; AccountProblem if there are several.

        ``dn``: it is known, and only read; many directories let people read themselves but not search.
        """
        options = self.options
        wanted = [options.username_from, options.subject_from, options.name_attribute, options.mail_attribute]
        if options.groups is Groups.MEMBEROF:
            wanted.append("memberOf")
        known = dn and not options.user_filter
        names = values.compared(f"({options.user_dn.partition(',')[0]})" if known else options.filter)
        query = "(objectClass=*)" if known else options.filter.replace(values.NAME, escape_filter_chars(username))
        try:
            found = link.search(dn or options.base, query, list(dict.fromkeys(wanted + names)), 2, one=bool(dn))
        except Incomplete:
            raise AccountProblem(TOO_MANY_ENTRIES, "several match, of which the directory does not show two") from None
        if len(found) > 1:
            raise AccountProblem(TOO_MANY_ENTRIES, f"{found[0][0]} and {found[1][0]} both match")
        if found and names and not values.spelled(username, found[0][1], names):
            log.info("directory %s: %s was not asked for in its own spelling", self.name, found[0][0])
            return None
        return found[0] if found else None

    def groups(self, link: Link, entry: Entry, username: str) -> frozenset[str]:
        """The names of the person's groups."""
        options = self.options
        dn, attributes = entry
        if options.groups is Groups.NONE:
            return frozenset()
        if options.groups is Groups.MEMBEROF:
            dns, base = _member_of(link, entry), options.group_base
            return frozenset(name for each in dns if (name := values.group_of(each, base, options.group_attribute)))
        query = options.group_filter
        if options.groups is Groups.NESTED:
            query = f"(member:{_IN_CHAIN}:={{dn}})"
        login = values.text(attributes, options.username_from) or username
        parts = {"{dn}": escape_filter_chars(dn), "{username}": escape_filter_chars(login)}
        query = re.sub(r"\{dn\}|\{username\}", lambda match: parts[match[0]], query)
        try:
            listed = link.search_all(options.group_base or options.base, query, [options.group_attribute])
        except Incomplete as error:
            raise AccountProblem(GROUPS_UNKNOWN, str(error)) from None
        return frozenset(name for _, group in listed if (name := values.text(group, options.group_attribute)))

    def identity(self, link: Link, entry: Entry, groups: frozenset[str]) -> Identity:
        """What the directory asserts; raise LinkFailed where it lacks what people are known by."""
        options = self.options
        dn, attributes = entry
        known_by = attributes.get(options.subject_from.casefold(), [])
        subject, username = values.subject(known_by), values.text(attributes, options.username_from)
        for value, option in ((subject, "subject"), (username, "username")):
            if not value:
                name = getattr(options, f"{option}_from")
                raise LinkFailed(f"{link.server}: {dn} has no {name} ({option}_attribute), or it may not be read")
        if len(known_by) > 1:  # in no certain order
            raise LinkFailed(f"{link.server}: {dn} has several {options.subject_from}, so nobody is known by it")
        name, mail = (values.text(attributes, each) for each in (options.name_attribute, options.mail_attribute))
        return Identity(self.name, subject, username, name, mail or None, groups)


def _member_of(link: Link, entry: Entry) -> list[str]:
    """The names in ``memberOf``, also where the directory gives it in parts."""
    dn, attributes = entry
    found: list[bytes] = []
    for _ in range(MOST_PARTS):
        more, begin = values.part(attributes, "memberOf")
        found += more
        if begin is None:
            return [name.decode("utf-8", "replace") for name in found]
        rest = link.search(dn, "(objectClass=*)", [f"memberOf;range={begin}-*"], 1, one=True)
        attributes = rest[0][1] if rest else {}
        if not values.part(attributes, "memberOf")[0]:
            break
    raise AccountProblem(GROUPS_UNKNOWN, f"{dn} is in {len(found)} groups, and the directory does not give the rest")
