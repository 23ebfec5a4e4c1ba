"""scripts/contained.py: a time limit, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import contained

SCRIPT = Path(contained.__file__)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="child subreapers are Linux's")


def _run(limit: float, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(limit), "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_is_the_commands_own(status: int) -> None:
    assert _run(30, f"exit {status}").returncode == status


def test_a_death_by_signal_is_a_failure() -> None:
    assert _run(30, "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_a_daemon_in_a_session_of_its_own_does_not_survive() -> None:
    done = _run(30, "(setsid sleep 1000 >/dev/null 2>&1 & echo $!)")
    assert done.returncode == 0
    assert not _alive(int(done.stdout))
    assert "left behind" in done.stderr


def test_the_limit_ends_everything() -> None:
    done = _run(0.5, "echo $$; sleep 1000")
    assert done.returncode == 124
    assert not _alive(int(done.stdout))


def test_a_signal_ends_everything() -> None:
    command = [sys.executable, str(SCRIPT), "60", "sh", "-c", "echo $$; sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not _alive(pid)
