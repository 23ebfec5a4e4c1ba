"""Settings: every problem at once, by name, without the value; and each one is documented."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from cyberlab import settings
from cyberlab.settings import DEMO_SECRET, ClusterSettings, Settings, SettingsError

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a-secret-of-more-than-thirty-two-characters"
NAMES = {name.upper(): field for name, field in Settings.model_fields.items()}
NAMES |= {f"PROXMOX_{name.upper()}": field for name, field in ClusterSettings.model_fields.items()}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from the shell that runs the tests."""
    for name in list(os.environ):
        if name.upper() in NAMES:
            monkeypatch.delenv(name)


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    for name in ("key", "known_hosts"):
        (tmp_path / name).write_text("")
    chosen = {
        "SECRET_KEY": SECRET,
        "PROXMOX_HOST": "https://pve1.example.edu:8443/",
        "PROXMOX_SSH_HOST": "pve1.example.edu",
        "PROXMOX_SSH_KEY_PATH": str(tmp_path / "key"),
        "PROXMOX_SSH_KNOWN_HOSTS": str(tmp_path / "known_hosts"),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return chosen


def _problems(production: bool = True) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings.load(production=production, env_file=None)
    return caught.value.problems


def _named(problems: list[str]) -> list[str]:
    return [problem.partition(":")[0] for problem in problems]


def test_good_settings_load(good: dict[str, str]) -> None:
    loaded = settings.load(production=True, env_file=None)
    assert loaded.portal.secret_key.get_secret_value() == SECRET
    (cluster,) = loaded.clusters
    assert (cluster.cluster, cluster.host, cluster.ssh_port) == ("pve", "https://pve1.example.edu:8443", 22)


def test_everything_that_is_missing_is_listed_at_once() -> None:
    assert _named(_problems()) == [
        "SECRET_KEY",
        "PROXMOX_HOST",
        "PROXMOX_SSH_HOST",
        "PROXMOX_SSH_KEY_PATH",
        "PROXMOX_SSH_KNOWN_HOSTS",
    ]


def test_everything_that_is_bad_is_listed_at_once_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "LISTEN_PORT": "70000",
        "PUBLIC_URL": "ftp://s3cret",
        "LOG_LEVEL": "s3cret",
        "BCRYPT_COST": "s3cret",
        "LOGIN_IDLE": "-1",
        "PROXMOX_HOST": "https://root:s3cret",
        "PROXMOX_CLUSTER": "S3CRET",
        "PROXMOX_TLS_FINGERPRINT": "s3cret",
        "PROXMOX_SSH_PORT": "s3cret",
    }
    for name, value in bad.items():
        monkeypatch.setenv(name, value)
    problems = _problems()
    assert set(_named(problems)) == set(bad)
    assert "s3cret" not in "\n".join(problems).lower()
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", DEMO_SECRET),
        ("DATABASE_URL", "mysql://root:s3cret@localhost/x"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("PUBLIC_URL", "https://lab.example.edu/portal"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://anna:s3cret@lab.example.edu"),
        ("PUBLIC_URL", "https://lab.example.edu:99999"),
        ("PUBLIC_URL", "https://lab.example.edu?x=1"),
        ("PROXMOX_HOST", "http://pve1.example.edu:8006"),
        ("PROXMOX_HOST", "pve1.example.edu"),
        ("PROXMOX_USER", "root"),
        ("PROXMOX_SSH_KEY_PATH", "/nowhere/key"),
        ("PROXMOX_SSH_KNOWN_HOSTS", "/nowhere/known_hosts"),
        ("PROXMOX_TLS_CA_FILE", "/nowhere/ca.pem"),
        ("PROXMOX_SSH_CONNECTIONS", "0"),
        ("CONSOLE_MAX", "0"),
        ("SHUTDOWN_GRACE", "nan"),
        ("SHUTDOWN_GRACE", "inf"),
    ],
)
def test_one_bad_value_is_the_only_problem(
    good: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = _problems()
    assert problem.startswith(f"{name}: ")
    assert "s3cret" not in problem


def test_the_demo_may_use_its_secret_but_no_short_one(good: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", DEMO_SECRET)
    settings.load(production=False, env_file=None)
    monkeypatch.setenv("SECRET_KEY", "short")
    assert _named(_problems(production=False)) == ["SECRET_KEY"]


def test_a_path_may_begin_at_home(good: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    key = Path(good["PROXMOX_SSH_KEY_PATH"])
    monkeypatch.setenv("HOME", str(key.parent))
    monkeypatch.setenv("PROXMOX_SSH_KEY_PATH", "~/key")
    (cluster,) = settings.load(production=True, env_file=None).clusters
    assert cluster.ssh_key_path == key
    monkeypatch.setenv("PROXMOX_SSH_KEY_PATH", "~nobody-of-that-name/key")
    assert "no file at ~nobody-of-that-name/key" in _problems()[0]


def test_a_pinned_host_key_stands_for_the_known_hosts(good: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXMOX_SSH_KNOWN_HOSTS")
    monkeypatch.setenv("PROXMOX_SSH_HOST_KEY", "SHA256:abc")
    settings.load(production=True, env_file=None)


@pytest.mark.parametrize("user", ["portal@pve", "root@pve", "ROOT@PAM"])
def test_a_password_goes_with_the_tickets_user_only(
    good: dict[str, str], monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    """pvesh's tickets are root@pam's, and Proxmox takes no other user's cookie with them."""
    monkeypatch.setenv("PROXMOX_USER", user)
    settings.load(production=True, env_file=None)  # without a password the cookie is minted, for root@pam
    monkeypatch.setenv("PROXMOX_PASSWORD", "s3cret")
    (problem,) = _problems()
    assert problem.startswith("PROXMOX_USER: ")
    assert "root@pam" in problem
    assert "s3cret" not in problem
    monkeypatch.setenv("PROXMOX_USER", "root@pam")
    settings.load(production=True, env_file=None)


def test_secrets_do_not_print(good: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXMOX_PASSWORD", "s3cret")
    monkeypatch.setenv("PROXMOX_TOKEN_VALUE", "s3cret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://cyberlab:s3cret@db/cyberlab")
    loaded = settings.load(production=True, env_file=None)
    for text in (repr(loaded), str(loaded.portal), str(loaded.clusters[0])):
        assert SECRET not in text
        assert "s3cret" not in text


def test_the_commands_for_users_need_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////tmp/x")
    assert settings.load_portal(env_file=None).database_url == "sqlite:////tmp/x"
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    monkeypatch.setenv("BCRYPT_COST", "99")
    with pytest.raises(SettingsError, match="BCRYPT_COST"):
        settings.load_portal(env_file=None)
    monkeypatch.delenv("BCRYPT_COST")
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        settings.load_portal(env_file=None)


def test_check_needs_no_secret_but_the_cluster(good: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY")
    assert settings.load_for_check(env_file=None).clusters[0].ssh_host == "pve1.example.edu"
    assert settings.load_clusters(env_file=None)[0].ssh_host == "pve1.example.edu"
    monkeypatch.delenv("PROXMOX_SSH_HOST")
    for load in (settings.load_for_check, settings.load_clusters):
        with pytest.raises(SettingsError) as caught:
            load(env_file=None)
        assert _named(caught.value.problems) == ["PROXMOX_SSH_HOST"]
    monkeypatch.setenv("PROXMOX_SSH_PORT", "x")
    with pytest.raises(SettingsError, match="PROXMOX_SSH_PORT"):
        settings.load_clusters(env_file=None)


def test_a_file_gives_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("LISTEN_PORT=9000\nLOG_LEVEL=DEBUG\nTRUSTED_PROXIES=10.0.0.1, 10.0.0.2\nUNKNOWN=1\n")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    portal = settings.load_portal(env_file=file)
    assert (portal.listen_port, portal.log_level) == (9000, "ERROR")
    assert portal.trusted_proxies == ("10.0.0.1", "10.0.0.2")


def _documented() -> dict[str, str]:
    """Name -> default, from the tables."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|([^|]*)\|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a setting is documented twice"
    return {name: default.strip().strip("`") for name, default in rows}


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(_documented()) == set(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"DATABASE_URL", "TRUSTED_PROXIES", "FACTOR_KEYS"}))
def test_documented_defaults_are_the_real_ones(name: str) -> None:
    kind: type[BaseSettings] = ClusterSettings if name.startswith("PROXMOX_") else Settings
    default = getattr(kind(_env_file=None), name.removeprefix("PROXMOX_").lower())  # type: ignore[call-arg]
    if isinstance(default, bool):
        default = str(default).lower()
    elif isinstance(default, SecretStr):
        default = default.get_secret_value()
    assert _documented()[name] == ("" if default is None else str(default))
