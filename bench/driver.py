"""The load generator of bench/load, as an object: compiled, started, told what to do, and listened to."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import Contender
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SOURCES = Path(__file__).resolve().parent / "load"
SILENCE = 90.0  # seconds within which every command is answered


class LoadError(Exception):
    """The load generator gave up, or a contender did not do what it must."""


def build(directory: Path) -> Path:
    """Compile it where the sources are newer; return the program."""
    program = directory / "load"
    sources = sorted(SOURCES.glob("*.c"))
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if not program.exists() or program.stat().st_mtime < newest:
        warnings = ["-Wall", "-Wextra", "-Wno-sign-compare"]
        command = ["cc", "-O2", *warnings, "-D_GNU_SOURCE", "-o", str(program), *map(str, sources), "-lssl", "-lcrypto"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise LoadError("no C compiler; Debian: apt-get install gcc libc6-dev libssl-dev") from None
        if done.returncode:
            hint = " (Debian: apt-get install libssl-dev)" if "openssl/" in done.stderr else ""
            raise LoadError(f"the load generator cannot be compiled{hint}:\n{done.stderr}")
    return program


def make_certificate(directory: Path) -> tuple[Path, Path, Path]:
    """A CA and a certificate for 127.0.0.1, as a Proxmox node has them (RSA 2048); return CA, certificate, key."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, issuer: str, key: Any, signer: Any, *, ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if ca:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    files = directory / "ca.pem", directory / "node.pem", directory / "node.key"
    pem = serialization.Encoding.PEM
    files[0].write_bytes(certificate("Bench CA", "Bench CA", ca_key, ca_key, ca=True).public_bytes(pem))
    files[1].write_bytes(certificate("bench", "Bench CA", key, ca_key, ca=False).public_bytes(pem))
    files[2].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )  # it lives for as long as the benchmark
    return files


@dataclass
class Window:
    """What was measured while the load ran, and what it cost."""

    result: dict[str, Any]
    cpu: float  # CPU seconds a second of the contender
    load_cpu: float  # of the load generator


class Load:
    """The running load generator; its upstream serves from the start."""

    def __init__(self, program: Path, certificate: Path, key: Path) -> None:
        self._process = subprocess.Popen(
            [str(program), str(certificate), str(key)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._buffer = b""
        ports = self._line()
        self.websocket: int = ports["websocket"]
        self.raw: int = ports["raw"]

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        until = time.monotonic() + SILENCE
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            chunk = self._process.stdout.read1(65_536) if ready else b""
            if not chunk:
                raise LoadError("the load generator fell silent" if not ready else "the load generator gave up")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _tell(self, command: str, **arguments: object) -> None:
        assert self._process.stdin is not None
        line = "\t".join([command, *(f"{name}={value}" for name, value in arguments.items())])
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _cpu(self) -> float:
        text = Path("/proc", str(self._process.pid), "schedstat").read_text()
        return int(text.split()[0]) / 1e9

    def open(self, group: int, contender: Contender, count: int, *, parallel: int = 10) -> dict[str, Any]:
        """Open consoles; raise LoadError unless all of them open."""
        self._tell(
            "open", group=group, port=contender.port, n=count, parallel=parallel, path=contender.path,
            first=contender.first, paths=contender.paths, cookie=contender.cookie, limit=75,
        )  # fmt: skip
        result = self._line()
        if result["errors"]:
            raise LoadError(f"{contender.name}: {result['errors']} of {count} consoles failed: {result['error']}")
        return result

    def open_directly(self, group: int, count: int) -> None:
        """Open consoles at the upstream itself, over TLS."""
        self._tell("open", group=group, port=self.websocket, n=count, path="/%d", tls=1)
        self._line()

    def run(self, group: int, cpu: Callable[[], float], **arguments: object) -> Window:
        """Stream and type; ``cpu`` is read when the measured window begins and when it ends."""
        self._tell("run", group=group, **arguments)
        marks = []
        while "window" in (line := self._line()):
            marks.append((time.monotonic(), cpu(), self._cpu()))
        (began, before, load_before), (ended, after, load_after) = marks
        seconds = ended - began
        return Window(line, max(0.0, after - before) / seconds, (load_after - load_before) / seconds)

    def close_group(self, group: int) -> None:
        """Drop a group's consoles."""
        self._tell("close", group=group)
        self._line()

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
