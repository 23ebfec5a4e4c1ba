"""Every setting, read from the environment or ``.env``; a bad one stops the start with all problems at once.

docs/settings.md documents each by name; a test fails on one that is missing there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
DEMO_SECRET = "demo-secret-for-the-simulated-node-only"  # noqa: S105 - refused by `serve`, that is its purpose
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TICKET_USER = "root@pam"  # pvesh acts as nobody else, and Proxmox takes a ticket with its own user's cookie only


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` names each bad one and how to mend it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none; the message would repeat it
        whole = False
    if not whole or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must be scheme://host[:port] with nothing behind it, e.g. https://pve1.example.edu:8006")
    return value.rstrip("/")


def _https_url(value: str) -> str:
    if value and not value.startswith("https://"):
        raise ValueError("must begin with https://, e.g. https://pve1.example.edu:8006")
    return _http_url(value) if value else value


def _fingerprint(value: str) -> str:
    plain = value.replace(":", "").strip().lower()
    if plain and not _FINGERPRINT.fullmatch(plain):
        raise ValueError("must be a SHA-256 fingerprint: 64 hex digits, with or without colons")
    return plain


def _cluster_name(value: str) -> str:
    if not _CLUSTER.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and dashes, 32 at most")
    return value


def _split(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _or_none(value: object) -> object:
    return value or None


Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]


class ClusterSettings(BaseSettings):
    """How to reach one Proxmox VE cluster."""

    model_config = SettingsConfigDict(env_prefix="PROXMOX_", extra="ignore", frozen=True)

    cluster: Annotated[str, AfterValidator(_cluster_name)] = "pve"
    host: Annotated[str, AfterValidator(_https_url)] = ""
    user: str = "root@pam"
    password: SecretStr = SecretStr("")
    token_name: str = ""
    token_value: SecretStr = SecretStr("")
    ssh_host: str = ""
    ssh_port: int = Field(22, ge=1, le=65_535)
    ssh_user: str = "root"
    ssh_key_path: Path | None = None
    ssh_known_hosts: Path | None = None
    ssh_host_key: str = ""
    ssh_connections: int = Field(2, ge=1, le=16)
    tls_fingerprint: Annotated[str, AfterValidator(_fingerprint)] = ""
    tls_ca_file: Path | None = None
    tls_insecure_skip_verify: bool = False
    pvesh_timeout: Seconds = 20.0

    def problems(self) -> list[str]:
        """What is missing or contradictory, one line each, named as in the environment."""
        found = []
        if not self.host:
            found.append("PROXMOX_HOST: missing; set it to the node's web address, e.g. https://pve1.example.edu:8006")
        if not self.ssh_host:
            found.append("PROXMOX_SSH_HOST: missing; set it to the same node as PROXMOX_HOST, e.g. pve1.example.edu")
        if "@" not in self.user.strip("@"):
            found.append("PROXMOX_USER: must be name@realm, e.g. root@pam")
        elif self.password.get_secret_value() and self.user != _TICKET_USER:
            found.append(
                f"PROXMOX_USER: must be {_TICKET_USER} where PROXMOX_PASSWORD is set: consoles' tickets are made by "
                f"pvesh, as {_TICKET_USER}, and go with that user's cookie only. Or leave PROXMOX_PASSWORD out"
            )
        if self.ssh_key_path is None:
            found.append("PROXMOX_SSH_KEY_PATH: missing; set it to a private key that the node accepts")
        elif not self.ssh_key_path.is_file():
            found.append(f"PROXMOX_SSH_KEY_PATH: no file at {self.ssh_key_path}; make a key with ssh-keygen -t ed25519")
        if not self.ssh_host_key and self.ssh_known_hosts is None:
            found.append(
                "PROXMOX_SSH_KNOWN_HOSTS: missing; set it to a file made by ssh-keyscan (compare the fingerprint at "
                "the host), or pin the key itself with PROXMOX_SSH_HOST_KEY=SHA256:…"
            )
        elif self.ssh_known_hosts is not None and not self.ssh_known_hosts.is_file():
            found.append(f"PROXMOX_SSH_KNOWN_HOSTS: no file at {self.ssh_known_hosts}; make it with ssh-keyscan")
        if self.tls_ca_file is not None and not self.tls_ca_file.is_file():
            found.append(f"PROXMOX_TLS_CA_FILE: no file at {self.tls_ca_file}; copy /etc/pve/pve-root-ca.pem there")
        return found


class Settings(BaseSettings):
    """The portal's own settings."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    listen_address: str = "127.0.0.1"
    listen_port: int = Field(8080, ge=0, le=65_535)
    public_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8080"
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ("127.0.0.1", "::1")
    secret_key: SecretStr = SecretStr("")
    database_url: str = Field(f"sqlite:///{ROOT / 'var' / 'cyberlab.sqlite3'}", repr=False)  # may hold a password
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    auth_config: Annotated[Path | None, BeforeValidator(_or_none)] = None
    factor_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)] = ()
    bcrypt_cost: int = Field(12, ge=4, le=16)
    login_idle: Seconds = 8 * 3600.0
    login_lifetime: Seconds = 7 * 86_400.0

    console_handshake_timeout: Seconds = 8.0
    console_ping_interval: Seconds = 30.0
    console_upstream_keepalive: Seconds = 300.0
    console_stuck_timeout: Seconds = 60.0
    console_max: int = Field(2000, ge=1)
    console_max_per_user: int = Field(20, ge=1)
    inventory_max_age: Seconds = 10.0
    audit_keep_days: int = Field(730, ge=0, le=36_500)  # 0: for good
    shutdown_grace: Seconds = 5.0

    @property
    def secure(self) -> bool:
        """Whether browsers reach the portal over TLS (decides HSTS and ``__Host-`` cookies)."""
        return self.public_url.startswith("https://")

    def problems(self, *, production: bool) -> list[str]:
        """What stops a start; ``production`` also refuses the demo's secret."""
        found = []
        secret = self.secret_key.get_secret_value()
        if production and secret in ("", DEMO_SECRET):
            found.append(
                "SECRET_KEY: missing or the demo's; set it to the output of: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        elif len(secret) < 32:
            found.append("SECRET_KEY: shorter than 32 characters; make one with secrets.token_urlsafe(48)")
        return found + self.factor_problems() + self.database_problems()

    def factor_problems(self) -> list[str]:
        """What is wrong with FACTOR_KEYS."""
        if any(len(key.get_secret_value()) < 32 for key in self.factor_keys):
            return ["FACTOR_KEYS: a key is shorter than 32 characters; make one with secrets.token_urlsafe(48)"]
        return []

    def database_problems(self) -> list[str]:
        """What is wrong with DATABASE_URL; all that the shell commands for users and migrations need."""
        if not self.database_url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            return ["DATABASE_URL: must begin with sqlite:/// or postgresql://, e.g. sqlite:////var/lib/cyberlab/db"]
        if self.database_url.rstrip("/") == "sqlite:" or ":memory:" in self.database_url:
            return ["DATABASE_URL: names no file; a database in memory would be another one for every thread"]
        return []


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that was set: the portal's part and each cluster's."""

    portal: Settings
    clusters: tuple[ClusterSettings, ...]


def load(*, production: bool, env_file: Path | None = ROOT / ".env") -> Configuration:
    """Read the settings; raise SettingsError with every problem at once, by name, with its mend."""
    return _load(lambda portal: portal.problems(production=production), env_file)


def load_for_check(*, env_file: Path | None = ROOT / ".env") -> Configuration:
    """Read what a look at the cluster needs: load(), but SECRET_KEY may lack."""
    return _load(Settings.database_problems, env_file)


def load_cluster(*, env_file: Path | None = ROOT / ".env") -> ClusterSettings:
    """Read how to reach the cluster, and nothing else; raise SettingsError with every problem at once."""
    try:
        cluster = ClusterSettings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(_lines(error, "PROXMOX_")) from None
    if found := cluster.problems():
        raise SettingsError(found)
    return cluster


def _load(problems: Callable[[Settings], list[str]], env_file: Path | None) -> Configuration:
    found: list[str] = []
    portal = cluster = None
    try:
        portal = Settings(_env_file=env_file)
        found += problems(portal)
    except ValidationError as error:
        found += _lines(error, "")
    try:
        cluster = ClusterSettings(_env_file=env_file)
        found += cluster.problems()
    except ValidationError as error:
        found += _lines(error, "PROXMOX_")
    if found or portal is None or cluster is None:
        raise SettingsError(found)
    return Configuration(portal, (cluster,))


def load_portal(*, env_file: Path | None = ROOT / ".env") -> Settings:
    """Read what commands without a cluster or a browser need (users, migrations): PROXMOX_* and SECRET_KEY may lack.

    Raises SettingsError with every problem at once.
    """
    try:
        portal = Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(_lines(error, "")) from None
    if found := portal.database_problems():
        raise SettingsError(found)
    return portal


def _lines(error: ValidationError, prefix: str) -> list[str]:
    """One line per bad value; never the value itself, which may be a secret."""
    return [
        f"{prefix}{'_'.join(str(part) for part in item['loc'][:1]).upper()}: "
        f"{item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False, include_input=False)
    ]
