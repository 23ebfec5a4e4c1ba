"""sshd's limits: read from `sshd -T`, and noticed at a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyberlab.proxmox import sshd_limits
from cyberlab.proxmox.sshd_limits import SshdLimits
from tests.sshd import Sshd


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("port 22\nmaxsessions 10\nmaxstartups 10:30:100\n", SshdLimits(10, 10)),
        ("maxsessions 4\n", SshdLimits(4)),
        ("maxstartups 10:30:100\n", None),
        ("", None),
    ],
)
def test_told(text: str, limits: SshdLimits | None) -> None:
    assert sshd_limits.told(text) == limits


@pytest.mark.parametrize(("line", "found"), [("MaxSessions 4", 4), ("", 10), ("MaxSessions 0", 0)])
def test_noticed_at_a_real_one(tmp_path: Path, line: str, found: int) -> None:
    server = Sshd(tmp_path, extra=line)
    server.start()
    try:
        assert sshd_limits.noticed(server.cluster_settings(), 10, 8.0) == SshdLimits(found)
    finally:
        server.stop()
