"""A whole lab for end-to-end tests: OpenSSH, the simulated node's pvesh behind it, QEMU, and `server.py serve`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.sshd import Sshd

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "correct horse battery"


class Child:
    """A program of ours, with its output read up to the line that says it is ready."""

    def __init__(self, words: list[str], ready: str, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=dict(environment), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=out,
            )  # fmt: skip
        self.ready = self._wait(re.compile(ready)) if ready else ""

    def _wait(self, ready: re.Pattern[str]) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if ready.search(line.decode()):
                return line.decode()
        raise AssertionError(f"ended before it was ready:\n{self.log.read_text()}")

    def stop(self) -> int:
        """End it as an admin would (SIGTERM); return its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Lab:
    """Made by the admin's own commands: migrate, user add, assign, serve."""

    def __init__(
        self,
        folder: Path,
        *,
        real: bool = True,
        port: int | None = None,
        simulator: Sequence[str] = (),
        **settings: str,
    ) -> None:
        """``real``: with OpenSSH and QEMU, or else the simulator's own sshd and drawn guests.

        ``port``: where the portal listens; None: a free one. ``simulator``: further options of its command line.
        ``settings``: further environment for the portal.
        """
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PROXMOX_")}
        self.simulator = Child(
            ["-m", "cyberlab.simulator", "--state", str(folder / "proxmox"), "--with-parent"]
            + ([] if real else ["--no-qemu"]) + [*simulator],
            r"^\{", plain, folder / "simulator.log",
        )  # fmt: skip
        self.sshd: Sshd | None = None
        self.portal: Child | None = None
        try:
            facts: dict[str, Any] = json.loads(self.simulator.ready)
            self.qemu: bool = facts["qemu"]
            if real:
                self.sshd = Sshd(folder / "sshd", [folder / "proxmox" / "bin"])
                self.sshd.start()
            port = port or free_port()
            self.url = settings.get("PUBLIC_URL", f"http://127.0.0.1:{port}")
            # pvesh comes from OpenSSH's own server, the rest from the simulated node.
            self.environment = plain | facts["environment"] | (self.sshd.settings() if self.sshd else {}) | {
                "LISTEN_PORT": str(port),
                "PUBLIC_URL": self.url,
                "SECRET_KEY": "end-to-end-tests-keep-this-secret-0123456789",
                "DATABASE_URL": f"sqlite:///{folder / 'portal.sqlite3'}",
                "BCRYPT_COST": "4",
                **settings,
            }  # fmt: skip
            self._fill()
            self.start_portal()
        except BaseException:
            self.close()
            raise

    def _fill(self) -> None:
        self.command("migrate")
        for name, role in (("ada", "student"), ("ben", "student"), ("tom", "teacher"), ("ann", "admin")):
            self.command("user", "add", name, "--role", role, "--password-stdin", stdin=PASSWORD)
        for vmid in (100, 101, 102, 300):
            self.command("assign", "ada", f"demo/{vmid}")

    def command(self, *words: str, stdin: str = "") -> str:
        """Run one of the shell commands; it must succeed."""
        done = subprocess.run(
            [sys.executable, "server.py", *words], cwd=ROOT, env=self.environment, input=stdin + "\n",
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def start_portal(self) -> None:
        """Run `server.py serve`; returns once it listens."""
        assert self.portal is None
        self.portal = Child(["server.py", "serve"], "", self.environment, self.folder / "portal.log")
        self.wait_listening()

    def wait_listening(self) -> None:
        """Connect until somebody answers."""
        assert self.portal is not None
        port = int(self.environment["LISTEN_PORT"])
        while self.portal.process.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
                try:
                    self.portal.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
        raise AssertionError(f"the portal did not start:\n{self.portal.log.read_text()}")

    @property
    def portal_log(self) -> str:
        """What the portal has logged so far."""
        return (self.folder / "portal.log").read_text()

    def stop_portal(self) -> int:
        """End the portal in order; return its exit status."""
        assert self.portal is not None
        portal, self.portal = self.portal, None
        return portal.stop()

    def close(self) -> None:
        """End everything, in the opposite order."""
        if self.portal is not None:
            self.stop_portal()
        if self.sshd is not None:
            self.sshd.stop()
        self.simulator.stop()
