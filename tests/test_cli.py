"""The shell commands: what they do, how they refuse, and that no failure which is to be expected is a traceback."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cyberlab import cli
from cyberlab.auth import passwords
from cyberlab.db import assignments, audit, epoch, users, vms
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, Role, User, VmKind
from cyberlab.problems import SSH_REFUSED, Problem
from cyberlab.settings import ClusterSettings
from tests.test_settings import NAMES

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct horse"


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


def _user(database: Database, name: str) -> User:
    user = database.call(users.by_name, name)
    assert user is not None
    return user


def _assignment(database: Database, name: str, vmid: int = 100) -> Assignment | None:
    vm = database.call(vms.by_ref, "pve", vmid)
    assert vm is not None
    return database.call(assignments.find, vm_id=vm.id, user_id=_user(database, name).id)


COMMANDS = [
    ["serve"],
    ["demo"],
    ["check"],
    ["migrate"],
    ["user"],
    *(["user", name] for name in ("add", "passwd", "disable", "enable", "list")),
    ["assign"],
    ["unassign"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_has_help(unmigrated: Shell, command: list[str]) -> None:
    said = unmigrated.done(*command, "--help")
    assert said.startswith(f"usage: {' '.join(['server.py', *command])}")
    assert not unmigrated.file.exists(), "help touches nothing"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["user"], ["user", "add"], ["assign", "anna", "100"]])
def test_wrong_arguments_are_explained(unmigrated: Shell, arguments: list[str]) -> None:
    assert unmigrated.run(*arguments) == 2
    assert "usage: server.py" in unmigrated.err


def test_migrate_makes_the_database_and_says_when_there_is_nothing_to_do(unmigrated: Shell) -> None:
    assert unmigrated.refused("user", "list") == "database is empty: run python server.py migrate"
    assert unmigrated.done("migrate") == "The database is at this version now.\n"
    assert unmigrated.done("migrate") == "The database is at this version already.\n"
    assert unmigrated.done("user", "list") == ""


def test_add_reads_a_password_from_stdin(shell: Shell, database: Database) -> None:
    said = shell.done(
        "user", "add", "Anna", "--role", "teacher", "--display-name", "Anna A.", "--email", "anna@example.edu",
        "--password-stdin", stdin=f"{PASSWORD}\nmore\n",
    )  # fmt: skip
    assert said == "Created anna (teacher).\n"
    anna = _user(database, "anna")
    assert (anna.role, anna.display_name, anna.email, anna.active) == (
        Role.TEACHER,
        "Anna A.",
        "anna@example.edu",
        True,
    )
    assert passwords.verify(PASSWORD, anna.password_hash or "")
    row = database.call(audit.page).rows[0]
    assert (row.action, row.object, row.actor_id) == ("user.create", "user anna", None)
    assert row.actor.startswith("cli ")


@pytest.mark.parametrize("option", [[], ["--generate"]])
def test_without_a_terminal_a_password_is_made_up_and_told_once(
    shell: Shell, database: Database, option: list[str]
) -> None:
    created, told = shell.done("user", "add", "anna", *option).splitlines()
    assert created == "Created anna (student)."
    password = told.removeprefix("Password: ")
    assert len(password) >= 16
    assert passwords.verify(password, _user(database, "anna").password_hash or "")


def test_add_refuses(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    assert "already is a user “ANNA”" in shell.refused("user", "add", "ANNA")
    assert "no spaces" in shell.refused("user", "add", "two words")
    assert "no mail address" in shell.refused("user", "add", "bert", "--email", "bert")
    for password, why in (("short", "at least 8"), ("x" * 73, "at most 72 bytes"), ("", "at least 8")):
        assert why in shell.refused("user", "add", "bert", "--password-stdin", stdin=password)
    assert database.call(users.page).total == 1


def test_passwd_sets_a_password(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    said = shell.done("user", "passwd", "anna", "--password-stdin", stdin=f"{PASSWORD}\r\n")
    assert said == "Set the password of anna; they have to sign in again.\n"
    assert passwords.verify(PASSWORD, _user(database, "anna").password_hash or "")
    assert "no user “bert”" in shell.refused("user", "passwd", "bert")


def test_disable_and_enable(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    before = database.call(epoch.current)
    assert shell.done("user", "disable", "anna") == "Disabled anna.\n"
    assert not _user(database, "anna").active
    assert database.call(epoch.current) > before, "what makes a running server end her consoles"
    assert shell.done("user", "enable", "anna") == "Enabled anna.\n"
    assert _user(database, "anna").active
    for command in ("disable", "enable"):
        assert "no user “bert”" in shell.refused("user", command, "bert")


def test_the_last_admin_cannot_be_disabled(shell: Shell) -> None:
    shell.done("user", "add", "boss", "--role", "admin")
    assert "last active admin" in shell.refused("user", "disable", "boss")


def test_list_shows_all_of_them(shell: Shell, database: Database) -> None:
    with database.transaction() as s:
        s.add_all(User(username=f"user{n:03}") for n in range(250))
    shell.done("user", "add", "carla", "--role", "teacher", "--display-name", "Carla C.")
    shell.done("user", "disable", "user007")
    lines = shell.done("user", "list").splitlines()
    assert len(lines) == 251
    assert lines[0].split() == ["carla", "teacher", "active", "local", "Carla", "C."]
    assert shell.done("user", "list", "user007").split() == ["user007", "student", "disabled", "local"]
    assert len(shell.done("user", "list", "--role", "teacher").splitlines()) == 1


def test_assign_with_a_node_makes_the_vm_and_asks_nobody(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    said = shell.done(
        "assign", "anna", "pve/100", "--node", "pve2", "--kind", "lxc", "--name", "kali", "--power", "--reset",
        "--from", "2026-10-01T08:00+00:00", "--until", "2026-12-18T20:00+00:00",
    )  # fmt: skip
    assert said.startswith("anna has pve/100 kali on pve2: console, power, reset, from 2026-10-01 ")
    row = _assignment(database, "anna")
    assert row is not None
    assert (row.can_power, row.can_reset) == (True, True)
    assert row.starts_at == datetime(2026, 10, 1, 8, tzinfo=UTC)
    assert row.ends_at == datetime(2026, 12, 18, 20, tzinfo=UTC)
    vm = database.call(vms.by_ref, "pve", 100)
    assert vm is not None
    assert (vm.kind, vm.node, vm.name) == (VmKind.LXC, "pve2", "kali")


def test_assign_again_changes_times_and_rights(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    shell.done("assign", "anna", "pve/100", "--node", "pve1", "--power")
    shell.done("assign", "anna", "pve/100", "--until", "2026-12-18")
    row = _assignment(database, "anna")
    assert row is not None
    assert not row.can_power
    assert row.starts_at is None
    # Until a day means until it is over, in local time.
    assert row.ends_at is not None
    assert row.ends_at.astimezone().replace(tzinfo=None) == datetime(2026, 12, 19)  # noqa: DTZ001
    assert [row.action for row in database.call(audit.page).rows][:2] == ["assignment.update", "assignment.create"]


def test_assign_refuses(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    assert "no user “bert”" in shell.refused("assign", "bert", "pve/100", "--node", "pve1")
    refusal = shell.refused("assign", "anna", "pve/100")
    assert "pve/100 is new here; say where it is with --node NODE" in refusal
    assert "PROXMOX_HOST: missing" in refusal
    assert "a node's name" in shell.refused("assign", "anna", "pve/100", "--node", "pve1; reboot")
    times = ("--from", "2026-10-02", "--until", "2026-10-01")
    assert "ends after it starts" in shell.refused("assign", "anna", "pve/100", "--node", "pve1", *times)
    assert database.call(vms.page).total == 0, "all or nothing"
    for bad in ("pve", "pve/", "/100", "pve/99", "PVE/100", "pve/100/1", "pve/1000000000", "pve/１００"):
        assert shell.run("assign", "anna", bad) == 2
        assert "is not CLUSTER/VMID" in shell.err
    for bad in ("tomorrow", "2026-13-01", ""):
        assert shell.run("assign", "anna", "pve/100", "--until", bad) == 2
        assert "is no time" in shell.err


def test_unassign(shell: Shell, database: Database) -> None:
    for name in ("anna", "bert"):
        shell.done("user", "add", name)
        shell.done("assign", name, "pve/100", "--node", "pve1")
    assert shell.done("unassign", "anna", "pve/100") == "Took pve/100 from anna.\n"
    assert _assignment(database, "anna") is None
    assert _assignment(database, "bert") is not None
    for vm in ("pve/100", "pve/101"):
        assert f"{vm} is not assigned to anna" in shell.refused("unassign", "anna", vm)
    assert "no user “carl”" in shell.refused("unassign", "carl", "pve/100")


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


def test_a_new_vm_is_looked_up_on_the_cluster_once(cluster: Shell) -> None:
    assert cluster.done("assign", "anna", "pve/100") == "anna has pve/100 kali-07 on pve2: console.\n"
    assert cluster.done("assign", "anna", "pve/101") == "anna has pve/101 on pve3: console.\n"
    cluster.done("assign", "anna", "pve/100", "--power")
    assert FakeCluster.closed == 2


def test_what_the_cluster_does_not_have_is_said(cluster: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.refused("assign", "anna", "pve/999") == "the cluster pve has no VM 999"
    assert "no cluster “west” is configured" in cluster.refused("assign", "anna", "west/100")
    monkeypatch.setattr(FakeCluster, "failing", Problem(SSH_REFUSED, "pve1.example.edu:22"))
    refusal = cluster.refused("assign", "anna", "pve/100")
    assert "--node NODE (the cluster cannot be asked: ssh-refused: pve1.example.edu:22)" in refusal
    assert FakeCluster.closed == 2


def test_bad_settings_are_listed_by_name(unmigrated: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCRYPT_COST", "99")
    monkeypatch.setenv("LISTEN_PORT", "99999")
    assert unmigrated.run("user", "list") == 2
    assert sorted(line.partition(":")[0] for line in unmigrated.err.splitlines()) == ["BCRYPT_COST", "LISTEN_PORT"]


def test_serve_lists_settings_and_the_database_at_once(unmigrated: Shell) -> None:
    assert unmigrated.run("serve") == 2
    named = [line.partition(":")[0] for line in unmigrated.err.splitlines()]
    assert named[0] == "SECRET_KEY"
    assert "PROXMOX_HOST" in named
    assert unmigrated.err.splitlines()[-1] == "DATABASE_URL: database is empty: run python server.py migrate"


def test_serve_refuses_an_unmigrated_database_alone(cluster: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "x" * 40)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{cluster.file}.other")
    assert "run python server.py migrate" in cluster.refused("serve", status=2)


def test_a_database_that_cannot_be_opened_is_one_line(unmigrated: Shell) -> None:
    unmigrated.file.parent.write_text("a file where the folder should be")
    for command in (["migrate"], ["user", "list"]):
        assert "cannot be opened: " in unmigrated.refused(*command)
    assert unmigrated.run("serve") == 2
    assert "cannot be opened: " in unmigrated.err.splitlines()[-1]


def test_a_server_that_cannot_be_reached_is_one_line(
    unmigrated: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://anna:s3cret@/x?host={tmp_path}")
    for command in (["migrate"], ["user", "list"]):
        refusal = unmigrated.refused(*command)
        assert refusal.startswith("database cannot be")
        assert "s3cret" not in refusal


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in NAMES or name in ("PATH", "HOME", "LANG")}


def _terminal(shell: Shell, typed: list[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; type each answer when its question has come."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py"), *arguments],
        stdin=other, stdout=other, stderr=other, cwd="/", env=_environment(), start_new_session=True,
    )  # fmt: skip
    os.close(other)
    seen = ""
    try:
        for question, answer in typed:
            start = len(seen)
            while question not in seen[start:]:
                seen += os.read(main, 4096).decode()
            os.write(main, f"{answer}\n".encode())
        while True:
            try:
                part = os.read(main, 4096).decode()
            except OSError:  # Linux says EIO when the other end is closed
                break
            if not part:
                break
            seen += part
        return process.wait(30), seen
    finally:
        process.kill()
        process.wait()
        os.close(main)


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(shell: Shell, database: Database) -> None:
    answers = [
        ("Password: ", "short"),
        ("Password: ", PASSWORD),
        ("Once more: ", "something else"),
        ("Password: ", PASSWORD),
        ("Once more: ", PASSWORD),
    ]
    status, seen = _terminal(shell, answers, "user", "add", "anna", "--role", "admin")
    assert status == 0, seen
    assert "at least 8 characters" in seen
    assert "the two are not the same" in seen
    assert "Created anna (admin)." in seen
    assert PASSWORD not in seen
    assert passwords.verify(PASSWORD, _user(database, "anna").password_hash or "")


def test_a_reader_that_leaves_is_no_error(shell: Shell, database: Database) -> None:
    with database.transaction() as s:
        s.add_all(User(username=f"user{n:05}", display_name="x" * 200) for n in range(2000))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py"), "user", "list"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", env=_environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"user00000")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 1


@pytest.fixture
def vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server in Vienna, where summer time ends on 25 October 2026."""
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_day_lasts_to_its_local_midnight_also_when_it_has_25_hours(
    vienna: None, shell: Shell, database: Database
) -> None:
    shell.done("user", "add", "anna")
    shell.done("assign", "anna", "pve/100", "--node", "pve1", "--from", "2026-10-25", "--until", "2026-10-25")
    row = _assignment(database, "anna")
    assert row is not None
    assert row.starts_at == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert row.ends_at == datetime(2026, 10, 25, 23, tzinfo=UTC)
