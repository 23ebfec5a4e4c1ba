"""A shell to run commands in, and a cluster that knows two VMs."""

from __future__ import annotations

import io
import os
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cyberlab import cli
from cyberlab.db import users
from cyberlab.db.engine import Database
from cyberlab.db.models import User
from cyberlab.problems import Problem
from cyberlab.settings import ClusterSettings
from tests.test_settings import NAMES

SERVER = str(Path(__file__).resolve().parent.parent.parent / "server.py")


@dataclass
class Shell:
    """Runs commands in this process and keeps what they say."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    file: Path
    out: str = ""
    err: str = ""

    def run(self, *arguments: str, stdin: str = "") -> int:
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = cli.main(arguments)
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return status

    def done(self, *arguments: str, stdin: str = "") -> str:
        assert self.run(*arguments, stdin=stdin) == 0, self.err
        assert self.err == ""
        return self.out

    def refused(self, *arguments: str, stdin: str = "", status: int = 1) -> str:
        """The one line on stderr."""
        assert self.run(*arguments, stdin=stdin) == status
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


@pytest.fixture
def unmigrated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell with a database's address, cheap hashes and no cluster, whatever a .env beside server.py says."""
    for name in list(os.environ):
        if name.upper() in NAMES:
            monkeypatch.delenv(name)
    file = tmp_path / "var" / "cyberlab.sqlite3"
    for name, value in {
        "DATABASE_URL": f"sqlite:///{file}",
        "BCRYPT_COST": "4",
        "PROXMOX_CLUSTER": "pve",
        "PROXMOX_HOST": "",
        "PROXMOX_SSH_HOST": "",
        "PROXMOX_SSH_KEY_PATH": "",
        "SECRET_KEY": "",
    }.items():
        monkeypatch.setenv(name, value)
    return Shell(capsys, monkeypatch, file)


@pytest.fixture
def shell(unmigrated: Shell) -> Shell:
    unmigrated.done("migrate")
    return unmigrated


@pytest.fixture
def database(shell: Shell) -> Iterator[Database]:
    opened = Database(f"sqlite:///{shell.file}")
    yield opened
    opened.close()


def user_named(database: Database, name: str) -> User:
    """The user, who must be there."""
    user = database.call(users.by_name, name)
    assert user is not None
    return user


def environment() -> dict[str, str]:
    """What a process of its own gets: the settings chosen here, and what it needs to run."""
    return {name: value for name, value in os.environ.items() if name in NAMES or name in ("PATH", "HOME", "LANG")}


@dataclass
class Resource:
    node: str
    kind: str
    name: str | None


@dataclass
class Inventory:
    resources: Mapping[int, Resource]


class FakeCluster:
    """Knows VM 100; the real one is tested against the simulated node."""

    closed = 0
    failing: Problem | None = None

    def __init__(self, settings: ClusterSettings) -> None:
        assert settings.ssh_host == "pve1.example.edu"

    async def resources(self, max_age: float) -> Inventory:
        if FakeCluster.failing:
            raise FakeCluster.failing
        return Inventory({100: Resource("pve2", "qemu", "kali-07"), 101: Resource("pve3", "lxc", None)})

    def close(self) -> None:
        FakeCluster.closed += 1


@pytest.fixture
def cluster(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell with a configured cluster."""
    module = types.SimpleNamespace(Cluster=FakeCluster)
    monkeypatch.setitem(sys.modules, "cyberlab.proxmox.cluster", module)  # type: ignore[arg-type]
    monkeypatch.setattr(FakeCluster, "closed", 0)
    monkeypatch.setattr(FakeCluster, "failing", None)
    for name in ("key", "known_hosts"):
        (tmp_path / name).write_text("")
    monkeypatch.setenv("PROXMOX_HOST", "https://pve1.example.edu:8006")
    monkeypatch.setenv("PROXMOX_SSH_HOST", "pve1.example.edu")
    monkeypatch.setenv("PROXMOX_SSH_KEY_PATH", str(tmp_path / "key"))
    monkeypatch.setenv("PROXMOX_SSH_KNOWN_HOSTS", str(tmp_path / "known_hosts"))
    shell.done("user", "add", "anna")
    return shell
