"""What an LDAP or Active Directory backend can be told in AUTH_CONFIG's file."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ldap3.core.exceptions import LDAPInvalidDnError
from ldap3.utils.dn import parse_dn
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

_PORTS = {"ldap": 389, "ldaps": 636}
_NAME = "{username}"


class Flavour(enum.StrEnum):
    """Whose habits the defaults follow."""

    LDAP = "ldap"
    AD = "ad"


class Groups(enum.StrEnum):
    """How somebody's groups are found."""

    NONE = "none"
    MEMBEROF = "memberof"  # as the person's entry lists them: direct ones only
    SEARCH = "search"  # groups that list the person
    NESTED = "nested"  # and groups of those groups: Active Directory's matching rule in chain


class LdapOptions(BaseModel):
    """Where the directory is, how it is bound to, and which attributes mean what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: tuple[str, ...] = Field(min_length=1, max_length=10)
    flavour: Flavour = Flavour.LDAP
    ca_file: Path | None = None
    timeout: int = Field(4, ge=1, le=8)
    base: str = Field(min_length=1)
    bind_dn: str = ""
    bind_password: SecretStr = SecretStr("")
    user_dn: str = ""
    user_filter: str = ""
    username_attribute: str = ""
    subject_attribute: str = ""
    name_attribute: str = "displayName"
    mail_attribute: str = "mail"
    groups: Groups = Groups.MEMBEROF
    group_base: str = ""
    group_filter: str = "(|(member={dn})(uniqueMember={dn})(memberUid={username}))"
    group_attribute: str = "cn"

    @field_validator("servers")
    @classmethod
    def _servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            address(server)
        return servers

    @field_validator("base", "group_base")
    @classmethod
    def _dn(cls, value: str) -> str:
        try:
            parse_dn(value)
        except LDAPInvalidDnError:
            raise ValueError("must be a DN like ou=people,dc=uni,dc=example") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.bind_dn) == bool(self.user_dn):
            raise ValueError("give either bind_dn (a service account that searches) or user_dn (bound to directly)")
        if self.bind_dn and not self.bind_password.get_secret_value():
            raise ValueError("bind_dn needs bind_password_env or bind_password_file")
        if self.user_dn and _NAME not in self.user_dn:
            raise ValueError("user_dn must contain {username}")
        if self.user_filter and _NAME not in self.user_filter:
            raise ValueError("user_filter must contain {username}")
        return self

    @property
    def active_directory(self) -> bool:
        """Whether it is Active Directory, or Samba's."""
        return self.flavour is Flavour.AD

    @property
    def filter(self) -> str:
        """The filter that finds the person."""
        if self.user_filter:
            return self.user_filter
        if self.active_directory:
            either = "(|(sAMAccountName={username})(userPrincipalName={username}))"
            return f"(&(objectCategory=person)(objectClass=user){either})"
        return "(uid={username})"

    @property
    def username_from(self) -> str:
        """The attribute that is the user name here."""
        return self.username_attribute or ("sAMAccountName" if self.active_directory else "uid")

    @property
    def subject_from(self) -> str:
        """The attribute that never changes, however often the person is renamed or moved."""
        return self.subject_attribute or ("objectGUID" if self.active_directory else "entryUUID")


def address(server: str) -> tuple[bool, str, int]:
    """Whether TLS comes first (ldaps) or by StartTLS (ldap), the host, the port; ValueError for anything else."""
    parts = urlsplit(server)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.username is not None:
        raise ValueError("must be like ldap://host (StartTLS) or ldaps://host, each with a port if need be")
    return parts.scheme == "ldaps", parts.hostname, parts.port or _PORTS[parts.scheme]
