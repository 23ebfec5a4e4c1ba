"""Discovery documents and key sets as issuers publish them."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from cyberlab.auth.base import BackendUnavailable
from cyberlab.auth.oidc_metadata import MOST_KEYS, read, read_keys

ISSUER = "https://login.uni.example"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"}).as_dict(private=False)
EC = ECKey.generate_key("P-256", {"kid": "ec"}).as_dict(private=False)
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"}).as_dict(private=False)
STRANGE: list[Any] = [
    {"kty": "AKP", "alg": "ML-DSA-65", "kid": "new", "pub": "x"},
    {"kty": "OKP", "crv": "Ed999", "kid": "curve", "x": "AA"},
    {"kty": "EC", "crv": "P-192", "kid": "old curve", "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": "P-256", "kid": "no point", "x": "AA", "y": "AA"},
    {"kty": "RSA", "kid": "cut off"},
    {"kid": "no type"},
    "text",
    None,
    OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True),
    RSA | {"kid": "for encryption", "use": "enc", "alg": "RSA-OAEP"},
]


def _ids(keys: KeySet) -> list[str | None]:
    return [key.kid for key in keys]


def test_keys_of_unknown_kinds_are_skipped() -> None:
    assert _ids(read_keys(ISSUER, {"keys": [*STRANGE, RSA, EC, ED]})) == ["rsa", "ec", "ed"]


def test_a_key_for_encryption_leaves_the_other_one_alone() -> None:
    """A token that names no key is verified by the only one there is for that."""
    nameless = {name: value for name, value in RSA.items() if name != "kid"}
    keys = read_keys(ISSUER, {"keys": [nameless | {"use": "sig"}, nameless | {"use": "enc"}]})
    assert len(keys.keys) == 1


@pytest.mark.parametrize("content", [{}, {"keys": []}, {"keys": None}, {"keys": STRANGE}, {"keys": "abc"}])
def test_no_keys(content: dict[str, Any]) -> None:
    with pytest.raises(BackendUnavailable, match="none of its keys"):
        read_keys(ISSUER, content)


def test_keys_without_end() -> None:
    assert len(read_keys(ISSUER, {"keys": [RSA] * (MOST_KEYS + 7)}).keys) == MOST_KEYS


def _document(**changes: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/jwks",
    } | changes


def test_endpoints_may_have_a_query() -> None:
    """Entra External ID's have: ``?p=policy``."""
    assert read(ISSUER, _document(token_endpoint=f"{ISSUER}/token?p=b2c")).token == f"{ISSUER}/token?p=b2c"


@pytest.mark.parametrize(
    "endpoint", ["http://login.uni.example/token", "", None, 7, f"{ISSUER}/token#x", "https://a@b/token"]
)
def test_endpoints_that_cannot_be_trusted(endpoint: object) -> None:
    with pytest.raises(BackendUnavailable, match="token_endpoint is missing or not https"):
        read(ISSUER, _document(token_endpoint=endpoint))


@pytest.mark.parametrize("name", [f"{ISSUER}/", ISSUER.upper(), None, [ISSUER]])
def test_another_issuers_name(name: object) -> None:
    with pytest.raises(BackendUnavailable, match="calls itself"):
        read(ISSUER, _document(issuer=name))


def test_how_to_show_who_we_are() -> None:
    assert read(ISSUER, _document()).methods == {"client_secret_basic"}
    listed = ["client_secret_post", "private_key_jwt", 7]
    assert read(ISSUER, _document(token_endpoint_auth_methods_supported=listed)).methods == {
        "client_secret_post",
        "private_key_jwt",
    }
