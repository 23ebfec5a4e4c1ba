"""The steps of `check` for a directory, taken with the parts that sign-in uses: TLS, bind, search, groups."""

from __future__ import annotations

from dataclasses import dataclass

from cyberlab.auth.base import AccountProblem
from cyberlab.auth.ldap import LdapBackend
from cyberlab.auth.ldap_link import Link, LinkFailed, open_link


@dataclass(frozen=True, slots=True)
class Finding:
    """How one step at one server ended; ``said`` is for the admin and has no secrets."""

    server: str
    step: str
    held: bool
    said: str


def check_directory(backend: LdapBackend, username: str = "") -> list[Finding]:
    """Try every server, so that a spare one is known to work before it is needed; blocking.

    ``username``: whose entry and groups to look for; without it, or with a direct bind (which would need that
    person's password), the steps end after TLS or the service account's bind.
    """
    return [finding for server in backend.options.servers for finding in _check(backend, server, username)]


def _check(backend: LdapBackend, server: str, username: str) -> list[Finding]:
    found: list[Finding] = []
    step = "tls"
    try:
        with open_link(backend.options, server) as link:
            found.append(Finding(server, step, True, "reached; its certificate is trusted"))
            if backend.options.bind_dn:
                step = "bind"
                backend.bind_service(link)
                found.append(Finding(server, step, True, f"bound as {backend.options.bind_dn}"))
                if username:
                    step = "search"
                    found += _person(backend, link, username)
    except LinkFailed as failure:
        found.append(Finding(server, step, False, str(failure)))
    except AccountProblem as problem:
        found.append(Finding(server, step, False, problem.detail))
    return found


def _person(backend: LdapBackend, link: Link, username: str) -> list[Finding]:
    entry = backend.find(link, username)
    if entry is None:
        said = f"nobody under {backend.options.base} is {username}, or the service account may not see them"
        return [Finding(link.server, "search", False, said)]
    groups = backend.groups(link, entry, username)
    names = ", ".join(sorted(groups)) or "none"
    return [Finding(link.server, "search", True, entry[0]), Finding(link.server, "groups", True, names)]
