"""The steps of `check` for a directory, against a real OpenLDAP server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cyberlab.auth.ldap import LdapBackend, LdapOptions
from cyberlab.cli_check_auth import check_directory
from tests.slapd import BASE, SERVICE_DN, SERVICE_PASSWORD, Slapd, free_port


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """The directory to check."""
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    yield server
    server.close()


def steps(slapd: Slapd, username: str, **changes: Any) -> list[tuple[str, bool]]:
    """Each step and whether it held."""
    options: dict[str, Any] = {
        "servers": [slapd.url], "ca_file": slapd.ca, "base": BASE, "groups": "search",
        "bind_dn": SERVICE_DN, "bind_password": SERVICE_PASSWORD,
    }  # fmt: skip
    backend = LdapBackend("campus", LdapOptions.model_validate(options | changes))
    return [(finding.step, finding.held) for finding in check_directory(backend, username)]


def test_every_step(slapd: Slapd) -> None:
    assert steps(slapd, "anna") == [("tls", True), ("bind", True), ("search", True), ("groups", True)]


def test_a_dead_server_does_not_end_the_check(slapd: Slapd) -> None:
    found = steps(slapd, "", servers=[f"ldap://127.0.0.1:{free_port()}", slapd.tls_url])
    assert found == [("tls", False), ("tls", True), ("bind", True)]


def test_what_fails_is_the_last_step(slapd: Slapd) -> None:
    assert steps(slapd, "anna", bind_password="old")[-1] == ("bind", False)
    assert steps(slapd, "nobody")[-1] == ("search", False)
    assert steps(slapd, "twin")[-1] == ("search", False)
