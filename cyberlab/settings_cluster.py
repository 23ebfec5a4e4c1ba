"""How to reach one Proxmox VE cluster: from the environment, or as one of several in a file (settings_file.py)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_USER = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z][A-Za-z0-9._-]+")  # what a command on the node may hold
_TOKEN = re.compile(r"[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]+![A-Za-z][A-Za-z0-9._-]+")  # PVE/AccessControl.pm
_TICKET_USER = "root@pam"  # pvesh acts as nobody else, and Proxmox takes a ticket with its own user's cookie only


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` names each bad one and how to mend it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def http_url(value: str) -> str:
    """A web address without a path; raise ValueError."""
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
    return http_url(value) if value else value


def _fingerprint(value: str) -> str:
    plain = value.replace(":", "").strip().lower()
    if plain and not _FINGERPRINT.fullmatch(plain):
        raise ValueError("must be a SHA-256 fingerprint: 64 hex digits, with or without colons")
    return plain


def at_home(path: Path) -> Path:
    """The path with its ``~`` filled in, as a shell does it; as it is where nobody knows whose home that would be."""
    return Path(os.path.expanduser(path))


_File = Annotated[Path, AfterValidator(at_home)]


def _cluster_name(value: str) -> str:
    if not _CLUSTER.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and dashes, 32 at most")
    return value


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
    ssh_key_path: _File | None = None
    ssh_known_hosts: _File | None = None
    ssh_host_key: str = ""
    ssh_connections: int = Field(2, ge=1, le=4)
    tls_fingerprint: Annotated[str, AfterValidator(_fingerprint)] = ""
    tls_ca_file: _File | None = None
    tls_insecure_skip_verify: bool = False
    pvesh_timeout: Seconds = 20.0
    source: Literal["pvesh", "https"] = "pvesh"
    console_user: str = ""
    calls_at_once: int = Field(5, ge=1, le=32)
    warm_workers: int = Field(2, ge=0, le=4)
    _nodes: tuple[NodeSettings, ...] = PrivateAttr(())

    @property
    def nodes(self) -> tuple[NodeSettings, ...]:
        """The nodes that may be asked; one without a name where just `host` was given."""
        return self._nodes or (NodeSettings("", self),)

    def with_nodes(self, nodes: Iterable[tuple[str, Mapping[str, Any]]]) -> ClusterSettings:
        """The same cluster with these nodes: a name and what differs from the cluster's own, validated already."""
        made = tuple(NodeSettings(name, self.model_copy(update=dict(changes))) for name, changes in nodes)
        first = {"host": made[0].settings.host, "ssh_host": made[0].settings.ssh_host} if made else {}
        copy = self.model_copy(update=first)
        copy._nodes = made
        return copy

    @property
    def by_token(self) -> bool:
        """Whether an API token says who asks."""
        return self.source == "https" and bool(self.token_name)

    @property
    def needs_ssh(self) -> bool:
        """Whether anything is asked over SSH."""
        return self.source == "pvesh" or not (self.token_name or self.password.get_secret_value())

    def problems(self) -> list[str]:
        """What is missing or contradictory, one line each, named as in the environment."""
        found = []
        for node in self.nodes:
            found += [f"node {node.name}: {line}" if node.name else line for line in node.settings._node_problems()]
        found += self._user_problems()
        if self.needs_ssh:
            found += self._key_problems()
        if self.tls_ca_file is not None and not self.tls_ca_file.is_file():
            found.append(f"PROXMOX_TLS_CA_FILE: no file at {self.tls_ca_file}; copy /etc/pve/pve-root-ca.pem there")
        return found

    def _node_problems(self) -> list[str]:
        found = []
        if not self.host:
            found.append("PROXMOX_HOST: missing; set it to the node's web address, e.g. https://pve1.example.edu:8006")
        if not self.ssh_host and self.needs_ssh:
            found.append("PROXMOX_SSH_HOST: missing; set it to the same node as PROXMOX_HOST, e.g. pve1.example.edu")
        return found

    def _user_problems(self) -> list[str]:
        found = []
        password, token = self.password.get_secret_value(), self.token_value.get_secret_value()
        if "@" not in self.user.strip("@"):
            found.append("PROXMOX_USER: must be name@realm, e.g. root@pam")
        elif self.source == "pvesh" and password and self.user != _TICKET_USER:
            found.append(
                f"PROXMOX_USER: must be {_TICKET_USER} where PROXMOX_PASSWORD is set: consoles' tickets are made by "
                f"pvesh, as {_TICKET_USER}, and go with that user's cookie only. Or leave PROXMOX_PASSWORD out"
            )
        if self.console_user and not _USER.fullmatch(self.console_user):
            found.append("PROXMOX_CONSOLE_USER: must be name@realm, e.g. console@pve")
        elif self.console_user and self.source == "https":
            found.append(
                "PROXMOX_CONSOLE_USER: is for PROXMOX_SOURCE=pvesh; over HTTPS everything is asked as PROXMOX_USER, or "
                "as the token's user: leave it out, and give that one fewer rights"
            )
        elif self.console_user and password:
            found.append(
                "PROXMOX_PASSWORD: leave it out where PROXMOX_CONSOLE_USER is set: that user's cookie is made over SSH"
            )
        if self.source == "https" and bool(self.token_name) != bool(token):
            missing = "VALUE" if self.token_name else "NAME"
            found.append(f"PROXMOX_TOKEN_{missing}: missing; a token has a name (user@realm!name) and a value")
        elif self.by_token and not _TOKEN.fullmatch(self.token_name):
            found.append("PROXMOX_TOKEN_NAME: must be user@realm!name, as Proxmox shows it, e.g. portal@pve!cyberlab")
        if self.by_token and password:
            found.append("PROXMOX_PASSWORD: leave it out where PROXMOX_TOKEN_NAME is set, or the other way round")
        return found

    def _key_problems(self) -> list[str]:
        found = []
        if self.ssh_key_path is None:
            found.append("PROXMOX_SSH_KEY_PATH: missing; set it to a private key that the node accepts")
        elif not self.ssh_key_path.is_file():
            found.append(f"PROXMOX_SSH_KEY_PATH: no file at {self.ssh_key_path}; make a key with ssh-keygen -t ed25519")
        pinned = all(node.settings.ssh_host_key for node in self.nodes)
        if not pinned and self.ssh_known_hosts is None:
            found.append(
                "PROXMOX_SSH_KNOWN_HOSTS: missing; set it to a file made by ssh-keyscan (compare the fingerprint at "
                "the host), or pin the key itself with PROXMOX_SSH_HOST_KEY=SHA256:…"
            )
        elif self.ssh_known_hosts is not None and not self.ssh_known_hosts.is_file():
            found.append(f"PROXMOX_SSH_KNOWN_HOSTS: no file at {self.ssh_known_hosts}; make it with ssh-keyscan")
        return found


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node: its name in the cluster ('' if nobody said), and the cluster's settings with what is its own."""

    name: str
    settings: ClusterSettings


ClusterSettings.model_rebuild()


def lines_of(error: ValidationError, prefix: str) -> list[str]:
    """One line per bad value; never the value itself, which may be a secret."""
    return [
        f"{prefix}{'_'.join(str(part) for part in item['loc'][:1]).upper()}: "
        f"{item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False, include_input=False)
    ]
