"""Attributes and names as directories write them, pure: subjects, texts, DNs, attributes that come in parts."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence

from ldap3.core.exceptions import LDAPInvalidDnError
from ldap3.utils.dn import escape_rdn, parse_dn, safe_dn

from cyberlab.db.text import clean, normalise_username

_RANGE = re.compile(r";range=\d+-(\d+|\*)", re.IGNORECASE)
_COMPARED = re.compile(r"\(([A-Za-z][\w.-]*)=\{username\}\)")
NAME = "{username}"


def direct_name(template: str, username: str) -> str:
    """The name to bind with: a DN with the user name escaped (RFC 4514), or a UPN like ``{username}@ad.example``."""
    if "=" in template:
        return template.replace(NAME, escape_rdn(username))
    return username if "@" in username else template.replace(NAME, username)


def subject(values: Sequence[bytes]) -> str:
    """objectGUID is 16 bytes in Microsoft's order, entryUUID is text; other bytes (objectSid) become hexadecimal.

    Never with replacement characters: they would make several people one.
    """
    if not values:
        return ""
    if len(values[0]) == 16:
        return str(uuid.UUID(bytes_le=values[0]))
    try:
        return values[0].decode()
    except UnicodeDecodeError:
        return values[0].hex()


def text(attributes: Mapping[str, Sequence[bytes]], name: str) -> str:
    """An attribute's first value."""
    values = attributes.get(name.casefold(), [])
    return values[0].decode("utf-8", "replace").strip() if values else ""


def unescaped(value: str) -> str:
    """A value of a DN without its escapes (RFC 4514, section 2.4)."""
    pairs = re.sub(rb"\\([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), value.encode())
    return re.sub(r"\\(.)", r"\1", pairs.decode("utf-8", "replace"))


def same(dn: str, other: str) -> bool:
    """Whether both are surely one entry's."""
    try:
        return bool(other) and safe_dn(dn).casefold() == safe_dn(other).casefold()
    except LDAPInvalidDnError:
        return False


def group_of(dn: str, base: str, attribute: str) -> str:
    """The name in a group's DN; "" for one outside ``base``, where groups do not count.

    ``attribute``: which part of a first name like ``gidNumber=7+cn=lab`` it is, if it is one.
    """
    try:
        parts = parse_dn(dn)
        around = parse_dn(base) if base else []
    except LDAPInvalidDnError:
        return ""
    if around and not _same_parts(parts[-len(around) :], around):
        return ""
    first = []
    for name, value, separator in parts:
        first.append((name.casefold(), value))
        if separator != "+":
            break
    return unescaped(dict(first).get(attribute.casefold(), first[0][1]))


def part(attributes: Mapping[str, Sequence[bytes]], name: str) -> tuple[Sequence[bytes], int | None]:
    """An attribute's values, and from which on the rest has to be asked for; None: they are all there.

    Active Directory gives 1500 values at once, as ``memberOf;range=0-1499`` (MS-ADTS, section 3.1.1.3.1.3.3).
    """
    name = name.casefold()
    for key, values in attributes.items():
        if key.startswith(f"{name};range=") and (found := _RANGE.fullmatch(key, len(name))):
            return values, None if found[1] == "*" else int(found[1]) + 1
    return attributes.get(name, []), None


def compared(query: str) -> list[str]:
    """The attributes that a filter compares with the user name as a whole; [] if it does anything else with it."""
    names = _COMPARED.findall(query)
    return list(dict.fromkeys(names)) if len(names) == query.count(NAME) else []


def spelled(typed: str, attributes: Mapping[str, Sequence[bytes]], names: Sequence[str]) -> bool:
    """Whether one of these attributes is what was typed, as the portal compares names.

    Directories are laxer (no accents, no soft hyphens, several blanks as one): then each spelling would be
    counted, and looked up here, as another account.
    """
    wanted = normalise_username(clean(typed))
    values = (value for name in names for value in attributes.get(name.casefold(), []))
    return any(normalise_username(clean(value.decode("utf-8", "replace"))) == wanted for value in values)


def _same_parts(parts: list[tuple[str, str, str]], others: list[tuple[str, str, str]]) -> bool:
    return [(a.casefold(), b.casefold()) for a, b, _ in parts] == [(a.casefold(), b.casefold()) for a, b, _ in others]
