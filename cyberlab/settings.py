"""Every setting, read from the environment or ``.env``; a bad one stops the start with all problems at once.

docs/settings.md documents each by name; a test fails on one that is missing there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cyberlab import settings_file
from cyberlab.settings_cluster import ClusterSettings, Seconds, SettingsError, http_url, lines_of

__all__ = [
    "ROOT",
    "ClusterSettings",
    "Configuration",
    "Settings",
    "SettingsError",
    "load",
    "load_clusters",
    "load_for_check",
    "load_portal",
]

ROOT = Path(__file__).resolve().parent.parent
DEMO_SECRET = "demo-secret-for-the-simulated-node-only"  # noqa: S105 - refused by `serve`, that is its purpose


def _split(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _or_none(value: object) -> object:
    return value or None


class Settings(BaseSettings):
    """The portal's own settings."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    listen_address: str = "127.0.0.1"
    listen_port: int = Field(8080, ge=0, le=65_535)
    public_url: Annotated[str, AfterValidator(http_url)] = "http://127.0.0.1:8080"
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ("127.0.0.1", "::1")
    secret_key: SecretStr = SecretStr("")
    database_url: str = Field(f"sqlite:///{ROOT / 'var' / 'cyberlab.sqlite3'}", repr=False)  # may hold a password
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    clusters_config: Annotated[Path | None, BeforeValidator(_or_none)] = None

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


def load_clusters(*, env_file: Path | None = ROOT / ".env") -> tuple[ClusterSettings, ...]:
    """Read how to reach the clusters, and nothing else; raise SettingsError with every problem at once."""
    clusters, found = _clusters(env_file)
    if found:
        raise SettingsError(found)
    return clusters


def _load(problems: Callable[[Settings], list[str]], env_file: Path | None) -> Configuration:
    found: list[str] = []
    portal = None
    try:
        portal = Settings(_env_file=env_file)
        found += problems(portal)
    except ValidationError as error:
        found += lines_of(error, "")
    clusters, more = _clusters(env_file)
    found += more
    if found or portal is None:
        raise SettingsError(found)
    return Configuration(portal, clusters)


class _Where(BaseSettings):
    """Where the clusters stand; read by itself, as the other settings may be bad."""

    model_config = SettingsConfigDict(extra="ignore")

    clusters_config: Annotated[Path | None, BeforeValidator(_or_none)] = None
    proxmox_host: str = ""


def _clusters(env_file: Path | None) -> tuple[tuple[ClusterSettings, ...], list[str]]:
    """The clusters of the file, or the one of the environment; and what is wrong with them."""
    where = _Where(_env_file=env_file)
    if where.clusters_config is not None:
        found = []
        if where.proxmox_host:
            found.append("PROXMOX_HOST: set beside CLUSTERS_CONFIG; put that cluster into the file as well")
        try:
            return settings_file.read(where.clusters_config), found
        except SettingsError as error:
            return (), found + error.problems
    try:
        cluster = ClusterSettings(_env_file=env_file)
    except ValidationError as error:
        return (), lines_of(error, "PROXMOX_")
    return (cluster,), cluster.problems()


def load_portal(*, env_file: Path | None = ROOT / ".env") -> Settings:
    """Read what commands without a cluster or a browser need (users, migrations): PROXMOX_* and SECRET_KEY may lack.

    Raises SettingsError with every problem at once.
    """
    try:
        portal = Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(lines_of(error, "")) from None
    if found := portal.database_problems():
        raise SettingsError(found)
    return portal
