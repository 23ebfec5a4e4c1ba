"""The steps of `check` for the ways to sign in: a real OpenLDAP server, real and lying single sign-on, a class."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyberlab.auth.base import BackendContext, Finding, SignInRefused
from cyberlab.auth.cas import CasBackend, CasOptions
from cyberlab.auth.config import GroupMapping
from cyberlab.auth.ldap import LdapBackend, LdapOptions
from cyberlab.auth.oidc import OidcBackend, OidcOptions
from cyberlab.auth.proxy import ProxyBackend, ProxyOptions
from cyberlab.cli_check_directory import check_directory
from cyberlab.cli_check_sso import check_cas, check_issuer, check_proxy
from cyberlab.db.models import Role
from tests.cli.conftest import Shell
from tests.slapd import BASE, SERVICE_DN, SERVICE_PASSWORD, Slapd, free_port
from tests.sso import servers
from tests.sso.issuer import CLIENT_ID, Issuer

CALLBACK = "http://127.0.0.1:9/auth/sso/uni/callback"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """The directory to check."""
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    yield server
    server.close()


def directory(slapd: Slapd, **changes: Any) -> LdapBackend:
    """A backend with a service account there."""
    options: dict[str, Any] = {
        "servers": [slapd.url], "ca_file": slapd.ca, "base": BASE, "groups": "search",
        "bind_dn": SERVICE_DN, "bind_password": SERVICE_PASSWORD,
    }  # fmt: skip
    return LdapBackend("campus", LdapOptions.model_validate({**options, **changes}))


def steps(slapd: Slapd, username: str, **changes: Any) -> list[tuple[str, bool]]:
    """Each step and whether it held."""
    return [(finding.step, finding.held) for finding in check_directory(directory(slapd, **changes), username)]


def test_every_step(slapd: Slapd) -> None:
    assert steps(slapd, "anna") == [
        ("TLS", True), ("bind", True), ("search", True), ("groups", True), ("mapping", True),
    ]  # fmt: skip


def test_what_becomes_of_somebody_here(slapd: Slapd) -> None:
    mapping = GroupMapping(roles={"lab-staff": Role.TEACHER}, classes={"posix-*": "Group *"})
    found = list(check_directory(directory(slapd), "anna", mapping))[-1]
    assert found.said == "anna signs in as teacher by the groups; classes: Group lab"
    found = list(check_directory(directory(slapd), "bert"))[-1]
    assert found.said == "bert signs in with the role that admins give, else student"


def test_an_account_that_cannot_sign_in_is_warned_of(slapd: Slapd) -> None:
    said = {
        name: [warning for found in check_directory(directory(slapd), name) for warning in found.warnings]
        for name in ("anna", "reset", "locked")
    }
    assert said == {
        "anna": [],
        "reset": ["its entry says must-change-password (pwdReset: TRUE)"],
        "locked": ["its entry says locked (pwdAccountLockedTime: 000001010000Z)"],
    }


def test_words_for_a_search_that_comes_to_nothing(slapd: Slapd) -> None:
    for base, words in (
        (f"ou=nothing,{BASE}", f"there is no ou=nothing,{BASE}, or it may not be seen"),
        (f"cn=away,ou=people,{BASE}", "is on another server (ldap://127.0.0.1:1/ou=away"),
    ):
        found = list(check_directory(directory(slapd, base=base), "anna"))[-1]
        assert (found.step, found.held) == ("search", False)
        assert words in found.said
    found = list(check_directory(directory(slapd), "crowd"))[-1]
    assert "gives 500 of the groups, and no more" in found.said


def test_without_a_name_anybody_will_do(slapd: Slapd) -> None:
    assert steps(slapd, "") == [("TLS", True), ("bind", True), ("search", True)]
    assert steps(slapd, "", base=f"ou=groups,{BASE}")[-1] == ("search", False)
    assert steps(slapd, "", subject_attribute="noSuchThing")[-1] == ("search", False)


def test_a_dead_server_does_not_end_the_check(slapd: Slapd) -> None:
    found = steps(slapd, "", servers=[f"ldap://127.0.0.1:{free_port()}", slapd.tls_url])
    assert found == [("TLS", False), ("TLS", True), ("bind", True), ("search", True)]


def test_another_authority(slapd: Slapd) -> None:
    (found,) = check_directory(directory(slapd, ca_file=None))
    assert (found.step, found.held) == ("TLS", False)
    assert "its certificate is not trusted" in found.said


def test_what_fails_is_the_last_step(slapd: Slapd) -> None:
    assert steps(slapd, "anna", bind_password="old")[-1] == ("bind", False)
    assert steps(slapd, "nobody")[-1] == ("search", False)
    assert steps(slapd, "twin")[-1] == ("search", False)


def test_a_direct_bind_is_tried_as_a_stranger(slapd: Slapd) -> None:
    direct = {"bind_dn": "", "bind_password": "", "user_dn": f"uid={{username}},ou=people,{BASE}"}
    assert steps(slapd, "anna", **direct) == [("TLS", True), ("bind", True)]


def test_who_may_not_sign_in_is_warned_of(slapd: Slapd) -> None:
    mapping = GroupMapping(required_groups=("others",))
    found = list(check_directory(directory(slapd), "anna", mapping))[-1]
    assert found.held
    assert found.said == "lab-staff, posix-lab"
    assert found.warnings == ("anna is in none of required_groups (others) and may not sign in",)


async def _found(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


@pytest.mark.gen_test
async def test_a_real_issuer(tmp_path: Path) -> None:
    with servers.oidc_provider(CALLBACK, CALLBACK, tmp_path / "log") as issuer:
        for secret, client in ((servers.CLIENT_SECRET, True), ("old", False)):
            options = OidcOptions.model_validate(
                {"issuer": issuer, "client_id": servers.CLIENT_ID, "client_secret": secret}
            )
            backend = OidcBackend("uni", options)
            found = await _found(check_issuer(backend, CALLBACK))
            backend.close()
            assert [(item.step, item.held) for item in found] == [
                ("discovery", True), ("keys", True), ("client", client),
            ]  # fmt: skip
            assert found[0].warnings == ()
            assert servers.CLIENT_SECRET not in repr(found)


@pytest.mark.gen_test
async def test_an_issuer_that_is_not_what_it_should_be() -> None:
    issuer = Issuer()
    issuer.userinfo = {"keys": [{"kty": "new"}]}
    for changes, step, words in (
        ({"issuer": "https://evil.example"}, "discovery", "calls itself 'https://evil.example'"),
        ({"jwks_uri": f"{issuer.url}/nothing"}, "keys", "no JSON object, status 400"),
        ({"jwks_uri": f"{issuer.url}/userinfo"}, "keys", "none of its keys can be read"),
        (
            {
                "claims_supported": ["sub", "name"],
                "scopes_supported": ["openid"],
                "id_token_signing_alg_values_supported": ["HS256"],
            },
            "",
            "preferred_username",
        ),
    ):
        before = issuer.metadata
        issuer.metadata = before | changes
        backend = OidcBackend("uni", OidcOptions(issuer=issuer.url, client_id=CLIENT_ID))
        found = await _found(check_issuer(backend, CALLBACK))
        backend.close()
        issuer.metadata = before
        if step:
            assert (found[-1].step, found[-1].held) == (step, False)
            assert words in found[-1].said
        else:
            assert found[0].warnings == (
                "claims that it does not list, and may have all the same: email, groups, preferred_username",
                "scopes that it does not list, and may have all the same: email, profile",
                "it signs ID tokens by HS256 alone; RS256 is wanted, for one",
            )
            assert all(item.held for item in found)
            assert found[-1].said == f"{CLIENT_ID} is known there; it must send people back to {CALLBACK}"
    await issuer.stop()


@pytest.mark.gen_test
async def test_a_real_cas_server(tmp_path: Path) -> None:
    with servers.cas_server(tmp_path) as url:
        backend = CasBackend("cas", CasOptions(url=url))
        found = await _found(check_cas(backend, CALLBACK))
        backend.close()
        assert [(item.step, item.held) for item in found] == [("CAS", True)]
        backend = CasBackend("cas", CasOptions(url=f"{url}/elsewhere"))
        (only,) = await _found(check_cas(backend, CALLBACK))
        backend.close()
        assert not only.held
        assert only.said.endswith("status 404 at p3/serviceValidate; protocol = 2 if it has no p3")


@pytest.mark.gen_test
async def test_a_cas_server_that_does_not_know_the_portal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: CasBackend, service: str, ticket: str) -> None:
        raise SignInRefused("ticket", "the server says 'UNAUTHORIZED_SERVICE'")

    monkeypatch.setattr(CasBackend, "validate", refuse)
    found = await _found(check_cas(CasBackend("cas", CasOptions(url="https://cas.uni.example")), CALLBACK))
    assert [(item.step, item.held) for item in found] == [("CAS", True), ("service", False)]


def test_whom_the_portal_believes() -> None:
    options = ProxyOptions(addresses=("192.0.2.10", "10.0.0.0/8"))
    (found,) = check_proxy(ProxyBackend("shib", options))
    assert found.held
    assert found.said == "X-Remote-User is believed from 192.0.2.10, 10.0.0.0/8"
    assert found.warnings == ("10.0.0.0/8 is many addresses: whoever has one can sign in as anybody",)


class Plain:
    """A third party's backend without a check."""

    def __init__(self, name: str, options: dict[str, Any], context: BackendContext) -> None:
        self.name = name

    def authenticate(self, username: str, password: str) -> None:
        """Nobody's."""


class Checked(Plain):
    """One that has one, and breaks off."""

    def check(self, username: str) -> Iterable[Finding]:
        yield Finding("card reader", True, f"knows {username}")
        raise RuntimeError("out of paper")


def configured(shell: Shell, *backends: str) -> None:
    """Let AUTH_CONFIG name these."""
    file = shell.file.parent.parent / "sign-in.toml"
    file.write_text("\n".join(f"[[backend]]\n{text}" for text in backends))
    shell.monkeypatch.setenv("AUTH_CONFIG", str(file))


def test_the_report(unmigrated: Shell, slapd: Slapd) -> None:
    unmigrated.monkeypatch.setenv("LDAP_SECRET", SERVICE_PASSWORD)
    unmigrated.monkeypatch.setenv("COLUMNS", "100")
    ldap = f"""name = "campus"
kind = "ldap"
servers = ["{slapd.url}", "ldap://127.0.0.1:{free_port()}"]
ca_file = "{slapd.ca}"
base = "{BASE}"
bind_dn = "{SERVICE_DN}"
bind_password_env = "LDAP_SECRET"
"""
    own = [f'name = "{name.lower()}"\nkind = "tests.cli.test_cli_check_auth:{name}"\n' for name in ("Plain", "Checked")]
    configured(unmigrated, 'name = "local"\nkind = "local"\n', ldap, *own)
    assert unmigrated.run("check", "--sign-in", "--user", "anna") == 1
    assert unmigrated.err == ""
    lines = re.sub(r" +[0-9]+ ms +", " ", unmigrated.out)
    assert f"✓ TLS campus, {slapd.url}: reached; its certificate is trusted\n" in lines
    assert f"✓ bind campus, {slapd.url}: bound as {SERVICE_DN}\n" in lines
    assert "✓ sign-in plain: tests.cli.test_cli_check_auth:Plain is loaded" in lines
    assert "✓ card reader checked: knows anna\n" in lines
    assert "detail:  its check broke off: RuntimeError: out of paper\n" in lines
    assert "more:    docs/troubleshooting.md#sign-in-unreachable\n" in lines
    assert lines.endswith("\nFailed: campus TLS, checked sign-in.\n")
    assert SERVICE_PASSWORD not in unmigrated.out

    unmigrated.run("check", "--sign-in", "--json")
    rows = json.loads(unmigrated.out)
    assert {row["backend"] for row in rows[:4]} == {"campus"}
    assert [(row["step"], row["state"]) for row in rows[:4]] == [
        ("TLS", "held"), ("bind", "held"), ("search", "held"), ("TLS", "failed"),
    ]  # fmt: skip
    assert rows[3]["problem"]["code"] == "sign-in-unreachable"


def test_the_ways_to_sign_in_are_tried_without_a_cluster(unmigrated: Shell) -> None:
    configured(unmigrated, 'name = "shib"\nkind = "proxy"\naddresses = ["192.0.2.10"]\n')
    assert unmigrated.run("check", "--json") == 2
    rows = json.loads(unmigrated.out)
    assert (rows[0]["step"], rows[0]["state"]) == ("settings", "failed")
    assert (rows[-1]["backend"], rows[-1]["step"], rows[-1]["state"]) == ("shib", "proxy", "held")


def test_a_file_that_cannot_be_used_is_said_by_name(unmigrated: Shell) -> None:
    configured(unmigrated, 'name = "shib"\nkind = "proxy"\n')
    assert unmigrated.run("check", "--sign-in") == 1
    assert "AUTH_CONFIG: backend.shib.addresses: Field required" in unmigrated.out


def test_local_accounts_need_nothing(unmigrated: Shell) -> None:
    assert unmigrated.done("check", "--sign-in") == "\nLocal accounts alone: there is nothing to reach.\n"
