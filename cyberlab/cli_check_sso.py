"""The steps of `check` for single sign-on: what can be known of the other server without anybody's password."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network

from cyberlab.auth.base import BackendUnavailable, Finding, SignInRefused
from cyberlab.auth.cas import CasBackend
from cyberlab.auth.oidc import ALGORITHMS, OidcBackend, error_of
from cyberlab.auth.oidc_metadata import Metadata, plain
from cyberlab.auth.proxy import ProxyBackend
from cyberlab.auth.remote import with_query

_MANY = 256  # addresses of a network that is more than a web server or two
# RFC 6749, section 5.2: what a token endpoint says of the client rather than of the code.
_OF_THE_CLIENT = ("invalid_client", "unauthorized_client")


async def check_issuer(backend: OidcBackend, callback: str) -> AsyncIterator[Finding]:
    """Discovery with the issuer's own name, its keys, and whether the token endpoint takes our client."""
    step = "discovery"
    try:
        metadata = await backend.discover()
        yield Finding(step, True, f"{backend.options.issuer} is who it says", warnings=_unknown(backend, metadata))
        step = "keys"
        keys = await backend.read_keys(metadata)
        yield Finding(step, bool(keys.keys), f"{len(keys.keys)} to verify ID tokens with")
        step = "client"
        yield await _client(backend, metadata, callback)
    except BackendUnavailable as error:
        yield Finding(step, False, error.detail)


def _unknown(backend: OidcBackend, metadata: Metadata) -> tuple[str, ...]:
    """What we ask for and the issuer does not list; it may have it all the same, so these are no failures."""
    options = backend.options
    wanted = (options.username_claim, options.name_claim, options.mail_claim, *options.groups_claims)
    claims = {name.partition(".")[0] for name in wanted} - metadata.claims if metadata.claims else set()
    scopes = set(options.scopes) - metadata.scopes if metadata.scopes else set()
    found = [("claims", claims), ("scopes", scopes)]
    words = [
        f"{noun} that it does not list, and may have all the same: {', '.join(sorted(names))}"
        for noun, names in found
        if names
    ]
    if metadata.algorithms and metadata.algorithms.isdisjoint(ALGORITHMS):
        words.append(f"it signs ID tokens by {', '.join(sorted(metadata.algorithms))} alone; RS256 is wanted, for one")
    return tuple(words)


async def _client(backend: OidcBackend, metadata: Metadata, callback: str) -> Finding:
    """A code that is made up: a server that knows the client complains about the code, and only about that."""
    made_up = f"cyberlab-check-{secrets.token_hex(8)}"
    response = await backend.exchange(metadata, callback, made_up, secrets.token_urlsafe(32))
    error, description = error_of(response)
    name = backend.options.client_id
    words = f"status {response.code}" + (f": {plain(description or error)}" if error else "")
    if error in _OF_THE_CLIENT or response.code == 401:
        return Finding("client", False, f"{name} is unknown there, or its secret is another one ({words})")
    if error == "invalid_grant":
        return Finding("client", True, f"{name} is known there; it must send people back to {callback}")
    said = f"{name} was neither taken nor refused ({words})"
    return Finding("client", True, said, warnings=("the issuer's answer to a made-up code says nothing of the client",))


async def check_cas(backend: CasBackend, callback: str) -> AsyncIterator[Finding]:
    """A ticket that is made up: the server must answer as CAS does, and complain about the ticket alone."""
    service = with_query(callback, {"state": "cyberlab-check"})
    try:
        await backend.validate(service, f"ST-cyberlab-check-{secrets.token_hex(8)}")
    except BackendUnavailable as error:
        yield Finding("CAS", False, error.detail)
        return
    except SignInRefused as error:
        yield Finding("CAS", True, f"{backend.options.url} answers as a CAS server")
        if "SERVICE" in error.detail:  # some look at the service first, others at the ticket
            yield Finding("service", False, f"{callback} is none of its services: {error.detail}")
        return
    yield Finding("CAS", False, f"{backend.options.url} takes a ticket that was made up")


def check_proxy(backend: ProxyBackend) -> Iterator[Finding]:
    """Whom the portal believes; nothing can be asked."""
    options = backend.options
    networks = [ip_network(value, strict=False) for value in options.addresses]
    wide = [str(network) for network in networks if network.num_addresses > _MANY]
    warnings = tuple(f"{name} is many addresses: whoever has one can sign in as anybody" for name in wide)
    said = f"{options.user_header} is believed from {', '.join(options.addresses)}"
    yield Finding("proxy", True, said, warnings=warnings)
