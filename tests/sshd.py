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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyberlab.settings import ClusterSettings
from tests.services import require

_HOST_KEYS = ("ed25519", "rsa")
_MARK = "CYBERLAB_TEST_SSHD"
_DEADLINE = 10.0


class Sshd:
    """One sshd with keys of its own in ``folder``.

    A command sees a PATH that begins with ``path_dirs``, and neither a login shell's files nor ~/.bashrc, which
    Debian's bash reads even for a single command over SSH. ``options``: further lines for sshd_config.
    """

    def __init__(self, folder: Path, path_dirs: list[Path], options: Iterable[str] = ()) -> None:
        self.program = require("sshd")
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.key_path = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.log_path = self.folder / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._make_keys()
        self._configure(path_dirs, options)

    # --- what it is made of

    def host_key_path(self, kind: str) -> Path:
        """The private host key of that kind: ed25519 or rsa."""
        return self.folder / f"ssh_host_{kind}_key"

    def host_key(self, kind: str) -> str:
        """The public host key as in known_hosts: ``ssh-ed25519 AAAA…``."""
        return " ".join(Path(f"{self.host_key_path(kind)}.pub").read_text().split()[:2])

    def fingerprint(self, kind: str) -> str:
        """The host key's ``SHA256:…``, as ssh-keygen says it."""
        told = subprocess.run(
            ["ssh-keygen", "-lf", str(self.host_key_path(kind))], capture_output=True, text=True, check=True
        )
        return told.stdout.split()[1]

    def _make_keys(self) -> None:
        for kind in _HOST_KEYS:
            make_key(self.host_key_path(kind), kind)
        make_key(self.key_path)
        (self.folder / "authorized_keys").write_bytes(Path(f"{self.key_path}.pub").read_bytes())
        name = f"[127.0.0.1]:{self.port}"
        self.known_hosts.write_text("".join(f"{name} {self.host_key(kind)}\n" for kind in _HOST_KEYS))

    def _configure(self, path_dirs: list[Path], options: Iterable[str]) -> None:
        path = os.pathsep.join([*(str(folder.resolve()) for folder in path_dirs), "/usr/bin", "/bin"])
        wrapper = self.folder / "run"
        wrapper.write_text(
            f"#!/bin/sh\nexport PATH={shlex.quote(path)} {_MARK}={shlex.quote(str(self.folder))}\n"
            'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        wrapper.chmod(0o755)
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f'HostKey "{self.host_key_path(kind)}"' for kind in _HOST_KEYS),
            f'AuthorizedKeysFile "{self.folder}/authorized_keys"',
            f'ForceCommand "{wrapper}"',
            "SetEnv SHLVL=2",  # bash reads ~/.bashrc for SSH's own shell only, and takes this one for an inner one
            "PermitRootLogin yes",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            *options,
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def environment(self) -> dict[str, str]:
        """The portal's settings for this server, as environment variables."""
        return {
            "PROXMOX_SSH_HOST": "127.0.0.1",
            "PROXMOX_SSH_PORT": str(self.port),
            "PROXMOX_SSH_USER": self.user,
            "PROXMOX_SSH_KEY_PATH": str(self.key_path),
            "PROXMOX_SSH_KNOWN_HOSTS": str(self.known_hosts),
        }

    settings = environment

    def cluster_settings(self, **changes: Any) -> ClusterSettings:
        """The same as a ClusterSettings, with other fields set as told."""
        chosen: dict[str, Any] = {
            name.removeprefix("PROXMOX_").lower(): value for name, value in self.environment().items()
        }
        return ClusterSettings(_env_file=None, **(chosen | {"host": "https://127.0.0.1:1"} | changes))

    # --- its life

    def start(self) -> None:
        """Listen; returns once it does."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.log_path.write_bytes(b"")
        self._process = subprocess.Popen(
            [self.program, "-D", "-E", self.log_path, "-f", self.folder / "sshd_config"], stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + _DEADLINE
        while "Server listening" not in self.log_path.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise AssertionError(f"sshd did not start:\n{self.log_path.read_text(errors='replace')}")
            time.sleep(0.005)  # it tells nobody but the log

    def stop(self) -> None:
        """End the server, its connections and whatever they have started."""
        if self._process is None:
            return
        process, self._process = self._process, None
        self._kill(_descendants(process.pid))
        process.terminate()
        process.wait(_DEADLINE)
        self._kill(self.commands())

    def restart(self) -> None:
        """Stop and start on the same port, with the same keys."""
        self.stop()
        self.start()

    def drop_connections(self) -> None:
        """Kill the processes that serve connections; the server goes on listening."""
        assert self._process is not None
        self._kill(_descendants(self._process.pid))

    def connections(self) -> int:
        """How many connections are served now."""
        assert self._process is not None
        return len(_children(self._process.pid))

    def commands(self) -> list[int]:
        """The processes that commands have started, also of connections that have ended."""
        mark = f"{_MARK}={self.folder}\0".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    @staticmethod
    def _kill(pids: Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> None:
    """A new key pair at ``path`` and ``path``.pub, in OpenSSH's format."""
    size = ["-b", "2048"] if kind == "rsa" else []
    words = ["ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in list(found):
        found += _descendants(child)
    return found
