"""Other people's keystrokes while sign-ins go wrong: a directory that hangs, and wrong passwords by the hundred.

    .venv/bin/python bench/signin.py [--seconds N] [--repeat N]

The gateway has one core to itself, passwords' hashes included; the load generator and whoever guesses another one.
Each round has a quiet window and one of each kind of trouble, in turns; only their ratio says something.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import shutil
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from contenders import KINDS, Place
from driver import Load, LoadError, build, make_certificate

STATE = Path(__file__).resolve().parent.parent / "var" / "bench"
CONSOLES, TYPISTS, GAP = 50, 20, 20_000  # consoles, those with somebody typing, microseconds between two keys
CLIENTS = 40  # sign-ins under way at a time
WRONG_A_SECOND = 100.0
KINDS_OF_TROUBLE = ("quiet", "hanging", "wrong")
CONFIG = """
[[backend]]
name = "local"
kind = "local"

[[backend]]
name = "campus"
kind = "ldap"
servers = ["ldap://127.0.0.1:{port}"]
base = "dc=uni,dc=example"
user_dn = "uid={{username}},dc=uni,dc=example"
"""


@contextlib.contextmanager
def hanging_directory() -> Iterator[int]:
    """A port that takes connections and says nothing; yields its number."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        server.settimeout(0.2)
        kept: list[socket.socket] = []
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    kept.append(server.accept()[0])

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()
            for connection in kept:
                connection.close()


@dataclass
class Trouble:
    """Sign-ins that fail, from when it is begun to when it is ended; ``answers`` counts them by status."""

    port: int
    kind: str
    answers: Counter[int] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Start guessing."""
        if self.kind != "quiet":
            self.threads = [threading.Thread(target=self._guess, args=(number,)) for number in range(CLIENTS)]
            for thread in self.threads:
                thread.start()

    def end(self) -> None:
        """Stop, when the last answers have come."""
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def _guess(self, number: int) -> None:
        dice = random.Random(number)
        # Below the load generator, whose core it shares: else what is measured is how late that looks at its clock.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self.ended.wait(dice.random() * 2 * CLIENTS / WRONG_A_SECOND if self.kind == "wrong" else 0):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            # Each hanging one is somebody else from elsewhere, or the throttle would spare the directory.
            stranger = self.kind == "hanging"
            name = f"u{dice.randrange(10**9)}" if stranger else "student"
            address = (
                f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}" if stranger else "10.9.8.7"
            )
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Cookie": f"_xsrf={'0' * 32}",
                "X-Forwarded-For": address,
            }
            form = urlencode({"_xsrf": "0" * 32, "username": name, "password": "a wrong guess"})
            try:
                connection.request("POST", "/auth/login", form, headers)
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
            finally:
                connection.close()


def measure(load: Load, gateway: object, kind: str, seconds: float) -> tuple[float, float, float]:
    """Keystrokes in one window: p50 and p99 in milliseconds, and the gateway's CPU seconds a second."""
    trouble = Trouble(gateway.port, kind)  # type: ignore[attr-defined]
    trouble.begin()
    time.sleep(1.0)  # until the directory's waiting room is full
    window = load.run(0, gateway.cpu, keys=TYPISTS, gap=GAP, seconds=seconds, warm=0.3)  # type: ignore[attr-defined]
    trouble.end()
    p50, p99 = window.result["p50_us"] / 1e3, window.result["p99_us"] / 1e3
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(trouble.answers.items())) or "–"
    keys = window.result["keys"]
    print(
        f"  {kind:<8} p50 {p50:.3f} ms  p99 {p99:.3f} ms  cpu {window.cpu:.2f}  {keys} keys  answers: {answers}",
        flush=True,
    )
    return p50, p99, window.cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each window")
    parser.add_argument("--repeat", type=int, default=9, help="rounds; the medians count")
    chosen = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("the benchmark needs two cores: one for the gateway, one for the load", file=sys.stderr)
        return 1
    STATE.mkdir(parents=True, exist_ok=True)
    directory = STATE / "run" / "signin"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    ca_file, certificate, key = make_certificate(STATE)
    os.sched_setaffinity(0, {cores[1]})
    found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS_OF_TROUBLE}
    with hanging_directory() as port:
        (directory / "sign-in.toml").write_text(CONFIG.format(port=port))
        os.environ |= {"AUTH_CONFIG": str(directory / "sign-in.toml"), "BCRYPT_COST": "12"}
        load = Load(build(STATE), certificate, key)
        gateway = KINDS["gateway"].start(Place(directory, cores[0], load.websocket, load.raw, ca_file))
        try:
            load.open(0, gateway, CONSOLES)
            for _ in range(chosen.repeat):
                for kind in KINDS_OF_TROUBLE:
                    found[kind].append(measure(load, gateway, kind, chosen.seconds))
        except LoadError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        finally:
            load.stop()
            gateway.stop()
    for kind in KINDS_OF_TROUBLE[1:]:
        pairs = list(zip(found[kind], found["quiet"], strict=True))
        p50, p99 = (statistics.median(ours[place] / quiet[place] for ours, quiet in pairs) for place in (0, 1))
        print(f"{kind}: keystrokes' p50 × {p50:.2f}, p99 × {p99:.2f} of the quiet window before")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
