"""Sign-in by OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC 9700)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from tornado.httpclient import HTTPResponse

from cyberlab.auth import oidc_claims, oidc_metadata
from cyberlab.auth.base import BackendContext, BackendUnavailable, Finding, Identity, RedirectStart, SignInRefused
from cyberlab.auth.oidc_metadata import BY_FORM, BY_HEADER, Metadata, plain
from cyberlab.auth.oidc_options import OidcOptions
from cyberlab.auth.remote import Remote, json_object, with_query

__all__ = ["OidcBackend", "OidcOptions"]

# Asymmetric ones alone: with HS256 a published key could be taken for a shared secret (RFC 8725, section 2.1).
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("EdDSA", "Ed25519"),  # RFC 8037, RFC 9864
)
# What an issuer says when it does not know us, or not as we ask: nothing that somebody in front of the page can mend.
OF_THE_CLIENT = (
    *("invalid_client", "unauthorized_client", "invalid_request", "invalid_scope"),
    *("unsupported_response_type", "unsupported_grant_type"),
)
LEEWAY = 60  # seconds between the clocks
METADATA_AGE = 3600.0  # seconds for which discovery and keys are kept; an unknown key is asked for at once
BUDGET = 15.0  # seconds for everything that a callback asks the issuer


class OidcBackend:
    """A RedirectBackend over one issuer."""

    def __init__(self, name: str, options: OidcOptions, context: BackendContext | None = None) -> None:
        """Nothing connects yet."""
        self.name = name
        self.label = options.label or name
        self.options = options
        self.remote = Remote(options.ca_file)
        self._metadata: Metadata | None = None
        self._keys: KeySet | None = None
        self._lock = asyncio.Lock()

    async def begin(self, callback_url: str) -> RedirectStart:
        """Return the issuer's address to go to; raise BackendUnavailable."""
        metadata = await self.discover()
        state = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        challenge = hashlib.sha256(state["verifier"].encode()).digest()
        arguments = {
            "response_type": "code",
            "client_id": self.options.client_id,
            "redirect_uri": callback_url,
            "scope": " ".join(self.options.scopes),
            "state": state["state"],
            "nonce": state["nonce"],
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return RedirectStart(with_query(metadata.authorization, arguments), state)

    async def finish(self, callback_url: str, state: Mapping[str, str], arguments: Mapping[str, str]) -> Identity:
        """Exchange the code and check what comes for it; raise SignInRefused or BackendUnavailable."""
        if not secrets.compare_digest(state["state"].encode(), arguments.get("state", "").encode("utf-8", "replace")):
            raise SignInRefused("state", "the state is another one")
        try:
            async with asyncio.timeout(BUDGET):
                metadata = await self.discover()
                self._check_issuer(metadata, arguments)
                if "error" in arguments:
                    raise _refusal(arguments["error"], arguments.get("error_description"))
                if not arguments.get("code"):
                    raise SignInRefused("code", "there is no code")
                response = await self.exchange(metadata, callback_url, arguments["code"], state["verifier"])
                if 400 <= response.code < 500:
                    error, description = error_of(response)
                    code = "client" if response.code == 401 or error in OF_THE_CLIENT else "code"
                    said = f"status {response.code} {_said(error, description)}".rstrip()
                    raise SignInRefused(code, f"the issuer refuses the code, {said}")
                answer = json_object(response)
                claims = await self._verify(metadata, answer.get("id_token"), state["nonce"])
                claims = await self._complete(metadata, claims, answer.get("access_token"))
        except TimeoutError:
            raise BackendUnavailable(f"{self.options.issuer}: no answer in {BUDGET:.0f} s") from None
        return oidc_claims.identity(self.name, claims, self.options)

    async def logout_url(self, return_url: str) -> str | None:
        """Where to sign out of the issuer too (RP-Initiated Logout 1.0); None: it has no such page."""
        metadata = await self.discover()
        if not metadata.end_session:
            return None
        arguments = {"client_id": self.options.client_id, "post_logout_redirect_uri": return_url}
        return with_query(metadata.end_session, arguments)

    def close(self) -> None:
        """Let go of the connections."""
        self.remote.close()

    async def discover(self) -> Metadata:
        """What the issuer says of itself, kept for an hour; raise BackendUnavailable."""
        async with self._lock:
            known = self._metadata
            if known is None or time.monotonic() - known.read_at > METADATA_AGE:
                url = f"{self.options.issuer.rstrip('/')}/.well-known/openid-configuration"
                known = oidc_metadata.read(self.options.issuer, json_object(await self.remote.get(url)))
                self._metadata, self._keys = known, None
            return known

    async def reach(self) -> list[Finding]:
        """Whether the issuer answers now."""
        url = f"{self.options.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            oidc_metadata.read(self.options.issuer, json_object(await self.remote.get(url)))
        except BackendUnavailable as error:
            return [Finding("answers", False, error.detail)]
        return [Finding("answers", True, "", self.options.issuer)]

    def _check_issuer(self, metadata: Metadata, arguments: Mapping[str, str]) -> None:
        """RFC 9207, section 2.4: the answer to one issuer's question may not come from another."""
        issuer = arguments.get("iss")
        if (issuer is None and metadata.sends_issuer) or (issuer is not None and issuer != self.options.issuer):
            raise SignInRefused("issuer", f"it comes from {plain(issuer)}")

    async def exchange(self, metadata: Metadata, callback_url: str, code: str, verifier: str) -> HTTPResponse:
        """Show the code at the token endpoint; return the answer. Raise BackendUnavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback_url,
            "code_verifier": verifier,
        }
        client, secret = self.options.client_id, self.options.client_secret.get_secret_value()
        if secret and BY_HEADER in metadata.methods:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(client)}:{quote_plus(secret)}"
            basic = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            response = await self.remote.post(metadata.token, form, basic)
            # LemonLDAP::NG, for one, does not decode it; in the form nobody can differ.
            if response.code != 401 or BY_FORM not in metadata.methods or pair == f"{client}:{secret}":
                return response
        form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
        return await self.remote.post(metadata.token, form, {})

    async def _verify(self, metadata: Metadata, token: object, nonce: str) -> dict[str, Any]:
        """The claims of an ID token that is the issuer's, for us, in force, and the answer to our question."""
        if not isinstance(token, str):
            raise SignInRefused("id-token", "there is no ID token")
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": self.options.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": self.options.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            claims = await self._decode(metadata, token)
            registry.validate(claims)
        except (JoseError, ValueError, RecursionError) as error:
            raise SignInRefused("id-token", f"{type(error).__name__}: {error}"[:200]) from None
        # OpenID Connect Core 1.0, section 3.1.3.7: with several audiences it says which one asked.
        audience, party = claims["aud"], claims.get("azp")
        if (isinstance(audience, list) and len(audience) > 1 and party is None) or (
            party is not None and party != self.options.client_id
        ):
            raise SignInRefused("id-token", "it was issued to another party")
        return claims

    async def _decode(self, metadata: Metadata, token: str) -> dict[str, Any]:
        keys = self._keys
        if keys is not None:
            try:
                return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)
            except (InvalidKeyIdError, BadSignatureError):
                pass  # the issuer may have changed its keys since; some do not number them
        self._keys = keys = await self.read_keys(metadata)
        return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)

    async def read_keys(self, metadata: Metadata) -> KeySet:
        """The keys that the issuer signs with; raise BackendUnavailable."""
        return oidc_metadata.read_keys(self.options.issuer, json_object(await self.remote.get(metadata.keys)))

    async def _complete(self, metadata: Metadata, claims: dict[str, Any], token: object) -> dict[str, Any]:
        """Ask userinfo for what the ID token does not say."""
        if not oidc_claims.missing(claims, self.options) or not metadata.userinfo or not isinstance(token, str):
            return claims
        response = await self.remote.get(metadata.userinfo, token=token)
        if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/jwt":
            more = await self._signed_userinfo(metadata, response)
        else:
            more = json_object(response)
        if more.get("sub") != claims["sub"]:  # section 5.3.2
            raise SignInRefused("userinfo", "it is about somebody else")
        return more | claims

    async def _signed_userinfo(self, metadata: Metadata, response: HTTPResponse) -> dict[str, Any]:
        """Userinfo as a token (section 5.3.2); it is the issuer's, and for us where it says for whom."""
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY, iss={"value": self.options.issuer}, aud={"value": self.options.client_id}
        )
        try:
            claims = await self._decode(metadata, response.body.decode("ascii").strip())
            registry.validate(claims)
        except (JoseError, ValueError, RecursionError) as error:
            raise SignInRefused("userinfo", f"{type(error).__name__}: {error}"[:200]) from None
        return claims


def error_of(response: HTTPResponse) -> tuple[str, str]:
    """The error and its description in a token endpoint's refusal (RFC 6749, section 5.2); "" for none."""
    try:
        content = json.loads(response.body)
    except (ValueError, RecursionError):
        content = None
    found = content if isinstance(content, dict) else {}
    error, description = (found.get(name) for name in ("error", "error_description"))
    return (error if isinstance(error, str) else "", description if isinstance(description, str) else "")


def _refusal(error: str, description: str | None) -> SignInRefused | BackendUnavailable:
    """RFC 6749, section 4.1.2.1, and OpenID Connect Core 1.0, section 3.1.2.6."""
    said = f"the issuer says {_said(error, description)}"
    if error in ("server_error", "temporarily_unavailable"):
        return BackendUnavailable(said)
    return SignInRefused("client" if error in OF_THE_CLIENT else "denied", said)


def _said(*words: str | None) -> str:
    return " ".join(plain(word) for word in words if word)
