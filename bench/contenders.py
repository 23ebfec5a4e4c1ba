"""What is measured: this gateway and six other ways to carry a console, each on one core, each with verified TLS."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
READY_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Place:
    """Where a contender runs and whom it dials."""

    directory: Path  # its own, for configuration, database and log
    core: int
    websocket: int  # the upstream's port
    raw: int  # the same without websocket frames, for websockify
    ca_file: Path
    machines: int = 64  # how many VMs the gateway's database holds


@dataclass
class Contender:
    """A running one, and how its consoles are opened."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    path: str = "/console/%d"
    first: int = 1
    paths: int = 1
    cookie: str = ""

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path("/proc", entry, "stat").read_text()
                except OSError:
                    continue
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += children.get(pid, [])
        return found

    def cpu(self) -> float:
        """CPU seconds of it and of its children so far, also of those that have ended."""
        total = 0.0
        for pid in self.pids():
            try:
                stat = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
                tasks = list(Path("/proc", str(pid), "task").iterdir())
                # In nanoseconds where the kernel keeps them, else in clock ticks; threads that ended are few.
                running = [int((task / "schedstat").read_text().split()[0]) for task in tasks]
                total += sum(running) / 1e9
                total += (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")
            except OSError:
                continue
        return total

    def memory(self) -> dict[str, int]:
        """Bytes resident: RSS, and PSS, which counts a page shared by n processes as an nth."""
        found = {"rss": 0, "pss": 0}
        for pid in self.pids():
            try:
                text = Path("/proc", str(pid), "smaps_rollup").read_text()
            except OSError:
                continue
            for name in found:
                match = re.search(rf"^{name.capitalize()}:\s+(\d+) kB", text, re.MULTILINE)
                found[name] += int(match[1]) * 1024 if match else 0
        return found

    def stop(self) -> None:
        """End it and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(10)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        if self.process.stdout is not None:
            self.process.stdout.close()


def spawn(
    arguments: list[str], place: Place, *, environment: dict[str, str] | None = None, talks: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program on its core, in a group of its own; it dies with us. ``talks``: its output is read."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {place.core})

    with (place.directory / "log").open("ab") as log:
        return subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if talks else log, stderr=log,
            cwd=place.directory, env={**os.environ, **(environment or {})}, start_new_session=True,
            preexec_fn=prepare,
        )  # fmt: skip


def first_line(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """The JSON that it prints when it is ready."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        raise RuntimeError("did not come up; see its log under var/bench")
    return json.loads(line)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def listening(contender: Contender) -> Contender:
    """Wait until it listens."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and contender.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", contender.port), 1).close()
            return contender
        except OSError:
            time.sleep(0.05)
    contender.stop()
    raise RuntimeError("did not come up; see its log under var/bench")


def gateway(place: Place) -> Contender:
    process = spawn(
        [sys.executable, str(BENCH / "gateway.py"), str(place.directory), str(place.websocket), str(place.ca_file),
         str(place.machines)],
        place, talks=True,
    )  # fmt: skip
    account = first_line(process)
    port = int(str(account["port"]))
    cookie = sign_in(port, str(account["username"]), str(account["password"]))
    first = int(str(account["first"]))
    return Contender("gateway", process, port, "/vnc-proxy/ws/%d", first, place.machines, cookie)


def sign_in(port: int, username: str, password: str) -> str:
    """Sign in as a browser does; return the Cookie header."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/auth/login")
    answer = connection.getresponse()
    page = answer.read().decode()
    cookies = _cookies(answer)
    token = re.search(r'name="_xsrf" value="([^"]+)"', page)
    assert token is not None, "the sign-in page has no XSRF token"
    form = urllib.parse.urlencode({"username": username, "password": password, "_xsrf": token[1]})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": _header(cookies)}
    connection.request("POST", "/auth/login", form, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 303:
        raise RuntimeError(f"sign-in was answered by {answer.status}")
    cookies |= _cookies(answer)
    connection.close()
    return _header(cookies)


def _cookies(answer: http.client.HTTPResponse) -> dict[str, str]:
    pairs = [line.split(";")[0].partition("=") for line in answer.headers.get_all("Set-Cookie", [])]
    return {name: value for name, _, value in pairs}


def _header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def venv_python() -> str:
    return str(BENCH.parent / "var" / "bench" / "venv" / "bin" / "python")


def websockify(place: Place) -> Contender:
    port = free_port()
    process = spawn(
        [venv_python(), "-m", "websockify", "--ssl-target", f"127.0.0.1:{port}", f"127.0.0.1:{place.raw}"],
        place, environment={"SSL_CERT_FILE": str(place.ca_file)},
    )  # fmt: skip
    return listening(Contender("websockify", process, port))


def _relay(name: str, kind: str, python: str) -> Callable[[Place], Contender]:
    def start(place: Place) -> Contender:
        process = spawn(
            [python, str(BENCH / "relays.py"), kind, str(place.websocket), str(place.ca_file)], place, talks=True
        )
        return Contender(name, process, int(str(first_line(process)["port"])))

    return start


NGINX = """daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log; {user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;
    uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass https://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 1h;
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_name localhost; proxy_ssl_protocols TLSv1.3;
        }}
    }}
}}
"""


def nginx(place: Place) -> Contender:
    port = free_port()
    file = place.directory / "nginx.conf"
    file.write_text(
        NGINX.format(
            directory=place.directory, port=port, upstream=place.websocket, ca_file=place.ca_file,
            user="user root;" if os.geteuid() == 0 else "",
        )
    )  # fmt: skip
    return listening(Contender("nginx", spawn([_found("nginx"), "-c", str(file)], place), port))


HAPROXY = """global
    nbthread 1
    maxconn {consoles}
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend browsers
    bind 127.0.0.1:{port} backlog 1024
    default_backend proxmox
backend proxmox
    server node 127.0.0.1:{upstream} ssl verify required ca-file {ca_file} maxconn {consoles}
"""


def haproxy(place: Place) -> Contender:
    port = free_port()
    file = place.directory / "haproxy.cfg"
    consoles = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2  # two descriptors each
    file.write_text(
        HAPROXY.format(port=port, upstream=place.websocket, ca_file=place.ca_file, consoles=min(consoles, 20_000))
    )
    return listening(Contender("HAProxy", spawn([_found("haproxy"), "-db", "-f", str(file)], place), port))


CADDY = """{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    bind 127.0.0.1
    reverse_proxy https://127.0.0.1:{upstream} {{
        transport http {{
            tls_trusted_ca_certs {ca_file}
            versions 1.1
        }}
    }}
}}
"""


def caddy(place: Place) -> Contender:
    port = free_port()
    file = place.directory / "Caddyfile"
    file.write_text(CADDY.format(port=port, upstream=place.websocket, ca_file=place.ca_file))
    home = {name: str(place.directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    process = spawn(
        [_found("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"],
        place, environment={"GOMAXPROCS": "1", **home},
    )  # fmt: skip
    return listening(Contender("Caddy", process, port))


class Missing(Exception):
    """A contender that is not installed; the others are measured without it."""


def _found(program: str) -> str:
    where = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if where is None:
        raise Missing(f"{program}: not installed (Debian: apt-get install {program})")
    return where


@dataclass(frozen=True)
class Kind:
    """How to start one, and what it cannot be asked."""

    label: str
    short: str  # for plots
    start: Callable[[Place], Contender]
    idle: int = 1000  # consoles that it is asked to hold; a process each is asked for less
    version: tuple[str, ...] = field(default=())


KINDS: dict[str, Kind] = {
    "gateway": Kind("**CyberLab's gateway** (sign-in, authorization, RFB and all)", "CyberLab", gateway),
    "haproxy": Kind("HAProxy, one thread", "HAProxy", haproxy, version=("haproxy", "-v")),
    "nginx": Kind("nginx, one worker", "nginx", nginx, version=("nginx", "-v")),
    "caddy": Kind("Caddy, GOMAXPROCS=1", "Caddy", caddy, version=("caddy", "version")),
    "tornado": Kind(
        "Tornado, `read_message` → `write_message`",
        "Tornado messages",
        _relay("Tornado messages", "tornado", sys.executable),
    ),
    "flask": Kind(
        "Flask-Sock + gevent + websocket-client", "Flask-Sock, gevent", _relay("Flask-Sock", "flask", venv_python())
    ),
    "websockify": Kind("websockify, a process per console", "websockify", websockify, idle=100),
}
