"""A real Samba Active Directory domain controller for tests, on 127.0.0.1's standard ports: it knows no others."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.services import require
from tests.slapd import make_certificate

BASE = "DC=ad,DC=example"
PASSWORD = "Corr3ct-horse!"
SERVICE = "portal@ad.example"
_PORTS = (389, 636)
_DEADLINE = 60.0
# Run by the system's Python, which has Samba's modules; far quicker than a samba-tool for each step.
_FILL = f"""\
import sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm(); lp.load(sys.argv[1])
db = SamDB(url=sys.argv[2], session_info=system_session(), lp=lp)
for name in ("portal", "anna", "bert", "disabled", "expired", "stale", "locked"):
    db.newuser(name, "{PASSWORD}", givenname=name.title(), surname="Example", mailaddress=name + "@ad.example")
for name in ("lab-staff", "all-staff", "lab"):
    db.newgroup(name)
db.add_remove_group_members("lab-staff", ["anna"])
db.add_remove_group_members("all-staff", ["lab-staff", "bert"])
db.add_remove_group_members("lab", ["bert"])
db.disable_account("(sAMAccountName=disabled)")
db.setpassword("(sAMAccountName=stale)", "{PASSWORD}", force_change_at_next_login=True)
db.setexpiry("(sAMAccountName=expired)", 1 - 86400)
db.modify_ldif("dn: {BASE}\\nchangetype: modify\\nreplace: lockoutThreshold\\nlockoutThreshold: 3\\n")
"""


class Samba:
    """One domain controller of ad.example with its databases in ``folder``."""

    url = "ldap://127.0.0.1"
    tls_url = "ldaps://127.0.0.1"

    def __init__(self, folder: Path) -> None:
        program = require("samba")
        if problem := _ports_problem():
            if os.environ.get("CI") == "true":
                pytest.fail(problem, pytrace=False)
            pytest.skip(problem)
        self.ca, certificate, key = make_certificate(folder / "tls")
        key.chmod(0o600)
        ad = folder / "ad"
        self._run(
            "samba-tool", "domain", "provision", "--realm=AD.EXAMPLE", "--domain=AD", "--server-role=dc",
            "--dns-backend=NONE", f"--targetdir={ad}", "--host-name=dc1", "--host-ip=127.0.0.1",
            "--option=interfaces=lo", "--option=bind interfaces only=yes", f"--option=log file={folder}/log",
        )  # fmt: skip
        config = ad / "etc" / "smb.conf"
        self._run("/usr/bin/python3", "-c", _FILL, str(config), str(ad / "private" / "sam.ldb"))
        (folder / "run").mkdir()
        options = {
            "server services": "ldap, kdc, rpc",
            "tls cafile": self.ca,
            "tls certfile": certificate,
            "tls keyfile": key,
            "pid directory": folder / "run",
            "ncalrpc dir": folder / "run" / "ncalrpc",
        }
        told = [f"--option={name}={value}" for name, value in options.items()]
        self._log = (folder / "samba.log").open("wb")
        # Interactive, it ends when its standard input does: also if the tests are killed.
        self._process = subprocess.Popen(
            [program, "-i", "-M", "single", f"--configfile={config}", *told],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait(folder)

    @staticmethod
    def _run(*command: str) -> None:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE, check=False)
        assert told.returncode == 0, told.stderr

    def _wait(self, folder: Path) -> None:
        deadline = time.monotonic() + _DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", _PORTS[1]), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (folder / "samba.log").read_text()
                assert time.monotonic() < deadline, "samba does not listen"
                time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_DEADLINE)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._log.close()


def _ports_problem() -> str:
    if os.geteuid() != 0:
        return "Samba needs root: the tests with Active Directory are skipped"
    for port in _PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            return f"port {port} is taken: the tests with Active Directory are skipped"
    return ""
