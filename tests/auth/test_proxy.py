"""REMOTE_USER as a header: from the proxy's own address, and from nobody else."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tornado.httputil import HTTPHeaders

from cyberlab.auth.base import SignInRefused
from cyberlab.auth.proxy import ProxyBackend, ProxyOptions

OPTIONS = ProxyOptions(
    addresses=("10.0.0.5", "fd00::/64"), groups_header="X-Groups", name_header="X-Name", mail_header="X-Mail"
)
BACKEND = ProxyBackend("shib", OPTIONS)


def _headers(**values: str) -> HTTPHeaders:
    return HTTPHeaders({name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize("peer", ["10.0.0.5", "::ffff:10.0.0.5", "fd00::7"])
def test_the_proxy_is_believed(peer: str) -> None:
    name = "Jürgen".encode().decode("latin-1")
    headers = _headers(X_Remote_User="juergen", X_Name=name, X_Mail="j@uni.example", X_Groups="a; b;;")
    identity = BACKEND.identify(peer, headers.get_list)
    assert (identity.subject, identity.username, identity.display_name) == ("juergen", "juergen", "Jürgen")
    assert (identity.email, identity.groups) == ("j@uni.example", {"a", "b"})


@pytest.mark.parametrize("peer", ["10.0.0.6", "127.0.0.1", "::1", "fd01::7", "", "unix"])
def test_nobody_else_is(peer: str) -> None:
    headers = _headers(X_Remote_User="admin", X_Forwarded_For="10.0.0.5")
    with pytest.raises(SignInRefused) as refused:
        BACKEND.identify(peer, headers.get_list)
    assert refused.value.code == "untrusted-proxy"


def test_two_headers_of_one_name_are_refused() -> None:
    headers = _headers(X_Remote_User="anna")
    headers.add("X-Remote-User", "admin")
    with pytest.raises(SignInRefused) as refused:
        BACKEND.identify("10.0.0.5", headers.get_list)
    assert refused.value.code == "spoofed"


@pytest.mark.parametrize("name", [" ", "(null)"])
def test_a_proxy_that_names_nobody(name: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        BACKEND.identify("10.0.0.5", _headers(X_Remote_User=name).get_list)
    assert refused.value.code == "no-user"


def test_a_variable_that_is_not_set_is_no_value() -> None:
    """Apache's mod_headers writes "(null)" for it: as a subject, it would make one person of all who have none."""
    backend = ProxyBackend("shib", OPTIONS.model_copy(update={"subject_header": "X-Id"}))
    unset = dict.fromkeys(("X_Id", "X_Name", "X_Mail", "X_Groups"), "(null)")
    identity = backend.identify("10.0.0.5", _headers(X_Remote_User="anna", **unset).get_list)
    assert (identity.subject, identity.display_name, identity.email) == ("", "", None)
    assert identity.groups == frozenset()


def test_values_as_shibboleth_joins_them() -> None:
    persistent = "https://idp.uni.example/shibboleth!https://portal.uni.example/sp!opaque+/="
    backend = ProxyBackend("shib", OPTIONS.model_copy(update={"subject_header": "X-Id"}))
    headers = _headers(
        X_Remote_User="anna@uni.example", X_Id=persistent, X_Name="Anna;Änne".encode().decode("latin-1"),
        X_Mail="a@uni.example;b@uni.example", X_Groups=r"urn:x:a\;b;urn:x:c; ;\;",
    )  # fmt: skip
    identity = backend.identify("10.0.0.5", headers.get_list)
    assert (identity.subject, identity.display_name, identity.email) == (persistent, "Anna", "a@uni.example")
    assert identity.groups == {"urn:x:a;b", "urn:x:c", ";"}


@pytest.mark.parametrize("addresses", [(), ("0.0.0.0/0",), ("::/0",), ("proxy.example",)])
def test_whom_to_believe_must_be_said(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        ProxyOptions(addresses=addresses)
