"""`make bench-pages`: how long each page takes, and how many statements it costs, on a university's worth of rows.

    .venv/bin/python bench/pages.py [--users 10000] [--assignments 50000] [--rounds 40] [--database URL] [--report]

10,000 users in 200 classes, 5,000 machines, 50,000 assignments, 100,000 audit rows and 50,000 console sessions. The
portal runs in this process, asked over HTTP one request at a time; p50 and p95 are of a request's whole time. Each page
is asked `--rounds` times, in turn with the others, after one round that is not counted. `--report` writes the table
into docs/performance-pages.md.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, event, insert
from tornado.httpclient import AsyncHTTPClient
from tornado.routing import URLSpec

from cyberlab.app import Server
from cyberlab.db import logins
from cyberlab.db.audit import Actor
from cyberlab.db.models import (
    Assignment,
    AuditEvent,
    ConsoleSession,
    Group,
    Membership,
    MembershipRole,
    Role,
    User,
    Vm,
    VmKind,
)
from cyberlab.db.text import fold
from cyberlab.handlers.routes import routes
from cyberlab.settings import Configuration, Settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance-pages.md"
BEGIN, END = "<!-- pages: begin -->", "<!-- pages: end -->"
NOW = datetime.now(UTC).replace(microsecond=0)
ACTOR = Actor(None, "bench")
# What makes its lists long: searches, filters, a page far in.
FILTERED = {
    "/admin/users": ("?q=user0042", "?role=teacher", "?page=150"),
    "/admin/vms": ("?q=kali-42", "?state=running", "?show=unassigned", "?class=7&node=pve1", "?page=50"),
    "/admin/assignments": ("?q=user0042", "?page=600"),
    "/admin/audit": ("?q=user0042", "?actor=user0042&action=login.success", "?page=1000"),
    "/admin/consoles/past": ("?q=user0042", "?page=500"),
    "/admin/logins": ("?q=user0042",),
}
SKIPPED = re.compile(r"/export|/suggest|states$|\.csv$|/picture|/openapi|/live$|/facts$|/audit/file$")


class Statements:
    """Counts what is sent to the database."""

    def __init__(self) -> None:
        self.count = 0
        event.listen(Engine, "before_cursor_execute", self._note)

    def _note(self, *_: Any) -> None:
        self.count += 1


def fill(server: Server, users: int, assignments: int) -> dict[str, str]:
    """Write the rows; return the tokens of an admin, a teacher and a student."""
    chance = random.Random(7)  # the same rows each time
    machines, classes = users // 2, users // 50
    with server.database.transaction() as s:

        def write(model: type[Any], rows: list[dict[str, Any]]) -> None:
            for start in range(0, len(rows), 5000):
                s.execute(insert(model), rows[start : start + 5000])

        names = [f"user{number:05d}" for number in range(users)]
        roles = [Role.ADMIN] * 2 + [Role.TEACHER] * classes
        roles += [Role.STUDENT] * (users - len(roles))
        write(
            User,
            [
                {
                    "id": number + 1, "backend": "campus", "subject": name, "username": name,
                    "role": roles[number], "display_name": f"Ada {name.title()} Ørsted", "active": number % 50 != 49,
                    "search_text": fold(name),
                }
                for number, name in enumerate(names)
            ],
        )  # fmt: skip
        titles = [f"Network security {number:03d}" for number in range(classes)]
        write(Group, [{"id": n + 1, "name": title, "search_text": fold(title)} for n, title in enumerate(titles)])
        members = {(number % classes + 1, number + 1): MembershipRole.STUDENT for number in range(2 + classes, users)}
        members |= {(number + 1, number + 3): MembershipRole.TEACHER for number in range(classes)}
        write(Membership, [{"group_id": g, "user_id": u, "role": role} for (g, u), role in members.items()])
        write(
            Vm,
            [
                {
                    "id": n + 1, "cluster": "pve", "vmid": 100 + n, "kind": VmKind.QEMU, "node": f"pve{n % 8 + 1}",
                    "name": f"kali-{n:04d}", "status": "running" if n % 3 else "stopped", "pool": f"pool{n % 20}",
                    "tags": f";netsec;term{n % 4};", "seen_at": NOW, "search_text": fold(f"kali-{n:04d} pve {100 + n}"),
                }
                for n in range(machines)
            ],
        )  # fmt: skip
        wanted: dict[tuple[int, int], dict[str, Any]] = {}
        while len(wanted) < assignments:
            vm, user = chance.randrange(machines) + 1, chance.randrange(2 + classes, users) + 1
            start = NOW - timedelta(days=chance.randrange(90))
            via = (user - 1) % classes + 1 if chance.random() < 0.8 else None
            wanted[vm, user] = {
                "vm_id": vm, "user_id": user, "via_group_id": via, "starts_at": start,
                "ends_at": start + timedelta(days=120), "can_power": True, "can_reset": chance.random() < 0.5,
            }  # fmt: skip
        write(Assignment, list(wanted.values()))
        write(
            AuditEvent,
            [
                {
                    "at": NOW - timedelta(minutes=n), "actor": names[n % users], "action": "login.success",
                    "address": "192.0.2.7",
                }
                for n in range(10 * users)
            ],
        )  # fmt: skip
        write(
            ConsoleSession,
            [
                {
                    "user_id": n % users + 1, "vm_id": n % machines + 1, "username": names[n % users],
                    "vm_label": f"pve/{100 + n % machines}", "started_at": NOW - timedelta(minutes=3 * n),
                    "ended_at": NOW - timedelta(minutes=3 * n - 2), "end_reason": "closed",
                }
                for n in range(5 * users)
            ],
        )  # fmt: skip
        people = {"admin": 1, "teacher": 3, "student": 3 + classes}
        return {
            who: logins.create(s, user, address="", user_agent="", lifetime=86_400.0) for who, user in people.items()
        }


def asked(server: Server) -> list[tuple[str, str]]:
    """Who asks for which address: every page without an id in its address, and some with."""
    found = []
    for spec in routes(server.portal):
        pattern = spec.regex.pattern.rstrip("$") if isinstance(spec, URLSpec) else ""
        handler = spec.handler_class
        if not spec.regex.groups and "get" in vars(handler) and not SKIPPED.search(pattern):
            who = next((who for who in ("admin", "teacher", "student") if pattern.startswith(f"/{who}")), "")
            if who or pattern.startswith("/account"):
                found.append((who or "student", pattern))
                found += [(who, pattern + query) for query in FILTERED.get(pattern, ())]
    found += [("teacher", "/teacher/classes/1"), ("admin", "/admin/classes/1"), ("admin", "/admin/users/5000")]
    return [*found, ("admin", "/admin/vms/500"), ("admin", "/admin/assignments/500")]


async def measure(server: Server, tokens: dict[str, str], rounds: int) -> list[tuple[str, str, float, float, int, int]]:
    """Ask for everything, round by round; who, address, p50 and p95 in milliseconds, statements, bytes."""
    statements, client = Statements(), AsyncHTTPClient(force_instance=True)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    counts: dict[tuple[str, str], int] = {}
    sizes: dict[tuple[str, str], int] = {}
    pages = asked(server)
    for turn in range(rounds + 1):
        for who, path in list(pages):
            before, begun = statements.count, time.perf_counter()
            headers = {"Cookie": f"cyberlab={tokens[who]}", "Accept": "text/html"}
            response = await client.fetch(
                server.address + path, headers=headers, raise_error=False, follow_redirects=False, request_timeout=60
            )
            took = 1000 * (time.perf_counter() - begun)
            if response.code != 200:
                if turn == 0:
                    print(f"left out, it answers {response.code}: {path}")
                    pages.remove((who, path))
                continue
            if turn:
                times[who, path].append(took)
            counts[who, path], sizes[who, path] = statements.count - before, len(response.body)
    client.close()
    rows = []
    for (who, path), took_all in times.items():
        cuts = statistics.quantiles(took_all, n=20, method="inclusive")
        rows.append((who, path, cuts[9], cuts[18], counts[who, path], sizes[who, path]))
    return sorted(rows, key=lambda row: -row[3])


def table(rows: list[tuple[str, str, float, float, int, int]], kind: str) -> str:
    """The table of docs/performance-pages.md."""
    lines = [f"On {kind}:", "", "| page | as | p50, ms | p95, ms | statements | KiB |", "|---|---|--:|--:|--:|--:|"]
    for who, path, median, p95, count, size in rows:
        lines.append(f"| `{path}` | {who} | {median:.0f} | {p95:.0f} | {count} | {size / 1024:.0f} |")
    return "\n".join(lines)


@contextmanager
def database(url: str) -> Iterator[str]:
    """The URL, or a file that goes afterwards."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="cyberlab-bench-") as folder:
        yield f"sqlite:///{folder}/bench.sqlite3"


async def run(url: str, users: int, assignments: int, rounds: int) -> str:
    """Fill, serve, measure; return the table."""
    settings = Settings(
        _env_file=None, secret_key=SecretStr("b" * 40), database_url=url, listen_port=0, log_level="WARNING"
    )
    server = Server(Configuration(settings, ()), clusters={})
    server.database.upgrade()
    begun = time.perf_counter()
    tokens = fill(server, users, assignments)
    print(f"filled in {time.perf_counter() - begun:.0f} s")
    await server.start()
    try:
        rows = await measure(server, tokens, rounds)
    finally:
        await server.stop()
    kind = "PostgreSQL" if url.startswith("postgresql") else "SQLite"
    return table(rows, f"{kind}, {users:,} users and {assignments:,} assignments, {rounds} rounds")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--assignments", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--database", default="", help="an empty database's URL; without it a SQLite file")
    parser.add_argument("--report", action="store_true", help="write the table into docs/performance-pages.md")
    args = parser.parse_args()
    with database(args.database) as url:
        made = asyncio.run(run(url, args.users, args.assignments, args.rounds))
    print(made)
    if args.report:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
