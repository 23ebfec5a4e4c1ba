"""One verified connection to a directory server, and its failures in plain words; blocking.

The connection is always encrypted and the server's certificate always verified: there is no option against it.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ldap3
from ldap3.core import exceptions as errors

from cyberlab.auth.ldap_options import LdapOptions, address
from cyberlab.auth.ldap_states import INVALID_CREDENTIALS, POLICY_CONTROL, BindAnswer, bind_answer

# RFC 4511, appendix A
SUCCESS, SIZE_LIMIT, REFERRAL, ADMIN_LIMIT, NO_SUCH_OBJECT, INVALID_DN = 0, 4, 10, 11, 32, 34
PAGE = 500  # entries; OpenLDAP's own limit for one answer, Active Directory's is 1000
MOST = 10_000  # entries of one search, in pages
_PATIENCE = 8.0  # seconds in which a further page is still asked for
_PAGED = "1.2.840.113556.1.4.319"  # RFC 2696
Entry = tuple[str, Mapping[str, list[bytes]]]


class LinkFailed(Exception):
    """This server cannot be asked; another one may be. The text is for the admin and has no secrets.

    ``reached``: there was a connection, so that it may have to do with this one question alone.
    """

    reached = True


class Incomplete(LinkFailed):
    """There is more than this server gives."""


class _Tls(ldap3.Tls):  # type: ignore[misc, unused-ignore]
    """ldap3's own check of names fails for addresses since Python 3.12; the standard library's does not."""

    def __init__(self, ca_file: str | None) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = ssl.create_default_context(cafile=ca_file)

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = self._context.wrap_socket(connection.socket, server_hostname=connection.server.host)


@dataclass(frozen=True, slots=True)
class Link:
    """An open connection; every call either answers or raises LinkFailed within the options' timeout."""

    server: str
    connection: Any

    def bind(self, dn: str, password: str) -> BindAnswer:
        """Bind; return what the server says. ``password`` must not be empty."""
        if not password:  # an "unauthenticated bind" would succeed: RFC 4513, section 5.1.2
            return BindAnswer(INVALID_CREDENTIALS, "empty password")
        asked = [(POLICY_CONTROL, False, None)]
        with _plain(self.server):
            _, result, _, _ = self.connection.rebind(dn, password, authentication=ldap3.SIMPLE, controls=asked)
        return bind_answer(result)

    def search(self, base: str, query: str, attributes: list[str], limit: int, *, one: bool = False) -> list[Entry]:
        """The entries found, ``limit`` at most; ``one`` reads ``base`` itself.

        Raises Incomplete where a limit of the server's own hides some of so few.
        """
        scope = ldap3.BASE if one else ldap3.SUBTREE
        code, found, _ = self._search(base, query, attributes=attributes, search_scope=scope, size_limit=limit)
        if code == NO_SUCH_OBJECT and one:
            return []
        if code != SUCCESS and len(found) < limit:
            raise Incomplete(f"{self.server} gives {len(found)} of the entries that match, and no more")
        return found

    def search_all(self, base: str, query: str, attributes: list[str]) -> list[Entry]:
        """Every entry found, page by page; raise Incomplete if the server gives only some of them."""
        begun, cookie, found = time.monotonic(), b"", list[Entry]()
        while True:
            code, more, cookie = self._search(
                base, query, attributes=attributes, paged_size=PAGE, paged_cookie=cookie or None
            )
            found += more
            if code == SUCCESS and not cookie:
                return found
            if code != SUCCESS or len(found) >= MOST or time.monotonic() - begun > _PATIENCE:
                raise Incomplete(f"{self.server} gives {len(found)} of the groups, and no more")

    def _search(self, base: str, query: str, **how: Any) -> tuple[int, list[Entry], bytes]:
        """The result's code, if it is one to go on with; the entries; where the next page begins."""
        with _plain(self.server):
            _, result, response, _ = self.connection.search(base, query, **how)
        code = int(result["result"])
        if code not in (SUCCESS, SIZE_LIMIT, ADMIN_LIMIT, NO_SUCH_OBJECT) or (
            code == NO_SUCH_OBJECT and how.get("search_scope") != ldap3.BASE
        ):
            raise LinkFailed(f"{self.server}: {_refusal(base, code, result)}")
        found: list[Entry] = [
            (item["dn"], {name.casefold(): values for name, values in item["raw_attributes"].items()})
            for item in response or []
            if item["type"] == "searchResEntry"  # referrals, which nobody follows, stand among them
        ]
        paged = (result.get("controls") or {}).get(_PAGED, {}).get("value") or {}
        return code, found, bytes(paged.get("cookie") or b"")


@contextlib.contextmanager
def open_link(options: LdapOptions, server: str) -> Iterator[Link]:
    """Connect, encrypt and verify; raise LinkFailed. Nobody is bound yet."""
    first, host, port = address(server)
    with _plain(server, reached=False):
        tls = _Tls(str(options.ca_file) if options.ca_file else None)
        where = ldap3.Server(
            host, port, use_ssl=first, tls=tls, get_info=ldap3.NONE, connect_timeout=options.timeout
        )  # fmt: skip
        connection = ldap3.Connection(
            where,
            client_strategy=ldap3.SAFE_SYNC,
            receive_timeout=options.timeout,
            auto_range=False,  # it takes the first part for everything where asking for the next one fails
            return_empty_attributes=False,  # which fails where an attribute comes in parts
            auto_referrals=False,  # a referral would show the password to whomever it names
            check_names=False,
        )
    try:
        with _plain(server, reached=False):
            connection.open()
            if not first:
                connection.start_tls()
        yield Link(server, connection)
    finally:
        with contextlib.suppress(Exception):
            connection.unbind()
        if connection.socket is not None:  # where opening failed half-way
            with contextlib.suppress(Exception):
                connection.socket.close()


@contextlib.contextmanager
def _plain(server: str, *, reached: bool = True) -> Iterator[None]:
    """ldap3's exceptions, and the system's, as LinkFailed."""
    try:
        yield
    except (errors.LDAPException, OSError) as error:
        failure = LinkFailed(f"{server}: {_words(error)}")
        failure.reached = reached
        raise failure from None


def _refusal(base: str, code: int, result: Mapping[str, Any]) -> str:
    """Why a search came to nothing."""
    if code == NO_SUCH_OBJECT:
        return f"there is no {base}, or it may not be seen"
    if code == REFERRAL:
        where = ", ".join(result["referrals"] or ()) or "elsewhere"
        return f"{base} is on another server ({where}), which has to be named here: referrals are not followed"
    words = f"{result['description']} {result['message']}".strip()
    return f"the search under {base} was refused: {words}"


def _words(error: BaseException) -> str:
    text = str(error)
    if "certificate verify failed" in text or "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("certificate verify failed:")[2].partition("(_ssl")[0].strip(" '\")]")
        return f"its certificate is not trusted: {why or 'verification failed'}"
    if "timed out" in text or "timeout" in text.lower() or "Resource temporarily unavailable" in text:
        return "no answer in time"
    if "refused" in text:
        return "connection refused"
    if isinstance(error, errors.LDAPStartTLSError):
        return f"StartTLS failed: {text}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
