"""The file of AUTH_CONFIG: every problem at once, by dotted name, and no secret in any of them."""

from __future__ import annotations

import sys
import textwrap
import types
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from cyberlab.auth import config
from cyberlab.auth.base import BackendContext, Identity
from cyberlab.auth.config import AuthConfig, Policy
from cyberlab.auth.local import LocalBackend
from cyberlab.db.engine import Database
from cyberlab.db.models import Role
from cyberlab.settings import Settings, SettingsError


class Options(BaseModel):
    """What a kind's options look like."""

    model_config = ConfigDict(extra="forbid")

    url: str
    label: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""


class Made:
    """A backend that remembers what it was made of."""

    def __init__(self, name: str, options: object, context: BackendContext) -> None:
        self.name, self.options, self.context = name, options, context
        self.closed = False

    def close(self) -> None:
        self.closed = True


class ByPassword(Made):
    def authenticate(self, username: str, password: str) -> Identity | None:
        return None


class ByRedirect(Made):
    async def begin(self, callback_url: str) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds "ldap" and "oidc" as stand-ins, and a third party's module."""
    module = types.ModuleType("third.party")
    for name, value in {"O": Options, "P": ByPassword, "R": ByRedirect, "M": Made}.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "third", types.ModuleType("third"))
    monkeypatch.setitem(sys.modules, "third.party", module)
    stands = {"ldap": ("third.party", "O", "P"), "oidc": ("third.party", "O", "R"), "proxy": ("third.party", "O", "M")}
    monkeypatch.setattr(config, "KINDS", stands)


def _load(tmp_path: Path, text: str) -> AuthConfig:
    file = tmp_path / "sign-in.toml"
    file.write_text(textwrap.dedent(text))
    return config.load(file)


def _problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    return caught.value.problems


def test_without_a_file_there_are_local_accounts_alone(database: Database) -> None:
    loaded = config.load(None)
    assert [backend.kind for backend in loaded.backends] == ["local"]
    assert {loaded.second_factor.policy(role) for role in Role} == {Policy.OPTIONAL}
    made = config.build(loaded, BackendContext(database, Settings(_env_file=None)))
    assert [type(backend) for backend in made.password] == [LocalBackend]
    assert (made.redirect, made.proxy) == ((), ())


def test_a_name_that_is_not_configured_makes_nobody_a_user() -> None:
    assert config.load(None).mapping("elsewhere").create_users is False


def test_a_whole_file(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMPUS_PASSWORD", "s3cret")
    (tmp_path / "secret").write_text("other s3cret\n")
    loaded = _load(
        tmp_path,
        f"""
        [[backend]]
        name = "campus-ldap"
        kind = "ldap"
        label = "University account"
        url = "ldaps://ldap.example.edu"
        password_env = "CAMPUS_PASSWORD"
        ca_file = "/etc/ca.pem"
        [backend.mapping]
        required_groups = ["lab"]
        create_users = false
        [backend.mapping.roles]
        staff = "teacher"
        [backend.mapping.classes]
        "course-*" = "Course *"

        [[backend]]
        name = "local"
        kind = "local"
        hidden = true

        [[backend]]
        name = "uni"
        kind = "oidc"
        url = "https://sso.example.edu"
        password_file = "{tmp_path / "secret"}"

        [[backend]]
        name = "front"
        kind = "proxy"
        url = "x"

        [[backend]]
        name = "ours"
        kind = "third.party:P"
        anything = 1
        token_env = "CAMPUS_PASSWORD"

        [second_factor]
        admin = "required"
        student = "off"
        grace_days = 7
        remember_days = 0
        """,
    )
    campus, local, uni, _, ours = loaded.backends
    assert (campus.options.label, campus.options.ca_file) == ("University account", "/etc/ca.pem")
    assert campus.options.password.get_secret_value() == "s3cret"
    assert campus.mapping.roles == {"staff": Role.TEACHER}
    assert loaded.mapping("campus-ldap").create_users is False
    assert local.hidden
    assert (uni.options.label, uni.options.password.get_secret_value()) == ("uni", "other s3cret")
    assert ours.options == {"anything": 1, "token": SecretStr("s3cret"), "label": ""}
    assert loaded.second_factor.policy(Role.ADMIN) == Policy.REQUIRED
    assert loaded.second_factor.remember_seconds == 0
    assert "s3cret" not in repr(loaded)
    made = config.build(loaded, BackendContext(database, Settings(_env_file=None)))
    assert [backend.name for backend in made.password] == ["campus-ldap", "local", "ours"]
    assert [backend.name for backend in made.redirect] == ["uni"]
    assert [backend.name for backend in made.proxy] == ["front"]
    made.close()
    assert made.proxy[0].closed


def test_all_problems_at_once_and_no_value(tmp_path: Path) -> None:
    found = _problems(
        tmp_path,
        """
        typo = 1
        [[backend]]
        name = "Campus LDAP"
        kind = "ldap"

        [[backend]]
        name = "a"
        kind = "ldap"
        password = "s3cret"
        adress = "x"
        mapping = { roles = { staff = "boss" }, required = [] }

        [[backend]]
        name = "b"
        kind = "ldap"
        url = "x"
        password = "s3cret"
        adress = "x"

        [[backend]]
        name = "c"
        kind = "ldap"
        url = "x"
        password_env = "NOT_THERE_AT_ALL"

        [[backend]]
        name = "c"
        kind = "ldap"
        url = "x"
        password_file = "/nowhere/at/all"

        [[backend]]
        name = "d"
        kind = "kerberos"

        [[backend]]
        name = "e"
        kind = "no.such.module:Class"

        [[backend]]
        name = "f"
        kind = "local"

        [[backend]]
        name = "local"
        kind = "local"
        url = "x"

        [second_factor]
        admin = "always"
        """,
    )
    said = "\n".join(found)
    for expected in (
        "AUTH_CONFIG: typo: there is no such setting",
        "AUTH_CONFIG: backend.Campus LDAP.name: must be lower-case letters",
        "AUTH_CONFIG: backend.a.mapping.roles.staff: Input should be 'student', 'teacher' or 'admin'",
        "AUTH_CONFIG: backend.a.mapping.required: there is no such setting",
        "AUTH_CONFIG: backend.b.password: secrets do not stand in the file; use password_env or password_file",
        "AUTH_CONFIG: backend.b.adress: there is no such setting",
        "AUTH_CONFIG: backend.c.password_env: there is no environment variable NOT_THERE_AT_ALL",
        "AUTH_CONFIG: backend.c.password_file: /nowhere/at/all cannot be read",
        "AUTH_CONFIG: backend.c: the name is given twice",
        "AUTH_CONFIG: backend.d.kind: must be one of local, ldap, oidc, proxy, or package.module:Class",
        "AUTH_CONFIG: backend.e.kind: cannot be imported: No module named 'no'",
        'AUTH_CONFIG: backend.f.name: "local" is the name of the kind "local", and of no other',
        "AUTH_CONFIG: backend.local.url: there is no such setting",
        "AUTH_CONFIG: second_factor.admin: Input should be 'off', 'optional' or 'required'",
    ):
        assert expected in said
    assert len(found) == len(set(found)) == 14
    assert "s3cret" not in said


def test_a_kind_whose_library_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "KINDS", {"oidc": ("no_such_library", "O", "R")})
    found = _problems(tmp_path, '[[backend]]\nname = "uni"\nkind = "oidc"\n')
    assert found == ["AUTH_CONFIG: backend.uni.kind: cannot be imported: No module named 'no_such_library'"]


@pytest.mark.parametrize("text", ["backend = 1", "backend = []", "backend = [1]", 'backend = "x"'])
def test_backends_are_tables(tmp_path: Path, text: str) -> None:
    assert _problems(tmp_path, text) == ["AUTH_CONFIG: backend: must be tables, each under a line [[backend]]"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"AUTH_CONFIG: .*/none\.toml cannot be read: No such file"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"is no TOML: "):
        _load(tmp_path, "[[backend")
