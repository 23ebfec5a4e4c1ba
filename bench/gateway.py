"""The contender: the portal itself, `server.py serve` with a database of its own, and a cluster that answers at once.

Everything is real (sign-in, authorization, the console log, TLS verification, both RFB handshakes) but Proxmox's
tickets, whose price is Proxmox's. Prints the port and the account as one line of JSON; ends on SIGTERM.

    python bench/gateway.py DIRECTORY UPSTREAM_PORT CA_FILE MACHINES
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pydantic import SecretStr

from cyberlab import app
from cyberlab.auth import passwords
from cyberlab.console.fairness import FairLoop
from cyberlab.db import users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, Role, Vm
from cyberlab.settings import Configuration, Settings

CLUSTER = "bench"
FIRST_VMID = 1000
ACTOR = Actor(None, "bench")


@dataclass
class Trust:
    """What the certificate is checked against."""

    context: ssl.SSLContext
    server_names: tuple[str, ...] = ("127.0.0.1",)
    fingerprint: str = ""


class TicketsAside:
    """A cluster whose tickets cost nothing: what is measured is the gateway."""

    def __init__(self, port: int, ca_file: str) -> None:
        """``port``: where the upstream listens on 127.0.0.1; ``ca_file``: who signed its certificate."""
        self.name = CLUSTER
        self.settings = SimpleNamespace(host=f"https://127.0.0.1:{port}", cluster=CLUSTER)
        self._trust = Trust(ssl.create_default_context(cafile=ca_file))
        self._ticket = SimpleNamespace(
            node_host="bench", port=5900, ticket="PVEVNC:bench", password="password", user="root@pam", cert="", host=""
        )

    async def auth_cookie(self) -> str:
        return "PVE:bench"

    def forget_cookie(self, cookie: str) -> None:
        pass

    def headers(self, cookie: str) -> tuple[tuple[str, str], ...]:
        return (("Cookie", f"PVEAuthCookie={cookie}"),)

    async def console_ticket(self, node: str, kind: str, vmid: int, caller: Any = None) -> Any:
        return self._ticket

    async def tls(self, ticket: Any = None) -> Trust:
        return self._trust

    def websocket_path(self, node: str, kind: str, vmid: int, ticket: Any) -> str:
        return f"/api2/json/nodes/{node}/{kind}/{vmid}/vncwebsocket?port=5900&vncticket=PVEVNC%3Abench"

    async def locate(self, kind: str, vmid: int) -> str | None:
        return None

    async def explain(self, node: str, kind: str, vmid: int) -> None:
        return None

    def close(self) -> None:
        pass


def fill(database: Database, username: str, password: str, machines: int) -> int:
    """Migrate, add one student and their machines; return the id of the first, the others follow it."""
    database.upgrade()
    with database.transaction() as s:
        user = users.create(
            s, ACTOR, username=username, role=Role.STUDENT, password_hash=passwords.hash_password(password, 4)
        )
        # By the thousand, so not through the queries that write an audit row each.
        made = [
            Vm(cluster=CLUSTER, vmid=FIRST_VMID + number, node="bench", name=f"vm{number}")
            for number in range(machines)
        ]
        s.add_all(made)
        s.flush()
        s.add_all([Assignment(vm_id=vm.id, user_id=user.id) for vm in made])
        return made[0].id


async def serve(server: app.Server, account: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    try:
        await server.start()
        print(json.dumps({"port": int(server.address.rpartition(":")[2]), **account}), flush=True)
        await stopping.wait()
    finally:
        await server.stop()


def main() -> None:
    directory, port, ca_file, machines = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    settings = Settings(
        _env_file=None,
        listen_port=0,
        database_url=f"sqlite:///{directory / 'gateway.sqlite3'}",
        secret_key=SecretStr(secrets.token_urlsafe(48)),
        bcrypt_cost=int(os.environ.get("BCRYPT_COST", "4")),
        console_max=20_000,
        console_max_per_user=20_000,
    )
    account: dict[str, Any] = {"username": "student", "password": secrets.token_urlsafe(12)}
    database = Database(settings.database_url)
    account["first"] = fill(database, account["username"], account["password"], machines)
    database.close()
    app._log_to_stderr(settings.log_level)
    server = app.Server(Configuration(settings, ()), {CLUSTER: TicketsAside(port, ca_file)})
    with asyncio.Runner(loop_factory=FairLoop) as runner:
        runner.run(serve(server, account))


if __name__ == "__main__":
    main()
