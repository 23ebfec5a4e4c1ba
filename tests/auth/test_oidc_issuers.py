"""What OpenID Connect issuers differ in: keys, signatures, secrets, errors, userinfo; at one that does all of it."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from pydantic import SecretStr

from cyberlab.auth.base import BackendUnavailable, SignInRefused
from cyberlab.auth.oidc import OidcBackend, OidcOptions
from tests.sso.issuer import CLIENT_ID, Issuer, finish


@pytest.mark.gen_test
async def test_new_keys_that_have_no_names(issuer: Issuer, backend: OidcBackend) -> None:
    for _ in range(2):
        issuer.codes.add("good")
        issuer.key = RSAKey.generate_key(2048)
        issuer.published = [issuer.key]
        assert (await finish(backend, issuer)).username == "anna"
    assert issuer.asked.count("/jwks") == 2


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ECKey.generate_key("P-256", {"kid": "ec"}), "ES256"),
        (RSAKey.generate_key(2048, {"kid": "rsa"}), "PS256"),
        (OKPKey.generate_key("Ed25519", {"kid": "ed"}), "EdDSA"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # by RFC 9864; issuers still say it
@pytest.mark.gen_test
async def test_other_signatures(issuer: Issuer, backend: OidcBackend, key: Key, alg: str) -> None:
    issuer.key = key
    issuer.published.append(key)
    issuer.sign = lambda claims: issuer.signed(claims, alg)
    assert (await finish(backend, issuer)).username == "anna"


@pytest.mark.gen_test
async def test_a_secret_that_an_issuer_does_not_decode(issuer: Issuer) -> None:
    """LemonLDAP::NG takes the header as it is; the form is then tried, and only where the secret can be the cause."""
    issuer.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post", "client_secret_basic"]
    for secret, tries in (("a + b", 2), ("a-b", 1)):
        issuer.asked, issuer.codes = [], {"good"}
        issuer.clients = {("", "a + b"), (f"{CLIENT_ID}:a-b", "")}
        options = OidcOptions(issuer=issuer.url, client_id=CLIENT_ID, client_secret=SecretStr(secret))
        backend = OidcBackend("uni", options)
        assert (await finish(backend, issuer)).username == "anna"
        assert issuer.asked.count("/token") == tries
        issuer.clients = {("nobody", "")}
        with pytest.raises(SignInRefused, match=r"status 401 'invalid_client' 'Wrong.r.ncredentials'") as refused:
            await finish(backend, issuer)
        assert refused.value.code == "client"
        backend.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [("access_denied", "denied"), ("login_required", "denied"), ("unauthorized_client", "client"),
     ("invalid_scope", "client")],
)  # fmt: skip
@pytest.mark.gen_test
async def test_what_the_issuer_answers_instead(issuer: Issuer, backend: OidcBackend, error: str, code: str) -> None:
    said = "AADSTS50105: not assigned to a role\n"
    with pytest.raises(SignInRefused, match=r"AADSTS50105: not assigned to a role.n") as refused:
        await finish(backend, issuer, error=error, error_description=said)
    assert refused.value.code == code
    assert "\n" not in refused.value.detail


@pytest.mark.gen_test
async def test_an_issuer_that_has_trouble_of_its_own(issuer: Issuer, backend: OidcBackend) -> None:
    with pytest.raises(BackendUnavailable, match="temporarily_unavailable"):
        await finish(backend, issuer, error="temporarily_unavailable")


@pytest.mark.gen_test
async def test_userinfo_that_is_signed(issuer: Issuer, backend: OidcBackend) -> None:
    del issuer.claims["groups"]
    more: dict[str, Any] = {"sub": "id-of-anna", "groups": ["one-group"], "iss": issuer.url, "aud": CLIENT_ID}
    issuer.userinfo = issuer.signed(more)
    assert (await finish(backend, issuer)).groups == {"one-group"}
    for false in (issuer.signed(more | {"aud": "another"}), issuer.unsigned(more), issuer.signed(more | {"sub": "x"})):
        issuer.codes.add("good")
        issuer.userinfo = false
        with pytest.raises(SignInRefused) as refused:
            await finish(backend, issuer)
        assert refused.value.code == "userinfo"
