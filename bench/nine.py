"""`make bench-nine`: nine o'clock. 200 students open a console within ten seconds, on 4 nodes of 4 cores each.

    PYTHONPATH=. .venv/bin/python bench/nine.py [--ways pvesh,warm,https,console] [--students 200] [--report] …

The portal is `server.py serve` in a process of its own, the cluster is simulated in another one (pvesh at its real
cost), the students are in this one: they have signed in before, click, and read until the first picture is complete.
Each way of asking for tickets has two lessons: one without trouble, and one in which the sshd of a node is restarted
while the class opens. `--report` writes the table into docs/performance-nine.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nine_students import Browser, Student, sign_in

from cyberlab.auth import passwords
from cyberlab.db import users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, Role, Vm

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance-nine.md"
BEGIN, END = "<!-- nine: begin -->", "<!-- nine: end -->"
WAYS = {
    "pvesh": ("plain `pvesh`", "warm_workers = 0"),
    "warm": ("warm `pvesh`", "warm_workers = 2"),
    "https": ("HTTPS", 'source = "https"'),
    "console": ("warm, with a console user", 'console_user = "console@pve"'),
}
RESTARTED, RESTART_AT, DOWN = "pve1", 4.0, 1.0  # whose sshd, when (seconds), and for how long it is away
READY_SECONDS = 30.0
BCRYPT_COST = 4  # everybody has signed in before nine
# What a console costs whoever asked for its ticket: Proxmox's own worker behind the port.
WORKER = "qm vncproxy"
LOADING = "loading warm pvesh"  # once for all


@dataclass
class Lesson:
    """What one opening of all consoles gave; times in seconds."""

    from_click: list[float] = field(default_factory=list)
    from_nine: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # the worst of each student who stood in line
    gateway: float = 0.0  # CPU-seconds of the portal
    students: float = 0.0  # and of the students' process
    cluster: dict[str, Any] = field(default_factory=dict)
    struck: list[float] = field(default_factory=list)  # from the click, of those on the node whose sshd was restarted


class Process:
    """A child process that ends with this one's word."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> dict[str, Any]:
        """Its next line of JSON."""
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            line = await self.process.stdout.readline()
        if not line:
            raise SystemExit("a process of the benchmark ended; what it said stands above")
        return json.loads(line)

    async def ask(self, command: str) -> dict[str, Any]:
        """Tell it to do something; what it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        return await self.line()

    @property
    def cpu(self) -> float:
        """CPU-seconds so far, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def end(self, ask: Callable[[], None]) -> None:
        """Ask it to end, and wait."""
        with contextlib.suppress(ProcessLookupError):
            ask()
        try:
            async with asyncio.timeout(20.0):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def cluster(folder: Path, nodes: int, machines: int, cores: float) -> AsyncIterator[tuple[Process, list[Any]]]:
    """The simulated cluster, and its machines."""
    arguments = [str(Path(__file__).with_name("nine_cluster.py")), folder, nodes, machines, cores]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 20,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin is not None
    made = Process(process)
    try:
        yield made, (await made.line())["vms"]
    finally:
        await made.end(process.stdin.close)


@asynccontextmanager
async def portal(folder: Path, profile: Path | None) -> AsyncIterator[tuple[Process, int]]:
    """`server.py serve`, and its port; its log is in the folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROXMOX_")} | {
        "PROXMOX_HOST": "",  # whatever stands in a developer's .env
        "CLUSTERS_CONFIG": str(folder / "clusters.toml"),
        "DATABASE_URL": f"sqlite:///{folder / 'nine.sqlite3'}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_CONFIG": "",
        "BCRYPT_COST": str(BCRYPT_COST),
        "LISTEN_PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "LOG_LEVEL": "INFO",
    }
    profiling = ["-m", "cProfile", "-o", str(profile)] if profile is not None else []
    with (folder / "portal.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *profiling, "server.py", "serve", stderr=log, stdout=log, cwd=ROOT, env=environment
        )
    made = Process(process)
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                if process.returncode is not None or time.monotonic() > until:
                    raise SystemExit(f"the portal did not start:\n{(folder / 'portal.log').read_text()}") from None
                await asyncio.sleep(0.05)
        yield made, port
    finally:
        await made.end(process.terminate)


def fill(folder: Path, machines: list[Any], password: str) -> list[Student]:
    """One student for each machine."""
    database = Database(f"sqlite:///{folder / 'nine.sqlite3'}")
    database.upgrade()
    hashed = passwords.hash_password(password, BCRYPT_COST)
    made = []
    try:
        with database.transaction() as s:
            for number, machine in enumerate(machines):
                name = f"student{number:03d}"
                person = users.create(s, Actor(None, "bench"), username=name, role=Role.STUDENT, password_hash=hashed)
                vm = Vm(cluster="nine", vmid=machine["vmid"], node=machine["node"], name=machine["name"])
                s.add(vm)
                s.flush()
                s.add(Assignment(vm_id=vm.id, user_id=person.id))
                made.append(Student(name, vm.id, machine["node"]))
    finally:
        database.close()
    return made


async def lesson(
    nodes: Process, gateway: Process, port: int, students: list[Student], seconds: float, restart: bool
) -> Lesson:
    """Everybody clicks within so many seconds, and stays until the last has a picture or gives up."""
    chance = random.Random(9)  # the same clicks each time
    await nodes.ask("mark")
    before, mine = gateway.cpu, time.process_time()
    over = asyncio.Event()
    nine = time.monotonic() + 0.5
    browsers = []
    for student in students:
        student.begin()
        at = nine + chance.uniform(0.0, seconds)
        browsers.append(asyncio.create_task(Browser(port, student).lesson(at, over)))
    if restart:
        await asyncio.sleep(max(0.0, nine + RESTART_AT - time.monotonic()))
        await nodes.ask(f"restart {RESTARTED} {DOWN}")
    waiting = set(browsers)
    while waiting and not all(student.picture or student.error for student in students):
        await asyncio.wait(waiting, timeout=0.1)
    found = Lesson(gateway=gateway.cpu - before, students=time.process_time() - mine)
    await asyncio.sleep(2.0)  # do they stay?
    found.cluster = await nodes.ask("facts")
    over.set()
    await asyncio.gather(*browsers)
    for student in students:
        if student.picture:
            found.from_click.append(student.picture - student.clicked)
            found.from_nine.append(student.picture - nine)
            began = nine + RESTART_AT
            if student.node == RESTARTED and student.clicked < began + DOWN and student.picture > began:
                found.struck.append(student.picture - student.clicked)
        if student.error:
            found.errors.append(f"{student.name} on {student.node}: {student.error}")
        if student.lost:
            found.lost.append(f"{student.name} on {student.node}: {student.lost}")
        if student.places:
            found.places.append(max(student.places))
    while (await nodes.ask("facts"))["consoles"]:
        await asyncio.sleep(0.1)
    return found


async def contender(way: str, args: argparse.Namespace) -> tuple[Lesson, Lesson]:
    """Both lessons of one way."""
    with tempfile.TemporaryDirectory(prefix="cyberlab-nine-") as name:
        folder = Path(name)
        async with cluster(folder, args.nodes, args.students, args.cores) as (nodes, machines):
            toml = (folder / "clusters.toml").read_text()
            (folder / "clusters.toml").write_text(toml.replace("[[cluster]]", f"[[cluster]]\n{WAYS[way][1]}", 1))
            password = secrets.token_urlsafe(12)
            students = fill(folder, machines, password)
            profile = args.profile / f"{way}.prof" if args.profile else None
            async with portal(folder, profile) as (gateway, port):
                await sign_in(port, students, password)
                quiet = await lesson(nodes, gateway, port, students, args.seconds, False)
                say(way, "quiet", quiet)
                struck = await lesson(nodes, gateway, port, students, args.seconds, True)
                say(way, "sshd restarted", struck)
            if args.profile:
                (args.profile / f"{way}.log").write_bytes((folder / "portal.log").read_bytes())
    return quiet, struck


def spread(times: list[float]) -> tuple[float, float, float]:
    """p50, p95, max."""
    if len(times) < 2:
        return (times * 3 or [float("nan")] * 3)[0], *(times * 2 or [float("nan")] * 2)[:2]  # type: ignore[return-value]
    cuts = statistics.quantiles(times, n=20, method="inclusive")
    return cuts[9], cuts[18], max(times)


def per_console(found: Lesson) -> tuple[float, float]:
    """CPU-seconds of the nodes: for the portal's calls, and for Proxmox's workers behind the ports."""
    used, count = found.cluster["cpu"], max(1, len(found.from_click))
    calls = sum(seconds for kind, seconds in used.items() if kind not in (WORKER, LOADING))
    return calls / count, used.get(WORKER, 0.0) / count


def say(way: str, kind: str, found: Lesson) -> None:
    """One lesson in a few lines."""
    click, nine, (calls, worker) = spread(found.from_click), spread(found.from_nine), per_console(found)
    print(
        f"{way:5} {kind:14}  from click {click[0]:.2f} / {click[1]:.2f} / {click[2]:.2f} s, last at {nine[2]:.1f} s;"
        f" {len(found.errors)} errors, {len(found.lost)} lost; node CPU {calls:.3f} + {worker:.3f} s;"
        f" SSH {max(found.cluster['ssh'].values(), default=0)};"
        f" gateway {1000 * found.gateway / max(1, len(found.from_click)):.1f} ms;"
        f" {len(found.places)} in line, worst {max(found.places, default=0)}; back {found.cluster['back']};"
        f" struck {len(found.struck)}, max {max(found.struck, default=0):.2f} s",
        flush=True,
    )
    print(
        f"      CPU-s: portal {found.gateway:.1f}, cluster {found.cluster['burnt']:.1f}, students {found.students:.1f};"
        f" its timers late p50/p99/max {' / '.join(f'{1000 * v:.0f}' for v in found.cluster['late'].values())} ms;"
        f" {' '.join(f'{kind} {seconds:.1f}' for kind, seconds in sorted(found.cluster['cpu'].items()))}",
        flush=True,
    )
    for line in [*found.errors[:5], *found.lost[:5]]:
        print(f"      {line}", flush=True)


def table(found: dict[str, tuple[Lesson, Lesson]], args: argparse.Namespace) -> str:
    """The table of docs/performance-nine.md."""
    rows: list[tuple[str, Callable[[Lesson, Lesson], str]]] = [
        ("picture after the click, p50 / p95 / max, s", lambda q, _: _spread(q.from_click)),
        ("the last picture, counted from 9:00:00, s", lambda q, _: f"{max(q.from_nine, default=0):.1f}"),
        ("errors / consoles lost", lambda q, _: f"{len(q.errors)} / {len(q.lost)}"),
        ("students who stood in line; worst place", lambda q, _: f"{len(q.places)}; {max(q.places, default=0)}"),
        ("node CPU per console: the portal's calls, s", lambda q, _: f"{per_console(q)[0]:.3f}"),
        ("node CPU per console: Proxmox's `qm vncproxy`, s", lambda q, _: f"{per_console(q)[1]:.3f}"),
        ("node CPU once, to load `pvesh` on all nodes, s", lambda q, _: f"{q.cluster['cpu'].get(LOADING, 0.0):.1f}"),
        ("SSH connections of a node, most", lambda q, s: str(_most_ssh(q, s))),
        ("portal's CPU per console, page included, ms", lambda q, _: f"{1000 * q.gateway / len(q.from_click):.1f}"),
        ("**sshd of one node restarted at 9:00:04**, away for 1 s: errors / lost",
         lambda _, s: f"{len(s.errors)} / {len(s.lost)}"),
        ("its first command, from the restart's beginning, s",
         lambda _, s: f"{s.cluster['back'][RESTARTED]:.1f}" if s.cluster["back"] else "none needed"),
        ("picture after the click, of all, p50 / p95 / max, s", lambda _, s: _spread(s.from_click)),
        ("the same, of those on that node who waited then, max, s", lambda _, s: f"{max(s.struck, default=0):.1f}"),
    ]  # fmt: skip
    head = " | ".join(WAYS[way][0] for way in found)
    lines = [
        f"{args.students} students within {args.seconds:.0f} s, {args.nodes} nodes of {args.cores:.0f} cores; "
        f"Python {platform.python_version()}, {os.cpu_count()} cores for all of portal, cluster and students:",
        "",
        f"| | {head} |",
        f"|---|{'--:|' * len(found)}",
    ]
    lines += [f"| {label} | {' | '.join(cell(*both) for both in found.values())} |" for label, cell in rows]
    late = max(lesson.cluster["late"]["p99"] for both in found.values() for lesson in both)
    burnt = [(quiet.gateway, quiet.cluster["burnt"], quiet.students) for quiet, _ in found.values()]
    lines += [
        "",
        "What the machine itself had to do: "
        + "; ".join(
            f"{WAYS[way][0]}: portal {ours:.1f}, simulated cluster {theirs:.1f}, students {mine:.1f} CPU-seconds"
            for way, (ours, theirs, mine) in zip(found, burnt, strict=True)
        )
        + f". The cluster's own timers came late by at most {1000 * late:.0f} ms (p99).",
    ]
    return "\n".join(lines)


def _spread(times: list[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in spread(times))


def _most_ssh(*lessons: Lesson) -> int:
    return max(max(lesson.cluster["ssh"].values(), default=0) for lesson in lessons)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ways", default=",".join(WAYS), help="which, of pvesh, warm, https, console")
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0, help="within which all of them click")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cores", type=float, default=4.0, help="of each node")
    parser.add_argument("--report", action="store_true", help="write the table into docs/performance-nine.md")
    parser.add_argument("--profile", type=Path, help="a directory for the portal's cProfile and log of each way")
    args = parser.parse_args()
    found = {way: asyncio.run(contender(way, args)) for way in args.ways.split(",")}
    made = table(found, args)
    print(f"\n{made}")
    if args.report:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
