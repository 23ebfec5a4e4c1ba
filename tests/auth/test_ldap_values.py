"""Attributes and names as directories write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from cyberlab.auth import ldap_values as values
from cyberlab.auth.base import GROUPS_UNKNOWN, AccountProblem
from cyberlab.auth.ldap import LdapBackend, LdapOptions
from cyberlab.auth.ldap_link import SUCCESS, Entry, Link, LinkFailed
from cyberlab.auth.ldap_states import INVALID_CREDENTIALS, BindAnswer

SID = bytes.fromhex("0105000000000005150000001c7124716c4cdbf5781419aa")  # of a domain; people differ in what follows
BASE = "dc=uni,dc=example"
ANNA = f"cn=anna,{BASE}"


def test_binary_subjects_are_told_apart() -> None:
    """Bytes that are no text must not become the same replacement characters."""
    one, other = (values.subject([SID + rid]) for rid in (b"\x81\x04\0\0", b"\x82\x04\0\0"))
    assert one != other
    assert values.subject([bytes(range(16))]) == "03020100-0504-0706-0809-0a0b0c0d0e0f"
    assert values.subject([b"5e8e729a-eae511f1-8155f701-291326d0"]) == "5e8e729a-eae511f1-8155f701-291326d0"
    assert values.subject([]) == ""


@pytest.mark.parametrize(
    ("dn", "name"),
    [
        (f"cn=lab-staff,{BASE}", "lab-staff"),
        (f"cn=Lab\\2C users \\2B more,{BASE}", "Lab, users + more"),
        (f"cn=Lab\\, users,{BASE}", "Lab, users"),
        (f"cn=S\\C3\\B6hne,{BASE}", "Söhne"),
        (f"gidNumber=7+cn=lab,{BASE}", "lab"),
        (f"CN=lab+gidNumber=7,{BASE}", "lab"),
        (f"ou=unit,{BASE}", "unit"),
        (f"ou=unit,cn=outer,{BASE}", "unit"),
        ("cn=lab-staff,dc=evil,dc=example", ""),
        ("no DN", ""),
    ],
)
def test_the_name_in_a_groups_dn(dn: str, name: str) -> None:
    assert values.group_of(dn, BASE.upper(), "cn") == name


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("(uid={username})", ["uid"]),
        ("(&(objectClass=user)(|(sAMAccountName={username})(userPrincipalName={username})))",
         ["sAMAccountName", "userPrincipalName"]),
        ("(|(uid={username})(mail={username}@uni.example))", []),
        ("(!(uid={username}x))", []),
        ("(uid=*)", []),
    ],
)  # fmt: skip
def test_what_a_filter_compares_with_the_name(query: str, names: list[str]) -> None:
    assert values.compared(query) == names


@pytest.mark.parametrize(
    ("typed", "same"),
    [("anna", True), (" ANNA ", True), ("ａnna", True), ("ánna", False), ("an\u00adna", False), ("a@b", True)],
)
def test_a_name_in_another_spelling(typed: str, same: bool) -> None:
    """Active Directory finds people without their accents; each spelling would be an account to guess at of its own."""
    assert values.spelled(typed, {"uid": [b"x", b"Anna"], "mail": [b"A@b"]}, ["uid", "mail"]) is same


class Parts(Link):
    """Gives groups two at a time, as Active Directory gives 1500; ``ends``: whether it ever comes to an end."""

    names: ClassVar = [f"cn=g{number},{BASE}".encode() for number in range(5)]
    ends = True

    def search(self, base: str, query: str, attributes: list[str], limit: int, *, one: bool = False) -> list[Entry]:
        assert (base, limit, one) == (ANNA, 1, True)
        (asked,) = attributes
        begin = int(asked.removeprefix("memberOf;range=").removesuffix("-*"))
        return [(ANNA, self.part(begin))]

    def part(self, begin: int) -> Mapping[str, list[bytes]]:
        end = "*" if self.ends and begin + 2 >= len(self.names) else str(begin + 1)
        return {"memberof": [], f"memberof;range={begin}-{end}": self.names[begin : begin + 2]}


class Endless(Parts):
    ends = False


BACKEND = LdapBackend(
    "ad", LdapOptions.model_validate({"servers": ["ldap://x"], "base": BASE, "user_dn": "{username}@ad.example"})
)


class Empty(Link):
    """Finds nobody, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__("ldap://x", [])

    def bind(self, dn: str, password: str) -> BindAnswer:
        self.connection.append(password)
        return BindAnswer(SUCCESS if dn == f"cn=portal,{BASE}" else INVALID_CREDENTIALS, "")

    def search(self, base: str, query: str, attributes: list[str], limit: int, *, one: bool = False) -> list[Entry]:
        return []


def test_a_strangers_password_is_not_shown() -> None:
    """It may be somebody's of another directory; the bind is for the time that it takes alone."""
    options = {"servers": ["ldap://x"], "base": BASE, "bind_dn": f"cn=portal,{BASE}", "bind_password": "service"}
    link = Empty()
    assert LdapBackend("ldap", LdapOptions.model_validate(options)).sign_in(link, "anna", "of another") is None
    assert len(link.connection) == 2
    assert "of another" not in link.connection


def test_groups_that_come_in_parts() -> None:
    link = Parts("ldap://x", None)
    assert BACKEND.groups(link, (ANNA, link.part(0)), "anna") == {"g0", "g1", "g2", "g3", "g4"}


def test_groups_that_never_end_are_unknown() -> None:
    link = Endless("ldap://x", None)
    with pytest.raises(AccountProblem) as caught:
        BACKEND.groups(link, (ANNA, link.part(0)), "anna")
    assert caught.value.code == GROUPS_UNKNOWN


def test_a_subject_of_several_values_is_none() -> None:
    entry: Entry = (ANNA, {"uid": [b"anna"], "entryuuid": [b"one", b"two"]})
    with pytest.raises(LinkFailed, match="several entryUUID"):
        BACKEND.identity(Parts("ldap://x", None), entry, frozenset())
