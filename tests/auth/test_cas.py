"""CAS, at a real server, and answers that are none."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient

from cyberlab.auth.base import BackendUnavailable, SignInRefused
from cyberlab.auth.cas import CasBackend, CasOptions, parse
from tests.sso.servers import PASSWORD, Visitor, cas_server, free_port

HOME = "http://127.0.0.1:9"
CALLBACK = f"{HOME}/auth/sso/cas/callback"
HEAD = '<cas:serviceResponse xmlns:cas="http://www.yale.edu/tp/cas">'
BODY = "<cas:authenticationSuccess>{}</cas:authenticationSuccess></cas:serviceResponse>"
LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    + HEAD
    + BODY.format("<cas:user>&c;</cas:user>")
)
GROUPS = "<cas:attributes><cas:groups>x; y</cas:groups><cas:groups>z</cas:groups></cas:attributes>"
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + HEAD + BODY.format("<cas:user>&a;</cas:user>")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server."""
    with cas_server(tmp_path_factory.mktemp("cas")) as url:
        yield url


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@pytest.mark.gen_test
async def test_the_whole_way_at_a_real_server(server: str) -> None:
    backend = CasBackend("cas", CasOptions(url=server))
    start = await backend.begin(CALLBACK)
    fields = {"username": "bert", "password": PASSWORD}
    end = await Visitor(AsyncHTTPClient(), HOME).sign_in(start.url, fields)
    identity = await backend.finish(CALLBACK, start.state, _query(end))
    assert (identity.backend, identity.subject, identity.username) == ("cas", "bert", "bert")
    assert (identity.display_name, identity.email) == ("Bert <Example> & Söhne", "bert@uni.example")
    assert identity.groups == {"lab-users", "course-netsec"}

    with pytest.raises(SignInRefused, match="INVALID_TICKET"):  # a ticket is good once
        await backend.finish(CALLBACK, start.state, _query(end))
    with pytest.raises(SignInRefused, match="INVALID_TICKET"):
        await backend.finish(CALLBACK, start.state, _query(end) | {"ticket": "ST-forged"})
    with pytest.raises(SignInRefused) as other:
        await backend.finish(CALLBACK, {"state": "of another browser"}, _query(end))
    assert other.value.code == "state"
    with pytest.raises(SignInRefused) as without:
        await backend.finish(CALLBACK, start.state, {"state": start.state["state"]})
    assert without.value.code == "ticket"
    backend.close()


@pytest.mark.gen_test
async def test_a_server_of_version_two(server: str) -> None:
    backend = CasBackend("cas", CasOptions(url=server, protocol=2))
    start = await backend.begin(CALLBACK)
    end = await Visitor(AsyncHTTPClient(), HOME).sign_in(start.url, {"username": "bert", "password": PASSWORD})
    identity = await backend.finish(CALLBACK, start.state, _query(end))
    assert (identity.username, identity.groups) == ("bert", {"lab-users", "course-netsec"})
    backend.close()


def test_groups_in_one_element() -> None:
    """As LemonLDAP::NG keeps them, and some hand them on."""
    answer = parse((HEAD + BODY.format("<cas:user>a</cas:user>" + GROUPS)).encode())
    for separator, groups in (("", {"x; y", "z"}), (";", {"x", "y", "z"})):
        backend = CasBackend("cas", CasOptions(url="https://cas.uni.example", groups_separator=separator))
        assert backend.identity(answer).groups == groups


@pytest.mark.parametrize(("values", "subject"), [("ab", ""), ("a", "a"), ("aa", "a"), ("", "")])
def test_a_subject_is_one_value(values: str, subject: str) -> None:
    given = "".join(f"<cas:id>{value}</cas:id>" for value in values)
    answer = parse((HEAD + BODY.format(f"<cas:user>x</cas:user><cas:attributes>{given}</cas:attributes>")).encode())
    options = CasOptions(url="https://cas.uni.example", subject_attribute="id")
    assert CasBackend("cas", options).identity(answer).subject == subject


@pytest.mark.gen_test
async def test_a_ticket_for_another_service_is_refused(server: str) -> None:
    backend = CasBackend("cas", CasOptions(url=server))
    start = await backend.begin(f"{HOME}/auth/another")
    end = await Visitor(AsyncHTTPClient(), HOME).sign_in(start.url, {"username": "bert", "password": PASSWORD})
    with pytest.raises(SignInRefused, match="INVALID_SERVICE"):
        await backend.finish(CALLBACK, start.state, _query(end))
    backend.close()


@pytest.mark.gen_test
async def test_nobody_there() -> None:
    backend = CasBackend("cas", CasOptions(url=f"http://127.0.0.1:{free_port()}/cas"))
    start = await backend.begin(CALLBACK)
    with pytest.raises(BackendUnavailable):
        await backend.finish(CALLBACK, start.state, {"state": start.state["state"], "ticket": "ST-1"})
    backend.close()


@pytest.mark.parametrize(
    "answer",
    [
        LAUGHS,
        OUTSIDE,
        "<html>",
        "",
        HEAD + BODY.format(""),
        HEAD + BODY.format("<cas:user></cas:user>"),
        HEAD + BODY.format("<cas:user>anna</cas:user><cas:user>admin</cas:user>"),
        (HEAD + BODY.format("<cas:user>anna</cas:user>")).replace("yale", "evil"),
        HEAD + "<cas:user>anna</cas:user></cas:serviceResponse>",
        HEAD + BODY.format("<cas:x>" * 10_000),
    ],
)
def test_answers_that_name_nobody(answer: str) -> None:
    with pytest.raises(BackendUnavailable):
        parse(answer.encode())


def test_failure_beats_success() -> None:
    mixed = HEAD + '<cas:authenticationFailure code="X">no</cas:authenticationFailure>'
    with pytest.raises(SignInRefused, match="X"):
        parse((mixed + BODY.format("<cas:user>admin</cas:user>")).encode())


def test_a_name_is_read_whole_around_a_comment() -> None:
    answer = HEAD + BODY.format("<cas:user>admin<!-- -->.not</cas:user>")
    assert parse(answer.encode())["user"] == ["admin.not"]
