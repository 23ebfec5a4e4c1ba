"""`server.py demo`: a simulated Proxmox cluster, people, machines and the portal, for whoever wants to see it run."""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from cyberlab import app, settings
from cyberlab.auth import passwords
from cyberlab.cli_common import CommandError
from cyberlab.db import assignments, groups, holdings, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict
from cyberlab.db.models import MembershipRole, Role, User, Vm, VmKind

STATE = settings.ROOT / "var" / "demo"
_READY_SECONDS = 30.0
_ACCOUNTS = (
    ("student", Role.STUDENT, "Ada Student"),
    ("teacher", Role.TEACHER, "Tom Teacher"),
    ("admin", Role.ADMIN, "Ann Admin"),
)
_NODE = "cluster.json"  # in the state directory while a demo runs: where its cluster is, for `check --demo`
_CLASS = "Network security"
# VMIDs of the simulated cluster; the third has a snapshot to go back to.
_STUDENTS, _CLASSES, _RESETTABLE, _SNAPSHOT = (100, 101, 102, 300), 105, 103, "lesson1"
_ACTOR = Actor(None, "demo")


def run(state: Path = STATE) -> int:
    """Run until Ctrl-C; everything that was started ends with it."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _simulator(state) as node:
            configuration = _configure(state, node["environment"])
            accounts = _accounts(state)
            _fill(configuration, accounts, node["vms"])
            return app.serve(configuration, ready=lambda address: _announce(address, accounts))
    except settings.SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


@contextmanager
def _simulator(state: Path) -> Iterator[dict[str, Any]]:
    """The simulated cluster in a process of its own, which ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cyberlab.simulator", "--state", str(state / "proxmox"), "--with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=settings.ROOT,
        start_new_session=True,  # Ctrl-C is for us; we end it in order
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        node = json.loads(_first_line(process))
        (state / _NODE).write_text(json.dumps(node["environment"]))
        yield node
    finally:
        (state / _NODE).unlink(missing_ok=True)
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What the simulator says when it is ready; raise SystemExit when it does not come up."""
    assert process.stdout is not None
    descriptor, line, until = process.stdout.fileno(), b"", time.monotonic() + _READY_SECONDS
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        chunk = os.read(descriptor, 65_536) if ready else b""
        if not chunk:
            raise SystemExit("the simulated Proxmox node did not come up; what it said stands above")
        line += chunk
    return line


def _configure(state: Path, environment: dict[str, str]) -> settings.Configuration:
    """The demo's settings: the simulator's, and its own database and secret; LISTEN_PORT and the like still count."""
    port = os.environ.get("LISTEN_PORT", "8080")
    defaults = {
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": f"sqlite:///{state / 'cyberlab.sqlite3'}",
        "BCRYPT_COST": "10",
        "LOG_LEVEL": "WARNING",  # the address and the accounts stay in sight
    }
    _set_cluster(environment)
    os.environ["SECRET_KEY"] = settings.DEMO_SECRET
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    return settings.load(production=False, env_file=None)


def _set_cluster(environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("PROXMOX_")]:
        del os.environ[name]  # a real cluster's settings must not mix with the simulated one's
    os.environ.pop("CLUSTERS_CONFIG", None)
    os.environ.update(environment)


def runs(state: Path = STATE) -> bool:
    """Whether a demo runs here (or was killed)."""
    return (state / _NODE).exists()


def load_for_check(state: Path = STATE) -> settings.Configuration:
    """The settings under which a demo that runs finds its cluster; raise CommandError if none does."""
    try:
        environment = json.loads((state / _NODE).read_text())
    except FileNotFoundError:
        raise CommandError("no demo runs here; start it with make run, or python server.py demo") from None
    _set_cluster(environment)
    return settings.load_for_check(env_file=None)


def _accounts(state: Path) -> dict[str, str]:
    """Name -> password; made at the first start and kept, so that nobody signs in with a published password."""
    file = state / "accounts.json"
    if file.exists():
        known = json.loads(file.read_text())
        if isinstance(known, dict) and set(known) == {name for name, _, _ in _ACCOUNTS}:
            return known
    made = {name: secrets.token_urlsafe(9) for name, _, _ in _ACCOUNTS}
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(made, out)
    return made


def _fill(configuration: settings.Configuration, accounts: dict[str, str], machines: list[dict[str, Any]]) -> None:
    """People, machines, a class and assignments, as far as they are not there yet."""
    database = Database(configuration.portal.database_url)
    try:
        if database.head_problem() is not None:
            database.upgrade()
        with database.transaction() as s:
            people = {
                name: _person(s, name, role, display_name, accounts[name], configuration.portal.bcrypt_cost)
                for name, role, display_name in _ACCOUNTS
            }
            known = {
                machine["vmid"]: vms.ensure(
                    s, _ACTOR, cluster=configuration.clusters[0].cluster, vmid=machine["vmid"],
                    kind=VmKind(machine["kind"]), node=machine["node"], name=machine["name"],
                )
                for machine in machines
            }  # fmt: skip
            _assign(s, people, known)
    finally:
        database.close()


def _person(s: Session, name: str, role: Role, display_name: str, password: str, cost: int) -> User:
    user = users.by_name(s, name)
    if user is None:
        return users.create(
            s, _ACTOR, username=name, role=role, display_name=display_name,
            password_hash=passwords.hash_password(password, cost),
        )  # fmt: skip
    if not passwords.verify(password, user.password_hash or ""):
        users.set_password(s, _ACTOR, user.id, passwords.hash_password(password, cost))
    return user


def _assign(s: Session, people: dict[str, User], machines: dict[int, Vm]) -> None:
    """The student's own machines (three that run, one to switch on, one to reset), and one for the whole class."""
    try:
        group = groups.create(s, _ACTOR, name=_CLASS)
    except Conflict:
        return  # a later start: whatever was changed since stays as it is
    groups.add_member(s, _ACTOR, group.id, people["student"].id, MembershipRole.STUDENT)
    groups.add_member(s, _ACTOR, group.id, people["teacher"].id, MembershipRole.TEACHER)
    for vmid in _STUDENTS:
        assignments.create(s, _ACTOR, vm_id=machines[vmid].id, user_id=people["student"].id, can_power=True)
    assignments.create(s, _ACTOR, vm_id=machines[_CLASSES].id, group_id=group.id)
    assignments.create(
        s, _ACTOR, vm_id=machines[_RESETTABLE].id, user_id=people["student"].id, via_group_id=group.id,
        can_power=True, can_reset=True,
    )  # fmt: skip
    holdings.name_snapshot(s, _ACTOR, [machines[_RESETTABLE].id], _SNAPSHOT)


def _announce(address: str, accounts: dict[str, str]) -> None:
    print(f"\nCyberLab is running at {address}\n")
    for name, password in accounts.items():
        print(f"{name} / {password}")
    print("\nEverything here is simulated but real: sign in, open a machine, type. Ctrl-C ends all of it.", flush=True)
