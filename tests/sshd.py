"""A real OpenSSH server for tests: on 127.0.0.1, for whoever runs them, with programs of ours first on PATH."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cyberlab.settings import ClusterSettings
from tests import patience, services

DEADLINE = patience.SECONDS
_MARK = "CYBERLAB_TEST_SSHD"


class Sshd:
    """One server, with keys of its own in ``folder``; start() and stop() it, as often as you like.

    Its commands run in ``folder``, with a PATH that begins with ``path_dirs``, and read neither a login shell's files
    nor ~/.bashrc, which Debian's bash reads even for a single command over SSH. ``extra``: further lines for
    sshd_config. ``gate``: the program that decides about commands, as command="…" of an authorized key would name it.
    """

    def __init__(
        self,
        folder: Path,
        path_dirs: Sequence[Path] = (),
        *,
        extra: str = "",
        host_keys: tuple[str, ...] = ("ed25519", "rsa"),
        gate: Path | None = None,
    ) -> None:
        self.program = services.require("sshd")
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = free_port()
        self.host_keys = host_keys
        self.process: subprocess.Popen[bytes] | None = None
        for kind in host_keys:
            make_key(self.folder / f"host_{kind}", kind)
        self.key = make_key(self.folder / "key")
        (self.folder / "authorized_keys").write_text(public_line(self.key) + "\n")
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text("".join(f"{self.name} {self.host_key(kind)}\n" for kind in host_keys))
        self._configure(path_dirs, extra, gate)

    def _configure(self, path_dirs: Sequence[Path], extra: str, gate: Path | None) -> None:
        path = os.pathsep.join([*(str(folder.resolve()) for folder in path_dirs), "/usr/bin", "/bin"])
        run = '/bin/sh -c "$SSH_ORIGINAL_COMMAND"' if gate is None else shlex.quote(str(gate))
        wrapper = write_script(
            self.folder / "run",
            f"#!/bin/sh\nexport PATH={shlex.quote(path)} {_MARK}={shlex.quote(str(self.folder))}\n"
            f"cd {shlex.quote(str(self.folder))}\nexec {run}\n",
        )
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f'HostKey "{self.folder}/host_{kind}"' for kind in self.host_keys),
            f'AuthorizedKeysFile "{self.folder}/authorized_keys"',
            f'ForceCommand "{wrapper}"',
            # bash reads ~/.bashrc for a command over SSH, but not where it believes to run inside another shell.
            "SetEnv SHLVL=2",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            extra,
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    # --- how to reach it

    @property
    def name(self) -> str:
        """As known_hosts spells it."""
        return f"[127.0.0.1]:{self.port}"

    def host_key(self, kind: str = "ed25519") -> str:
        """``ssh-ed25519 AAAA…``."""
        return public_line(self.folder / f"host_{kind}")

    def fingerprint(self, kind: str = "ed25519") -> str:
        """``SHA256:…``."""
        return str(paramiko.PKey.from_path(self.folder / f"host_{kind}").fingerprint)

    def settings(self) -> dict[str, str]:
        """The portal's settings for this server, as environment variables."""
        return {
            "PROXMOX_SSH_HOST": "127.0.0.1",
            "PROXMOX_SSH_PORT": str(self.port),
            "PROXMOX_SSH_USER": self.user,
            "PROXMOX_SSH_KEY_PATH": str(self.key),
            "PROXMOX_SSH_KNOWN_HOSTS": str(self.known_hosts),
        }

    def cluster_settings(self, **changes: object) -> ClusterSettings:
        """The same as ClusterSettings, with one connection, and other fields as told."""
        values: dict[str, Any] = {
            name.removeprefix("PROXMOX_").lower(): value for name, value in self.settings().items()
        }
        values |= {"cluster": "test", "host": "https://127.0.0.1:8006", "ssh_connections": 1, "warm_workers": 0}
        return ClusterSettings(_env_file=None, **(values | changes))

    # --- its life

    def start(self) -> None:
        """Listen; returns once it does."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # an init script's task
        log = self.folder / "log"
        log.write_bytes(b"")
        self.process = subprocess.Popen(
            [self.program, "-D", "-E", log, "-f", self.folder / "sshd_config"], stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + DEADLINE
        while "Server listening" not in log.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise AssertionError(f"sshd did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.005)  # it tells nobody but the log

    def stop(self) -> None:
        """End the server, its connections, and whatever their commands have started."""
        if self.process is None:
            return
        process, self.process = self.process, None
        connections = _descendants(process.pid)
        process.terminate()
        process.wait(DEADLINE)
        for pid in connections + self.commands():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def connections(self) -> list[int]:
        """The processes that serve one connection each."""
        return _children(self.process.pid) if self.process is not None else []

    def signal_connections(self, number: signal.Signals) -> None:
        """Kill or stop those processes; the server goes on listening."""
        for pid in self.connections():
            os.kill(pid, number)

    def commands(self) -> list[int]:
        """The processes that commands have started, also of connections that have ended."""
        mark = f"{_MARK}={self.folder}\0".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found


def make_key(path: Path, kind: str = "ed25519", password: bytes = b"") -> Path:
    """A key pair in OpenSSH's format at ``path`` and ``path``.pub; returns ``path``."""
    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(65537, 2048)
    elif kind == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    path.touch(0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption))
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_name(path.name + ".pub").write_bytes(public + b"\n")
    return path


def public_line(path: Path) -> str:
    """``ssh-ed25519 AAAA…`` of the key pair at ``path``."""
    return path.with_name(path.name + ".pub").read_text().strip()


def write_script(path: Path, text: str) -> Path:
    """An executable; returns ``path``."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def free_port() -> int:
    """A port of loopback where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    return found + [below for child in found for below in _descendants(child)]
