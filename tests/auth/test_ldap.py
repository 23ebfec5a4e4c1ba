"""Sign-in by a real OpenLDAP server, and by servers that hang, refuse or are not who they should be."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cyberlab.auth import config, ldap
from cyberlab.auth.base import (
    EXPIRED,
    GROUPS_UNKNOWN,
    LOCKED,
    MUST_CHANGE_PASSWORD,
    TOO_MANY_ENTRIES,
    AccountProblem,
    BackendUnavailable,
)
from cyberlab.auth.ldap import LdapBackend, LdapOptions
from cyberlab.auth.ldap_values import direct_name
from cyberlab.blocking import BlockingPool
from tests.slapd import (
    BASE,
    CROWD,
    MEAGRE_DN,
    PASSWORD,
    PLENTY_DN,
    SERVICE_DN,
    SERVICE_PASSWORD,
    Slapd,
    free_port,
    make_certificate,
)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """The directory that this module signs in to."""
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    yield server
    server.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Takes connections, and leaves them alone."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(0.0)
        yield made


@pytest.fixture
def silent(listener: socket.socket) -> str:
    """A server that never says a word."""
    return f"127.0.0.1:{listener.getsockname()[1]}"


def backend(slapd: Slapd, **changes: Any) -> LdapBackend:
    """Search, then bind, unless told otherwise."""
    options: dict[str, Any] = {
        "servers": [slapd.url],
        "ca_file": slapd.ca,
        "base": f"ou=people,{BASE}",
        "bind_dn": SERVICE_DN,
        "bind_password": SERVICE_PASSWORD,
        "group_base": f"ou=groups,{BASE}",
        "timeout": 2,
    }
    return LdapBackend("campus", LdapOptions.model_validate(options | changes))


DIRECT = {"bind_dn": "", "bind_password": "", "user_dn": f"uid={{username}},ou=people,{BASE}"}


@pytest.mark.parametrize("scheme", ["url", "tls_url"])
def test_search_then_bind(slapd: Slapd, scheme: str) -> None:
    campus = backend(slapd, servers=[getattr(slapd, scheme)])
    anna = campus.authenticate("ANNA", PASSWORD)
    assert anna is not None
    assert (anna.backend, anna.username, anna.display_name, anna.email) == (
        "campus", "anna", "Anna Example", "an@uni.example"
    )  # fmt: skip
    assert len(anna.subject) == 36
    assert campus.authenticate("anna", "wrong") is None
    assert campus.authenticate("nobody", PASSWORD) is None


def test_direct_bind(slapd: Slapd) -> None:
    campus = backend(slapd, **DIRECT)
    anna = campus.authenticate("anna", PASSWORD)
    searched = backend(slapd).authenticate("anna", PASSWORD)
    assert anna is not None
    assert searched is not None
    assert anna.subject == searched.subject
    assert campus.authenticate("anna", "wrong") is None
    assert campus.authenticate("nobody", PASSWORD) is None
    assert campus.authenticate("anna,ou=people", PASSWORD) is None


def test_groups_by_search(slapd: Slapd) -> None:
    campus = backend(slapd, groups="search")
    anna, bert = campus.authenticate("anna", PASSWORD), campus.authenticate("bert", PASSWORD)
    assert anna is not None
    assert anna.groups == {"lab-staff", "posix-lab"}
    assert bert is not None
    assert bert.groups == frozenset(), "a group of the same name elsewhere does not count"


@pytest.mark.parametrize("name", ["*", "an*", "anna)(uid=*", "anna\x00", "(", "\\", "", "   "])
def test_names_that_mean_something_in_a_filter(slapd: Slapd, name: str) -> None:
    assert backend(slapd).authenticate(name, PASSWORD) is None
    assert backend(slapd, **DIRECT).authenticate(name, PASSWORD) is None


def test_a_name_with_such_characters_of_its_own(slapd: Slapd) -> None:
    campus = backend(slapd, groups="search")
    odd = campus.authenticate("we(i)rd*", PASSWORD)
    assert odd is not None
    assert odd.username == "we(i)rd*"


def test_an_empty_password_is_refused_unasked() -> None:
    options = LdapOptions.model_validate({"servers": ["ldap://127.0.0.1:1"], "base": BASE, **DIRECT})
    assert LdapBackend("campus", options).authenticate("anna", "") is None


def test_two_entries(slapd: Slapd) -> None:
    with pytest.raises(AccountProblem) as caught:
        backend(slapd, base=BASE).authenticate("twin", PASSWORD)
    assert caught.value.code == TOO_MANY_ENTRIES
    assert "ou=guests" in caught.value.detail


def test_two_entries_of_which_the_server_shows_one(slapd: Slapd) -> None:
    with pytest.raises(AccountProblem) as caught:
        backend(slapd, base=BASE, bind_dn=MEAGRE_DN).authenticate("twin", PASSWORD)
    assert caught.value.code == TOO_MANY_ENTRIES
    assert backend(slapd, bind_dn=MEAGRE_DN).authenticate("anna", PASSWORD) is not None


def test_more_groups_than_one_answer_holds(slapd: Slapd) -> None:
    """What is cut off might be the role: nobody is signed in with half of their groups."""
    crowd = backend(slapd, groups="search", bind_dn=PLENTY_DN).authenticate("crowd", PASSWORD)
    assert crowd is not None
    assert len(crowd.groups) == CROWD
    with pytest.raises(AccountProblem) as caught:
        backend(slapd, groups="search").authenticate("crowd", PASSWORD)
    assert caught.value.code == GROUPS_UNKNOWN


@pytest.mark.parametrize("changes", [{}, DIRECT])
@pytest.mark.parametrize(("name", "code"), [("reset", MUST_CHANGE_PASSWORD), ("locked", LOCKED), ("expired", EXPIRED)])
def test_what_the_password_policy_says(slapd: Slapd, name: str, code: str, changes: dict[str, Any]) -> None:
    with pytest.raises(AccountProblem) as caught:
        backend(slapd, **changes).authenticate(name, PASSWORD)
    assert caught.value.code == code


def test_a_wrong_password_is_told_nothing_of_the_policy(slapd: Slapd) -> None:
    assert [backend(slapd).authenticate(name, "wrong") for name in ("reset", "expired")] == [None, None]


def test_a_service_account_whose_password_must_be_changed(slapd: Slapd) -> None:
    campus = backend(slapd, bind_dn=f"uid=reset,ou=people,{BASE}", bind_password=PASSWORD)
    with pytest.raises(BackendUnavailable, match=r"the service account is unusable .must-change-password"):
        campus.authenticate("anna", PASSWORD)


@pytest.mark.parametrize("changes", [{}, DIRECT])
@pytest.mark.parametrize("name", ["JÜRGEN", 'o\'brien, "x"+y', "#7"])
def test_names_that_mean_something_in_a_dn(slapd: Slapd, name: str, changes: dict[str, Any]) -> None:
    found = backend(slapd, **changes).authenticate(name, PASSWORD)
    assert found is not None
    assert found.username == name.lower()


def test_a_service_account_that_is_refused(slapd: Slapd) -> None:
    with pytest.raises(BackendUnavailable, match="the service account was refused"):
        backend(slapd, bind_password="old secret").authenticate("anna", PASSWORD)


@pytest.mark.parametrize("scheme", ["url", "tls_url"])
def test_a_certificate_of_another_authority(slapd: Slapd, tmp_path: Path, scheme: str) -> None:
    other, _, _ = make_certificate(tmp_path)
    with pytest.raises(BackendUnavailable, match="its certificate is not trusted"):
        backend(slapd, servers=[getattr(slapd, scheme)], ca_file=other).authenticate("anna", PASSWORD)


def _refuses_tls(listener: socket.socket, heard: list[bytes]) -> None:
    """Answer the first request, which is for StartTLS, with protocolError; hear what comes then."""
    connection, _ = listener.accept()
    with connection:
        heard.append(connection.recv(4096))
        message_id = heard[0][2 : 4 + heard[0][3]]  # an INTEGER: tag, length, contents
        answer = message_id + bytes.fromhex("78070a010204000400")
        connection.sendall(bytes([0x30, len(answer)]) + answer)
        while more := connection.recv(4096):
            heard.append(more)


def test_nothing_is_said_in_the_clear(slapd: Slapd) -> None:
    """Whoever stands in between and refuses StartTLS hears no name and no password."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        between = threading.Thread(target=_refuses_tls, args=(listener, heard))
        between.start()
        server = f"ldap://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BackendUnavailable, match="StartTLS failed"):
            backend(slapd, servers=[server]).authenticate("anna", PASSWORD)
        between.join()
    said = b"".join(heard)
    assert b"1.3.6.1.4.1.1466.20037" in said
    assert not any(word.encode() in said for word in (PASSWORD, SERVICE_PASSWORD, "anna", "portal"))


@pytest.mark.parametrize("scheme", ["url", "tls_url"])
def test_a_certificate_for_another_name(slapd: Slapd, scheme: str) -> None:
    url = getattr(slapd, scheme).replace("127.0.0.1", "localhost")
    with pytest.raises(BackendUnavailable, match=r"its certificate is not trusted.*localhost"):
        backend(slapd, servers=[url]).authenticate("anna", PASSWORD)


def test_nobody_listens(slapd: Slapd) -> None:
    with pytest.raises(BackendUnavailable, match="connection refused"):
        backend(slapd, servers=[f"ldap://127.0.0.1:{free_port()}"]).authenticate("anna", PASSWORD)


def test_fail_over_and_the_dead_server_is_asked_last_from_then_on(
    slapd: Slapd, listener: socket.socket, silent: str
) -> None:
    campus = backend(slapd, servers=[f"ldap://{silent}", slapd.url], timeout=1)
    assert campus.authenticate("anna", PASSWORD) is not None
    listener.accept()[0].close()
    assert campus.authenticate("anna", PASSWORD) is not None
    with pytest.raises(BlockingIOError):  # nobody has come again
        listener.accept()


def test_one_that_cannot_be_reached_is_left_alone_for_a_moment(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lesson's sign-ins do not queue up behind it; what one entry lacks says nothing about the directory."""
    away = backend(slapd, servers=[f"ldap://127.0.0.1:{free_port()}"])
    odd = backend(slapd, subject_attribute="noSuchThing")
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="has no noSuchThing"):
            odd.authenticate("anna", PASSWORD)
    with pytest.raises(BackendUnavailable, match="connection refused"):
        away.authenticate("anna", PASSWORD)
    with pytest.raises(BackendUnavailable, match="not asked"):
        away.authenticate("bert", PASSWORD)
    monkeypatch.setattr(ldap, "_REST", 0.0)
    with pytest.raises(BackendUnavailable, match="connection refused"):
        away.authenticate("bert", PASSWORD)


async def _hang(slapd: Slapd, server: str) -> int:
    pool = BlockingPool("auth", 1, waiting=1)
    ticks = 0
    try:
        waiting = asyncio.ensure_future(
            pool.run(15.0, backend(slapd, servers=[server], timeout=1).authenticate, "a", "b")
        )
        while not waiting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(BackendUnavailable, match="no answer in time"):
            await waiting
    finally:
        pool.close()
    return ticks


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_directory_that_hangs_holds_up_nobody(slapd: Slapd, silent: str, scheme: str) -> None:
    assert asyncio.run(_hang(slapd, f"{scheme}://{silent}")) > 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"servers": []}, "at least 1"),
        ({"servers": ["http://x"]}, "must be like"),
        ({"user_dn": "uid={username}"}, "give either"),
        ({"bind_dn": "", "user_dn": "uid=x"}, "must contain"),
        ({"bind_password": ""}, "bind_password_env"),
        ({"starttls": False}, "Extra"),
        ({"group_base": "groups"}, "must be a DN"),
    ],
)
def test_options_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    good = {"servers": ["ldap://x"], "base": BASE, "bind_dn": SERVICE_DN, "bind_password": "x"}
    LdapOptions.model_validate(good)
    with pytest.raises(ValidationError, match=words):
        LdapOptions.model_validate(good | changes)


def test_names_to_bind_with() -> None:
    assert direct_name("uid={username},dc=x", "a,b=c") == "uid=a\\,b\\=c,dc=x"
    assert direct_name("{username}@ad.example", "anna") == "anna@ad.example"
    assert direct_name("{username}@ad.example", "anna@uni.example") == "anna@uni.example"


def test_the_configurations_in_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMPUS_LDAP_PASSWORD", SERVICE_PASSWORD)
    text = (Path(__file__).resolve().parents[2] / "docs" / "sign-in.md").read_text()
    blocks = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if 'kind = "ldap"' in block]
    names = [backend.name for block in blocks for backend in config.parse(tomllib.loads(block)).backends]
    assert names == ["campus-ldap", "campus-ad"]
