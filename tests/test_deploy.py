"""The examples in deploy/ are accepted by the programs they are for, and name only settings that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cyberlab.settings import ClusterSettings, Settings
from tests import services

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
NAMES = {name.upper() for name in Settings.model_fields}
NAMES |= {f"PROXMOX_{name.upper()}" for name in ClusterSettings.model_fields}
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _succeeds(*command: str, home: Path) -> None:
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key: nginx -t wants to read real ones."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab.example.edu")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_caddy_accepts_the_caddyfile(tmp_path: Path) -> None:
    caddy = services.require("caddy")
    _succeeds(caddy, "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile"), home=tmp_path)


def test_nginx_accepts_the_site(tmp_path: Path) -> None:
    nginx = services.require("nginx")
    certificate, key = _certificate(tmp_path)
    site = (DEPLOY / "nginx.conf").read_text()
    site = re.sub(r"/etc/letsencrypt/\S*fullchain.pem", str(certificate), site)
    site = re.sub(r"/etc/letsencrypt/\S*privkey.pem", str(key), site)
    # nginx -t opens the sockets: ports below 1024 need root and may be taken, IPv6 may be off.
    site = re.sub(r"listen \[::\].*\n", "", site)
    site = re.sub(r"listen (80|443)", rf"listen unix:{tmp_path}/\1", site)
    (tmp_path / "site.conf").write_text(site)
    temporary = " ".join(f"{kind}_temp_path {tmp_path};" for kind in TEMPORARY)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\ninclude {tmp_path}/site.conf; }}\n"
    )
    _succeeds(nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), home=tmp_path)


def test_nginx_holds_an_idle_console_open() -> None:
    """nginx cuts a silent websocket after proxy_read_timeout; the portal's ping must come well before."""
    minutes = re.findall(r"proxy_(?:read|send)_timeout (\d+)m;", (DEPLOY / "nginx.conf").read_text())
    assert len(minutes) == 2
    ping = Settings.model_fields["console_ping_interval"].default
    assert all(int(value) * 60 > 4 * ping for value in minutes)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: the check of deploy/cyberlab.service needs it")
    # The unit's program and user exist only where it is deployed: its words are checked, not these.
    unit = (DEPLOY / "cyberlab.service").read_text()
    unit = re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit, flags=re.MULTILINE)
    (tmp_path / "cyberlab.service").write_text(unit)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "cyberlab.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    words = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert not words, "\n".join(words)


def test_the_unit_gives_up_every_privilege() -> None:
    lines = set((DEPLOY / "cyberlab.service").read_text().splitlines())
    wanted = {"NoNewPrivileges=yes", "CapabilityBoundingSet=", "AmbientCapabilities=", "ProtectSystem=strict"}
    assert wanted | {"StateDirectory=cyberlab", "User=cyberlab"} <= lines


def test_the_example_settings_exist_and_hold_no_secret() -> None:
    lines = (DEPLOY / "cyberlab.env").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert pairs.keys() <= NAMES
    assert pairs["SECRET_KEY"] == ""


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.iterdir()))
def test_comments_name_settings_that_exist(name: str) -> None:
    named = set(re.findall(r"\b(?:PROXMOX|CONSOLE|LOGIN)_[A-Z_]+\b", (DEPLOY / name).read_text()))
    assert named <= NAMES
