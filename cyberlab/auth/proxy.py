"""Sign-in by the web server in front (Shibboleth's service provider, mod_auth_mellon): REMOTE_USER as a header.

The header counts at one address alone, and only in a connection that comes from the proxy itself: whoever else
sends it made it up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cyberlab.auth.base import BackendContext, Identity, SignInRefused

__all__ = ["ProxyBackend", "ProxyOptions"]

# What Apache's mod_headers writes for a variable that is not set (%{REMOTE_USER}e): nobody, and no subject either,
# or all whom the identity provider sends without one would be the same person.
UNSET = "(null)"


class ProxyOptions(BaseModel):
    """Who may say it, and in which headers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = ""
    addresses: tuple[str, ...] = Field(min_length=1)
    user_header: str = "X-Remote-User"
    subject_header: str = ""
    name_header: str = ""
    mail_header: str = ""
    groups_header: str = ""
    separator: str = Field(";", min_length=1)

    @field_validator("addresses")
    @classmethod
    def _addresses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if ip_network(value, strict=False).prefixlen == 0:
                raise ValueError("must not be every address there is")
        return values


class ProxyBackend:
    """Takes the proxy's word for who is in front of the browser."""

    def __init__(self, name: str, options: ProxyOptions, context: BackendContext | None = None) -> None:
        self.name = name
        self.label = options.label or name
        self.options = options
        self._networks = [ip_network(value, strict=False) for value in options.addresses]

    def identify(self, peer: str, header: Callable[[str], list[str]]) -> Identity:
        """Whom the proxy names; raise SignInRefused.

        ``peer``: the other end of the socket, whatever any header says. ``header``: all values of that name.
        """
        if not self._trusts(peer):
            raise SignInRefused("untrusted-proxy", f"{peer} is not the proxy")
        options = self.options
        username = _value(header, options.user_header)
        if not username:
            raise SignInRefused("no-user", f"the proxy sent no {options.user_header}")
        return Identity(
            self.name,
            _value(header, options.subject_header) if options.subject_header else username,
            username,
            next(iter(self._values(header, options.name_header)), ""),
            next(iter(self._values(header, options.mail_header)), None),
            frozenset(self._values(header, options.groups_header)),
        )

    def _values(self, header: Callable[[str], list[str]], name: str) -> list[str]:
        """The values in a header; Shibboleth puts a backslash before a separator within one."""
        separator = self.options.separator
        parts = re.split(rf"(?<!\\){re.escape(separator)}", _value(header, name))
        values = (part.replace(f"\\{separator}", separator).strip() for part in parts)
        return [value for value in values if value]

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._networks if mapped.version == network.version)


def _value(header: Callable[[str], list[str]], name: str) -> str:
    """The one value of a header; two of one name are the proxy's and somebody else's."""
    values = header(name) if name else []
    if len(values) > 1:
        raise SignInRefused("spoofed", f"{name} came {len(values)} times")
    value = values[0].strip() if values else ""
    if value == UNSET:
        return ""
    try:
        return value.encode("latin-1").decode("utf-8")  # header bytes are latin-1 to Tornado; SPs send UTF-8
    except UnicodeError:
        return value
