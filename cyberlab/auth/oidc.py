"""Sign-in by OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC 9700)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from tornado.httpclient import HTTPResponse

from cyberlab.auth.base import BackendContext, BackendUnavailable, Finding, Identity, RedirectStart, SignInRefused
from cyberlab.auth.oidc_options import OidcOptions
from cyberlab.auth.remote import Remote, json_object, server_url, with_query

__all__ = ["OidcBackend", "OidcOptions"]

# Asymmetric ones alone: with HS256 a published key could be taken for a shared secret (RFC 8725, section 2.1).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
LEEWAY = 60  # seconds between the clocks
METADATA_AGE = 3600.0  # seconds for which discovery and keys are kept; an unknown key is asked for at once
BUDGET = 15.0  # seconds for everything that a callback asks the issuer


@dataclass(frozen=True, slots=True)
class Metadata:
    """What discovery says (OpenID Connect Discovery 1.0, section 3), and when."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    end_session: str
    sends_issuer: bool
    by_form: bool
    claims: frozenset[str]  # that it says it has; many say nothing
    scopes: frozenset[str]
    read_at: float


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
                    raise SignInRefused("denied", f"the issuer says {_plain(arguments['error'])}")
                if not arguments.get("code"):
                    raise SignInRefused("code", "there is no code")
                response = await self.exchange(metadata, callback_url, arguments["code"], state["verifier"])
                if 400 <= response.code < 500:
                    raise SignInRefused("code", f"the issuer refuses the code, status {response.code}")
                answer = json_object(response)
                claims = await self._verify(metadata, answer.get("id_token"), state["nonce"])
                claims = await self._complete(metadata, claims, answer.get("access_token"))
        except TimeoutError:
            raise BackendUnavailable(f"{self.options.issuer}: no answer in {BUDGET:.0f} s") from None
        return self._identity(claims)

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
                known = self._read(json_object(await self.remote.get(url)))
                self._metadata, self._keys = known, None
            return known

    async def reach(self) -> list[Finding]:
        """Whether the issuer answers now."""
        url = f"{self.options.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            self._read(json_object(await self.remote.get(url)))
        except BackendUnavailable as error:
            return [Finding("answers", False, error.detail)]
        return [Finding("answers", True, "", self.options.issuer)]

    def _read(self, content: dict[str, Any]) -> Metadata:
        # Section 4.3: it must be exactly what was asked for, or another issuer's answers would count as this one's.
        if content.get("issuer") != self.options.issuer:
            raise BackendUnavailable(f"{self.options.issuer} calls itself {_plain(content.get('issuer'))}")

        def endpoint(name: str, *, optional: bool = False) -> str:
            value = content.get(name)
            if not value and optional:
                return ""
            try:
                return server_url(value if isinstance(value, str) else "")
            except ValueError:
                raise BackendUnavailable(f"{self.options.issuer}: its {name} is missing or not https") from None

        methods = content.get("token_endpoint_auth_methods_supported")
        return Metadata(
            authorization=endpoint("authorization_endpoint"),
            token=endpoint("token_endpoint"),
            keys=endpoint("jwks_uri"),
            userinfo=endpoint("userinfo_endpoint", optional=True),
            end_session=endpoint("end_session_endpoint", optional=True),
            sends_issuer=content.get("authorization_response_iss_parameter_supported") is True,
            by_form=isinstance(methods, list) and "client_secret_basic" not in methods,
            claims=_words(content.get("claims_supported")),
            scopes=_words(content.get("scopes_supported")),
            read_at=time.monotonic(),
        )

    def _check_issuer(self, metadata: Metadata, arguments: Mapping[str, str]) -> None:
        """RFC 9207, section 2.4: the answer to one issuer's question may not come from another."""
        issuer = arguments.get("iss")
        if (issuer is None and metadata.sends_issuer) or (issuer is not None and issuer != self.options.issuer):
            raise SignInRefused("issuer", f"it comes from {_plain(issuer)}")

    async def exchange(self, metadata: Metadata, callback_url: str, code: str, verifier: str) -> HTTPResponse:
        """Show the code at the token endpoint; return the answer. Raise BackendUnavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback_url,
            "code_verifier": verifier,
        }
        headers = {}
        secret = self.options.client_secret.get_secret_value()
        if secret and not metadata.by_form:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(self.options.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = self.options.client_id
            if secret:
                form["client_secret"] = secret
        return await self.remote.post(metadata.token, form, headers)

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
            except InvalidKeyIdError:
                pass  # the issuer may have changed its keys since
        self._keys = keys = await self.read_keys(metadata)
        return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)

    async def read_keys(self, metadata: Metadata) -> KeySet:
        """The keys that the issuer signs with; raise BackendUnavailable."""
        content = json_object(await self.remote.get(metadata.keys))
        try:
            return KeySet.import_key_set(content)  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError):
            raise BackendUnavailable(f"{self.options.issuer}: its keys cannot be read") from None

    async def _complete(self, metadata: Metadata, claims: dict[str, Any], token: object) -> dict[str, Any]:
        """Ask userinfo for what the ID token does not say."""
        options = self.options
        wanted = (options.username_claim, options.name_claim, options.mail_claim, *options.groups_claims)
        missing = any(_claim(claims, name) is None for name in wanted)
        if not missing or not metadata.userinfo or not isinstance(token, str):
            return claims
        more = json_object(await self.remote.get(metadata.userinfo, token=token))
        if more.get("sub") != claims["sub"]:  # section 5.3.2
            raise SignInRefused("userinfo", "it is about somebody else")
        return more | claims

    def _identity(self, claims: dict[str, Any]) -> Identity:
        options = self.options
        groups: set[str] = set()
        for name in options.groups_claims:
            value = _claim(claims, name)
            listed = value if isinstance(value, list) else [value]
            groups.update(item for item in listed if isinstance(item, str) and item)
        mail = _text(claims, options.mail_claim)
        return Identity(
            self.name,
            f"{options.issuer}|{claims['sub']}" if claims["sub"] else "",
            _text(claims, options.username_claim) or claims["sub"],
            _text(claims, options.name_claim),
            mail if mail and claims.get("email_verified") is not False else None,
            frozenset(groups),
        )


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by its path: ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = _claim(claims, name)
    return value if isinstance(value, str) else ""


def _words(value: object) -> frozenset[str]:
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


def _plain(value: object) -> str:
    """What somebody else wrote, short and without line breaks, for log and audit."""
    return ascii(value)[:100]
