"""Sign-in by a real Active Directory domain controller (Samba's)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cyberlab.auth.base import DISABLED, EXPIRED, LOCKED, MUST_CHANGE_PASSWORD, AccountProblem
from cyberlab.auth.ldap import LdapBackend, LdapOptions
from cyberlab.auth.ldap_link import Entry, open_link
from tests.samba import BASE, PASSWORD, SERVICE, Samba


@pytest.fixture(scope="module")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    """The domain controller; it takes ten seconds to make."""
    server = Samba(tmp_path_factory.mktemp("samba"))
    yield server
    server.close()


def backend(samba: Samba, **changes: Any) -> LdapBackend:
    """Search with a service account, unless told otherwise."""
    options: dict[str, Any] = {
        "servers": [samba.url],
        "flavour": "ad",
        "ca_file": samba.ca,
        "base": BASE,
        "bind_dn": SERVICE,
        "bind_password": PASSWORD,
    }
    return LdapBackend("campus", LdapOptions.model_validate(options | changes))


DIRECT = {"bind_dn": "", "bind_password": "", "user_dn": "{username}@ad.example"}


@pytest.mark.parametrize("changes", [{}, DIRECT])
@pytest.mark.parametrize("scheme", ["url", "tls_url"])
def test_account_name_and_upn_are_the_same_person(samba: Samba, changes: dict[str, Any], scheme: str) -> None:
    campus = backend(samba, servers=[getattr(samba, scheme)], **changes)
    by_name, by_upn = campus.authenticate("anna", PASSWORD), campus.authenticate("anna@ad.example", PASSWORD)
    assert by_name is not None
    assert by_name == by_upn
    assert (by_name.username, by_name.display_name, by_name.email) == ("anna", "Anna Example", "anna@ad.example")
    assert len(by_name.subject) == 36
    assert by_name.groups == {"lab-staff"}
    assert campus.authenticate("anna", "wrong") is None
    assert campus.authenticate("nobody", PASSWORD) is None


@pytest.mark.parametrize("changes", [{}, DIRECT])
def test_nested_groups(samba: Samba, changes: dict[str, Any]) -> None:
    anna = backend(samba, groups="nested", **changes).authenticate("anna", PASSWORD)
    assert anna is not None
    assert anna.groups == {"lab-staff", "all-staff"}


def test_groups_in_parts(samba: Samba) -> None:
    """As from the 1500th on; what Samba is asked for is what Active Directory would be."""
    campus = backend(samba)
    with open_link(campus.options, samba.url) as link:
        campus.bind_service(link)
        bert = campus.find(link, "bert")
        assert bert is not None
        first: Entry = (bert[0], {"memberof;range=0-0": bert[1]["memberof"][:1]})
        assert campus.groups(link, first, "bert") == {"lab", "all-staff"}


def test_groups_by_search_are_direct_ones(samba: Samba) -> None:
    anna = backend(samba, groups="search", group_filter="(member={dn})").authenticate("anna", PASSWORD)
    assert anna is not None
    assert anna.groups == {"lab-staff"}


def test_a_direct_bind_does_not_vouch_for_another_entry(samba: Samba) -> None:
    # bert's own bind holds, but the filter finds somebody else, whose entry is then bound to as well.
    campus = backend(samba, user_filter="(&(sAMAccountName=disabled)(!(sAMAccountName={username}-not)))", **DIRECT)
    with pytest.raises(AccountProblem, match="data 533"):
        campus.authenticate("bert", PASSWORD)


@pytest.mark.parametrize(
    ("name", "code"), [("disabled", DISABLED), ("expired", EXPIRED), ("stale", MUST_CHANGE_PASSWORD)]
)
def test_account_states(samba: Samba, name: str, code: str) -> None:
    campus = backend(samba)
    with pytest.raises(AccountProblem) as caught:
        campus.authenticate(name, PASSWORD)
    assert caught.value.code == code


def test_locked_by_failures(samba: Samba) -> None:
    campus = backend(samba)
    assert [campus.authenticate("locked", "wrong") for _ in range(3)] == [None] * 3
    with pytest.raises(AccountProblem) as caught:
        campus.authenticate("locked", PASSWORD)
    assert caught.value.code == LOCKED
