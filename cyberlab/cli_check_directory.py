"""The steps of `check` for a directory, taken with the parts that sign-in uses: TLS, bind, search, groups."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from cyberlab.auth.base import AccountProblem, Finding
from cyberlab.auth.config import GroupMapping
from cyberlab.auth.ldap import LdapBackend
from cyberlab.auth.ldap_link import (
    INVALID_DN,
    NO_SUCH_OBJECT,
    SUCCESS,
    Link,
    LinkFailed,
    open_link,
)
from cyberlab.auth.ldap_states import INVALID_CREDENTIALS, NOTED, noted
from cyberlab.auth.ldap_values import direct_name
from cyberlab.auth.mapping import standing


def check_directory(backend: LdapBackend, username: str = "", mapping: GroupMapping | None = None) -> Iterator[Finding]:
    """Try every server, so that a spare one is known to work before it is needed; blocking.

    ``username``: whose entry and groups to look for; without it anybody's will do. With a direct bind, which would
    need that person's password, the steps end after a bind that must be refused. ``mapping``: what groups mean.
    """
    for server in backend.options.servers:
        yield from _check(backend, server, username, mapping or GroupMapping())


def _check(backend: LdapBackend, server: str, username: str, mapping: GroupMapping) -> Iterator[Finding]:
    step = "TLS"
    try:
        with open_link(backend.options, server) as link:
            yield Finding(step, True, "reached; its certificate is trusted", server)
            step = "bind"
            if not backend.options.bind_dn:
                yield _refuses_strangers(backend, link)
                return
            backend.bind_service(link)
            yield Finding(step, True, f"bound as {backend.options.bind_dn}", server)
            step = "search"
            if username:
                yield from _person(backend, link, username, mapping)
            else:
                yield _anybody(backend, link)
    except LinkFailed as failure:
        yield Finding(step, False, str(failure).removeprefix(f"{server}: "), server)
    except AccountProblem as problem:
        yield Finding(step, False, problem.detail, server)


def _refuses_strangers(backend: LdapBackend, link: Link) -> Finding:
    """A direct bind as nobody must be refused as a wrong password is: then binds are taken, and looked at."""
    name = direct_name(backend.options.user_dn, f"cyberlab-check-{secrets.token_hex(4)}")
    code, message, _ = link.bind(name, secrets.token_urlsafe(12))
    if code == SUCCESS:
        return Finding("bind", False, f"{name}, made up here, was let in with any password", link.server)
    if code not in (INVALID_CREDENTIALS, INVALID_DN, NO_SUCH_OBJECT):
        return Finding("bind", False, f"binds are refused (result {code}) {message}".rstrip(), link.server)
    said = "takes binds, and refuses strangers; people are looked up with their own password at sign-in alone"
    return Finding("bind", True, said, link.server)


def _anybody(backend: LdapBackend, link: Link) -> Finding:
    options = backend.options
    wanted = [options.username_from, options.subject_from]
    found = link.search(options.base, options.filter.replace("{username}", "*"), wanted, 1)
    if not found:
        said = f"nobody under {options.base} matches user_filter, or the service account may not see them"
        return Finding("search", False, said, link.server)
    backend.identity(link, found[0], frozenset())
    return Finding("search", True, f"finds people under {options.base}; --user NAME looks somebody up", link.server)


def _person(backend: LdapBackend, link: Link, username: str, mapping: GroupMapping) -> Iterator[Finding]:
    entry = backend.find(link, username)
    if entry is None:
        said = f"nobody under {backend.options.base} is {username}, or the service account may not see them"
        yield Finding("search", False, said, link.server)
        return
    groups = backend.groups(link, entry, username)
    identity = backend.identity(link, entry, groups)
    said = f"{username} is {entry[0]}, known by {identity.subject}"
    yield Finding("search", True, said, link.server, _noted(link, entry[0]))
    held = standing(mapping, identity)
    required = ", ".join(mapping.required_groups)
    barred = f"{identity.username} is in none of required_groups ({required}) and may not sign in"
    names = ", ".join(sorted(groups)) or "none"
    yield Finding("groups", True, names, link.server, () if held.admitted else (barred,))
    if held.admitted:
        given = f"with the role that admins give, else {mapping.default_role}"
        role = f"as {held.role} by the groups" if held.role else given
        classes = f"; classes: {', '.join(sorted(held.classes))}" if held.classes else ""
        yield Finding("mapping", True, f"{identity.username} signs in {role}{classes}", link.server)


def _noted(link: Link, dn: str) -> tuple[str, ...]:
    """Why the password alone may not do, as far as the service account may read it."""
    found = link.search(dn, "(objectClass=*)", list(NOTED), 1, one=True)
    return tuple(noted(found[0][1])) if found else ()
