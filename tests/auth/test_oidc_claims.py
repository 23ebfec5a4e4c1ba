"""Claims as issuers are known to send them."""

from __future__ import annotations

from typing import Any

import pytest

from cyberlab.auth.base import SignInRefused
from cyberlab.auth.oidc_claims import identity
from cyberlab.auth.oidc_options import OidcOptions

ISSUER = "https://login.uni.example"


def _options(**changes: Any) -> OidcOptions:
    return OidcOptions.model_validate({"issuer": ISSUER, "client_id": "x"} | changes)


@pytest.mark.parametrize(
    ("claims", "changes", "groups"),
    [
        ({"groups": ["a", "b", 7, ""]}, {}, {"a", "b"}),
        ({"groups": "a; b"}, {}, {"a; b"}),
        ({"groups": "a; b;"}, {"groups_separator": ";"}, {"a", "b"}),  # LemonLDAP::NG, where it sends a text
        ({"realm_access": {"roles": ["staff"]}, "groups": ["/lab/staff"]},
         {"groups_claims": ["groups", "realm_access.roles"]}, {"staff", "/lab/staff"}),  # Keycloak
        ({"resource_access": {"cyber.lab": {"roles": ["staff"]}}},
         {"groups_claims": ["resource_access.cyber.lab.roles"]}, set()),
        ({"https://uni.example/groups": ["a"]}, {"groups_claims": ["https://uni.example/groups"]}, {"a"}),  # Auth0
        ({"hd": "uni.example"}, {"groups_claims": ["hd"]}, {"uni.example"}),  # Google
        ({"groups": {"a": 1}}, {}, set()),
        ({}, {}, set()),
    ],
)  # fmt: skip
def test_groups(claims: dict[str, Any], changes: dict[str, Any], groups: set[str]) -> None:
    assert identity("uni", {"sub": "1"} | claims, _options(**changes)).groups == groups


@pytest.mark.parametrize("claims", ["groups", "roles"])
def test_groups_that_are_left_out_are_not_no_groups(claims: str) -> None:
    """Entra ID's overage: who is in more than 200 groups would lose role and classes."""
    left_out = {
        "sub": "1",
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.windows.net/…/getMemberObjects"}},
        "roles": ["lab-staff"],
    }
    if claims == "groups":
        with pytest.raises(SignInRefused) as refused:
            identity("uni", left_out, _options())
        assert refused.value.code == "groups"
    else:  # whoever does not want to know is not kept out
        assert identity("uni", left_out, _options(groups_claims=["roles"])).groups == {"lab-staff"}


def test_without_a_user_name_the_subject_is_one() -> None:
    found = identity("uni", {"sub": "pairwise-1"}, _options())
    assert (found.username, found.subject, found.email, found.display_name) == (
        "pairwise-1", f"{ISSUER}|pairwise-1", None, "",
    )  # fmt: skip


@pytest.mark.parametrize("unverified", [False, "false"])
def test_an_unverified_address_is_neither_address_nor_name(unverified: object) -> None:
    """Whoever may enter any address at the issuer would get the account that is kept here for its owner."""
    claims = {"sub": "1", "email": "admin@uni.example", "email_verified": unverified}
    found = identity("uni", claims, _options(username_claim="email"))
    assert (found.username, found.email) == ("1", None)
    verified = identity("uni", claims | {"email_verified": True}, _options(username_claim="email"))
    assert (verified.username, verified.email) == ("admin@uni.example", "admin@uni.example")
