"""What an issuer says of itself and which keys it signs with, read from its documents; pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from cyberlab.auth.base import BackendUnavailable
from cyberlab.auth.remote import server_url

MOST_KEYS = 100
BY_HEADER, BY_FORM = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What discovery says (OpenID Connect Discovery 1.0, section 3), and when."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    end_session: str
    sends_issuer: bool
    methods: frozenset[str]  # of showing the token endpoint who we are
    claims: frozenset[str]  # that it says it has; many say nothing
    scopes: frozenset[str]
    algorithms: frozenset[str]  # of ID tokens
    read_at: float


def read(issuer: str, content: Mapping[str, Any]) -> Metadata:
    """Read the discovery document; raise BackendUnavailable."""
    # Section 4.3: it must be exactly what was asked for, or another issuer's answers would count as this one's.
    if content.get("issuer") != issuer:
        raise BackendUnavailable(f"{issuer} calls itself {plain(content.get('issuer'))}")

    def endpoint(name: str, *, optional: bool = False) -> str:
        value = content.get(name)
        if not value and optional:
            return ""
        try:
            return server_url(value if isinstance(value, str) else "", query=True)
        except ValueError:
            raise BackendUnavailable(f"{issuer}: its {name} is missing or not https") from None

    methods = content.get("token_endpoint_auth_methods_supported")
    return Metadata(
        authorization=endpoint("authorization_endpoint"),
        token=endpoint("token_endpoint"),
        keys=endpoint("jwks_uri"),
        userinfo=endpoint("userinfo_endpoint", optional=True),
        end_session=endpoint("end_session_endpoint", optional=True),
        sends_issuer=content.get("authorization_response_iss_parameter_supported") is True,
        methods=_words(methods if isinstance(methods, list) else [BY_HEADER]),  # section 3: the default
        claims=_words(content.get("claims_supported")),
        scopes=_words(content.get("scopes_supported")),
        algorithms=_words(content.get("id_token_signing_alg_values_supported")),
        read_at=time.monotonic(),
    )


def read_keys(issuer: str, content: Mapping[str, Any]) -> KeySet:
    """The keys to verify with, without those for something else or of an unknown kind (RFC 7517, section 5).

    Raises BackendUnavailable if none is left.
    """
    listed = content.get("keys")
    keys = []
    for each in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("use") == "enc" or each.get("kty") == "oct":
            continue
        try:
            keys.append(JWKRegistry.import_key(each))
        except (JoseError, ValueError, KeyError, TypeError):
            continue
    if not keys:
        raise BackendUnavailable(f"{issuer}: none of its keys can be read")
    return KeySet(keys)


def plain(value: object) -> str:
    """What somebody else wrote, short and without line breaks, for log and audit."""
    return ascii(value)[:200]


def _words(value: object) -> frozenset[str]:
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()
