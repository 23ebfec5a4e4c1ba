"""A real OpenSSH server on a high port of loopback, with programs of our own first on its PATH."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from cyberlab.settings import ClusterSettings
from tests import services

DATA = Path(__file__).resolve().parent.parent / "data"
DEADLINE = 10.0

# -SE: quick, and deaf to whatever the environment holds.
PVESH = """#!{python} -SE
import json, sys
argv = sys.argv[1:]
with open({folder!r} + "/pvesh.log", "a") as log:
    log.write(json.dumps(argv) + "\\n")
def plain(words):
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
try:
    overrides = json.load(open({folder!r} + "/answers.json"))
except FileNotFoundError:
    overrides = []
for answer in overrides + json.load(open({transcripts!r})):
    if plain(answer["pvesh"]) == plain(argv):
        sys.stdout.write(answer["stdout"])
        sys.stderr.write(answer["stderr"])
        sys.exit(answer["exit"])
sys.stderr.write("no transcript of " + repr(argv) + "\\n")
sys.exit(1)
"""
PERL = """#!/bin/sh
echo "$*" >> {folder}/perl.log
printf 'PVE:root@pam:6B02E097::%s' "signature$(wc -l < {folder}/perl.log)"
"""
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
{host_keys}
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
PrintMotd no
ForceCommand {folder}/run
# Debian's bash reads ~/.bashrc for a command over SSH, but not when it believes to run inside another shell.
SetEnv SHLVL=2
{extra}
"""


def make_key(path: Path, kind: str = "ed25519", password: bytes = b"") -> Path:
    """An OpenSSH key pair at ``path`` and ``path``.pub."""
    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, 2048)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption)
    )  # fmt: skip
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_name(path.name + ".pub").write_bytes(public + b"\n")
    return path


def public_line(path: Path) -> str:
    """'ssh-ed25519 AAAA…' of the key pair at ``path``."""
    return path.with_name(path.name + ".pub").read_text().strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """One server; ``start`` and ``stop`` it."""

    folder: Path
    extra: str = ""
    host_keys: tuple[str, ...] = ("ed25519",)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Sshd:
        program = services.require("sshd")
        folder = self.folder
        for kind in self.host_keys:
            make_key(folder / f"host_{kind}", kind)
        self.key = make_key(folder / "key")
        (folder / "authorized_keys").write_text(public_line(self.key) + "\n")
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text("".join(f"{self.name} {self.host_key(kind)}\n" for kind in self.host_keys))
        names = {
            "python": sys.executable, "folder": str(folder), "transcripts": str(DATA / "pvesh-transcripts.json")
        }  # fmt: skip
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        self._script(bin_folder / "pvesh", PVESH.format(**names))
        self._script(bin_folder / "perl", PERL.format(**names))
        run = f'#!/bin/sh\nPATH={bin_folder}:$PATH\nexport PATH\ncd {folder}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
        self._script(folder / "run", run)
        lines = "\n".join(f"HostKey {folder}/host_{kind}" for kind in self.host_keys)
        config = folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=folder, host_keys=lines, extra=self.extra))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # an init script's task
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL
            )
        self._wait()
        return self

    def _wait(self) -> None:
        until = time.monotonic() + DEADLINE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0) as probe:
                    assert probe.recv(4) == b"SSH-"
                    return
            except OSError:
                assert self.process is not None
                ended = self.process.poll() is not None or time.monotonic() > until
                assert not ended, (self.folder / "log").read_text()
                time.sleep(0.01)

    @staticmethod
    def _script(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    @property
    def name(self) -> str:
        """As known_hosts spells it."""
        return f"[127.0.0.1]:{self.port}"

    def host_key(self, kind: str = "ed25519") -> str:
        return public_line(self.folder / f"host_{kind}")

    def fingerprint(self, kind: str = "ed25519") -> str:
        return str(paramiko.PKey.from_path(self.folder / f"host_{kind}").fingerprint)

    def settings(self, **changes: object) -> ClusterSettings:
        """How to reach it."""
        values = {
            "cluster": "test", "host": "https://127.0.0.1:8006", "ssh_host": "127.0.0.1", "ssh_port": self.port,
            "ssh_user": getpass.getuser(), "ssh_key_path": self.key, "ssh_known_hosts": self.known_hosts,
            "ssh_connections": 1,
        }  # fmt: skip
        return ClusterSettings(_env_file=None, **(values | changes))

    def connections(self) -> list[int]:
        """The processes that serve one connection each."""
        assert self.process is not None
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def signal_connections(self, number: signal.Signals) -> None:
        for pid in self.connections():
            os.kill(pid, number)

    def stop(self) -> None:
        if self.process is not None:
            children = self.connections()
            self.process.terminate()
            self.process.wait(DEADLINE)
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
