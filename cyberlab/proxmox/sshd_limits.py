"""How many sessions and connections a node's sshd allows: as it tells itself, or as it behaves (blocking)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import paramiko

from cyberlab.proxmox.dial import connect, end
from cyberlab.settings import ClusterSettings


@dataclass(frozen=True, slots=True)
class SshdLimits:
    """``sessions``: commands at a time on one connection; ``startups``: connections that have not signed in, from
    which on some are refused (None: unknown). sshd_config(5), MaxSessions and MaxStartups.
    """

    sessions: int
    startups: int | None = None


def told(text: str) -> SshdLimits | None:
    """The limits in what `sshd -T` prints, None if they are not there."""
    sessions = re.search(r"^maxsessions (\d+)$", text, re.MULTILINE)
    startups = re.search(r"^maxstartups (\d+)", text, re.MULTILINE)
    return SshdLimits(int(sessions[1]), int(startups[1]) if startups else None) if sessions else None


def noticed(settings: ClusterSettings, most: int, timeout: float) -> SshdLimits:
    """Open up to ``most`` sessions on a connection of its own, without a command in any, and count; raise Problem.

    ``timeout``: seconds for all of it.
    """
    until = time.monotonic() + timeout
    transport = connect(settings, timeout)
    opened: list[paramiko.Channel] = []
    try:
        while len(opened) < most:
            opened.append(transport.open_session(timeout=max(0.1, until - time.monotonic())))
    except (paramiko.SSHException, EOFError, OSError):
        pass  # refused: that is the limit
    finally:
        end(transport)
    return SshdLimits(len(opened))
