"""What an issuer's claims say of somebody, pure: name, mail address, groups, or that the groups were left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyberlab.auth.base import Identity, SignInRefused
from cyberlab.auth.oidc_options import OidcOptions


def missing(claims: Mapping[str, Any], options: OidcOptions) -> bool:
    """Whether something that we want to know is not among the claims."""
    wanted = (options.username_claim, options.name_claim, options.mail_claim, *options.groups_claims)
    return any(claim(claims, name) is None for name in wanted)


def identity(backend: str, claims: Mapping[str, Any], options: OidcOptions) -> Identity:
    """The person; raise SignInRefused where the issuer says that it has left the groups out.

    ``claims``: those of a verified ID token, with userinfo's.
    """
    # Entra ID names no groups from 200 on, but says so as for distributed claims (OpenID Connect Core 1.0,
    # section 5.6.2). A role or a class might be among them.
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, Mapping):
        for name in options.groups_claims:
            if name in elsewhere and claim(claims, name) is None:
                raise SignInRefused("groups", f"{name} is left out of the token (_claim_names): too many groups")
    # Some send a word (AWS Cognito).
    unverified = claims.get("email_verified") in (False, "false", "False")
    mail = "" if unverified and options.mail_claim == "email" else text(claims, options.mail_claim)
    # An address that anybody may enter there is no name: it might be somebody else's, for whom an account is kept here.
    named = "" if unverified and options.username_claim == "email" else text(claims, options.username_claim)
    return Identity(
        backend,
        f"{options.issuer}|{claims['sub']}" if claims["sub"] else "",
        named or claims["sub"],
        text(claims, options.name_claim),
        mail or None,
        frozenset(_groups(claims, options)),
    )


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by its path: ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def text(claims: Mapping[str, Any], name: str) -> str:
    """A claim that is a text."""
    value = claim(claims, name)
    return value if isinstance(value, str) else ""


def _groups(claims: Mapping[str, Any], options: OidcOptions) -> set[str]:
    found: set[str] = set()
    for name in options.groups_claims:
        value = claim(claims, name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                split = item.split(options.groups_separator) if options.groups_separator else [item]
                found.update(group.strip() for group in split)
    return found - {""}
