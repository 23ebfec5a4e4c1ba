"""OpenID Connect, at npm's oidc-provider and at an issuer that lies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr, ValidationError
from tornado.httpclient import AsyncHTTPClient

from cyberlab.auth.base import BackendUnavailable, SignInRefused
from cyberlab.auth.oidc import OidcBackend, OidcOptions
from tests.sso.issuer import CALLBACK, CLIENT_ID, Issuer, finish
from tests.sso.servers import CLIENT_SECRET, Visitor, free_port, oidc_provider

HOME = "http://127.0.0.1:9"
Lie = Callable[[Issuer], None]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server; its issuer."""
    log = tmp_path_factory.mktemp("oidc") / "log"
    with oidc_provider(CALLBACK, f"{HOME}/auth/login", log) as issuer:
        yield issuer


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@pytest.mark.gen_test
async def test_the_whole_way_at_a_real_server(provider: str) -> None:
    options = OidcOptions(issuer=provider, client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
    backend = OidcBackend("uni", options)
    start = await backend.begin(CALLBACK)
    assert _query(start.url)["code_challenge_method"] == "S256"
    end = await Visitor(AsyncHTTPClient(), HOME).sign_in(
        start.url, {"prompt": "login", "login": "anna", "password": "x"}
    )
    identity = await backend.finish(CALLBACK, start.state, _query(end))
    assert identity.backend == "uni"
    assert identity.subject == f"{provider}|anna"
    assert (identity.username, identity.display_name) == ("anna", "anna Example")
    assert identity.email == "anna@uni.example"
    assert identity.groups == {"lab-users", "lab-staff"}  # from userinfo

    with pytest.raises(SignInRefused) as replayed:  # a code is good once
        await backend.finish(CALLBACK, start.state, _query(end))
    assert replayed.value.code == "code"
    for page, status in ((f"{HOME}/auth/login", 200), ("https://evil.example/", 400)):
        url = await backend.logout_url(page)
        assert url is not None
        assert (await AsyncHTTPClient().fetch(url, raise_error=False)).code == status
    backend.close()


@pytest.mark.gen_test
async def test_a_wrong_secret_is_refused_by_a_real_server(provider: str) -> None:
    options = OidcOptions(issuer=provider, client_id=CLIENT_ID, client_secret=SecretStr("wrong"))
    backend = OidcBackend("uni", options)
    start = await backend.begin(CALLBACK)
    end = await Visitor(AsyncHTTPClient(), HOME).sign_in(
        start.url, {"prompt": "login", "login": "anna", "password": "x"}
    )
    with pytest.raises(SignInRefused, match="401"):
        await backend.finish(CALLBACK, start.state, _query(end))
    backend.close()


@pytest.mark.gen_test
async def test_discovery_and_keys_are_asked_for_once(issuer: Issuer, backend: OidcBackend) -> None:
    for _ in range(2):
        issuer.codes.add("good")
        assert (await finish(backend, issuer)).username == "anna"
    assert sorted(issuer.asked) == ["/.well-known/openid-configuration", "/jwks", "/token", "/token"]


@pytest.mark.gen_test
async def test_new_keys_of_the_issuer_are_fetched(issuer: Issuer, backend: OidcBackend) -> None:
    await finish(backend, issuer)
    issuer.codes.add("good")
    issuer.key = RSAKey.generate_key(2048, {"kid": "two"})
    issuer.published = [issuer.key]
    assert (await finish(backend, issuer)).username == "anna"
    assert issuer.asked.count("/jwks") == 2


def _unsigned(issuer: Issuer) -> None:
    issuer.sign = issuer.unsigned


def _confused(issuer: Issuer) -> None:
    issuer.sign = issuer.confused


def _unknown_key(issuer: Issuer) -> None:
    issuer.key = RSAKey.generate_key(2048, {"kid": "never published"})


def _known_kid_other_key(issuer: Issuer) -> None:
    issuer.key = RSAKey.generate_key(2048, {"kid": "one"})


def _expired(issuer: Issuer) -> None:
    issuer.claims["exp"] = int(time.time()) - 120


def _no_end(issuer: Issuer) -> None:
    del issuer.claims["exp"]


def _from_the_future(issuer: Issuer) -> None:
    issuer.claims["iat"] = int(time.time()) + 600


def _other_audience(issuer: Issuer) -> None:
    issuer.claims["aud"] = "another"


def _other_party(issuer: Issuer) -> None:
    issuer.claims |= {"aud": [CLIENT_ID, "another"], "azp": "another"}


def _no_party(issuer: Issuer) -> None:
    issuer.claims["aud"] = [CLIENT_ID, "another"]


def _other_issuer(issuer: Issuer) -> None:
    issuer.claims["iss"] = "https://evil.example"


def _other_nonce(issuer: Issuer) -> None:
    issuer.claims["nonce"] = "of another sign-in"


def _no_subject(issuer: Issuer) -> None:
    del issuer.claims["sub"]


def _garbage(issuer: Issuer) -> None:
    issuer.sign = lambda claims: "a.b.c"


def _none(issuer: Issuer) -> None:
    issuer.sign = lambda claims: None


LIES = [
    _unsigned,
    _confused,
    _unknown_key,
    _known_kid_other_key,
    _expired,
    _no_end,
    _from_the_future,
    _other_audience,
    _other_party,
    _no_party,
    _other_issuer,
    _other_nonce,
    _no_subject,
    _garbage,
    _none,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.strip("_"))
@pytest.mark.gen_test
async def test_a_false_id_token_proves_nothing(issuer: Issuer, backend: OidcBackend, lie: Lie) -> None:
    lie(issuer)
    with pytest.raises(SignInRefused) as refused:
        await finish(backend, issuer)
    assert refused.value.code == "id-token"
    assert "/userinfo" not in issuer.asked


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"state": "of another browser"}, "state"),
        ({"state": "ü"}, "state"),
        ({"code": "forged"}, "code"),
        ({"code": ""}, "code"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"error": "access_denied\r\n"}, "denied"),
    ],
)
@pytest.mark.gen_test
async def test_a_forged_callback_proves_nothing(
    issuer: Issuer, backend: OidcBackend, arguments: dict[str, str], code: str
) -> None:
    with pytest.raises(SignInRefused) as refused:
        await finish(backend, issuer, **arguments)
    assert refused.value.code == code
    assert "\n" not in refused.value.detail


@pytest.mark.gen_test
async def test_an_issuer_that_promises_its_name_must_give_it(issuer: Issuer, backend: OidcBackend) -> None:
    issuer.metadata["authorization_response_iss_parameter_supported"] = True
    with pytest.raises(SignInRefused) as refused:
        await finish(backend, issuer)
    assert refused.value.code == "issuer"
    assert (await finish(backend, issuer, iss=issuer.url)).username == "anna"


@pytest.mark.gen_test
async def test_userinfo_is_asked_for_what_is_missing(issuer: Issuer, backend: OidcBackend) -> None:
    del issuer.claims["groups"]
    issuer.userinfo = {"sub": "id-of-anna", "groups": "one-group", "preferred_username": "admin"}
    identity = await finish(backend, issuer)
    assert identity.groups == {"one-group"}
    assert identity.username == "anna"  # what is signed holds


@pytest.mark.gen_test
async def test_userinfo_about_somebody_else_is_refused(issuer: Issuer, backend: OidcBackend) -> None:
    del issuer.claims["groups"]
    issuer.userinfo = {"sub": "admin", "groups": ["lab-admins"]}
    with pytest.raises(SignInRefused) as refused:
        await finish(backend, issuer)
    assert refused.value.code == "userinfo"


@pytest.mark.gen_test
async def test_roles_by_a_path_and_an_unverified_address(issuer: Issuer) -> None:
    options = OidcOptions(issuer=issuer.url, client_id=CLIENT_ID, groups_claims=("groups", "realm_access.roles"))
    backend = OidcBackend("uni", options)
    issuer.claims |= {"realm_access": {"roles": ["staff", 7]}, "email_verified": False}
    identity = await finish(backend, issuer)
    assert identity.groups == {"lab-users", "staff"}
    assert identity.email is None
    backend.close()


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://evil.example"}, {"token_endpoint": "http://uni.example/token"}, {"jwks_uri": None}],
)
@pytest.mark.gen_test
async def test_discovery_that_cannot_be_trusted(
    issuer: Issuer, backend: OidcBackend, change: dict[str, object]
) -> None:
    issuer.metadata |= change
    with pytest.raises(BackendUnavailable):
        await backend.begin(CALLBACK)


@pytest.mark.gen_test
async def test_nobody_there() -> None:
    backend = OidcBackend("uni", OidcOptions(issuer=f"http://127.0.0.1:{free_port()}", client_id=CLIENT_ID))
    with pytest.raises(BackendUnavailable):
        await backend.begin(CALLBACK)
    backend.close()


@pytest.mark.gen_test
async def test_each_sign_in_has_secrets_of_its_own(issuer: Issuer, backend: OidcBackend) -> None:
    first, second = [(await backend.begin(CALLBACK)) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert parse_qs(urlsplit(first.url).query)[name] != parse_qs(urlsplit(second.url).query)[name]
    assert first.state["verifier"] not in first.url


@pytest.mark.parametrize("url", ["http://uni.example", "ftp://uni.example", "https://", "https://a@b", "https://x:y"])
def test_issuers_that_cannot_be_verified(url: str) -> None:
    with pytest.raises(ValidationError):
        OidcOptions(issuer=url, client_id="x")


def test_a_label_is_the_name_without_one(tmp_path: Path) -> None:
    options = OidcOptions(issuer="https://uni.example", client_id="x")
    assert OidcBackend("uni", options).label == "uni"
