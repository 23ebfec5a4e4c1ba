"""What an OpenID Connect backend can be told in AUTH_CONFIG's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from cyberlab.auth.remote import server_url


class OidcOptions(BaseModel):
    """The issuer, who we are there, and which claims mean what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = ""
    issuer: Annotated[str, AfterValidator(server_url)]
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = SecretStr("")
    ca_file: Path | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    username_claim: str = "preferred_username"
    name_claim: str = "name"
    mail_claim: str = "email"
    groups_claims: tuple[str, ...] = ("groups",)
    groups_separator: str = ""
