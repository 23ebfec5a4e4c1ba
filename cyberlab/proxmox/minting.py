"""Cookies and tickets that a node signs on our word (PVE/AccessControl.pm): root there needs no password.

That is how the portal's cookie and tickets can be those of a user who may open consoles and nothing else, although
`pvesh` itself is always root@pam: what vncproxy gave is good for a port, and a ticket for that port may be anybody's.
"""

from __future__ import annotations

import re
import shlex

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.pvesh import failure
from cyberlab.proxmox.warm import WarmPvesh

TICKET_USER = "root@pam"  # pvesh runs as root and its tickets are root@pam's; the cookie's user must be the same
_SECONDS = 15.0
_USER = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z][A-Za-z0-9._-]+")  # nothing that means anything to perl within q()
_TICKET = re.compile(r"PVEVNC:[0-9A-F]{8}::[A-Za-z0-9+/=]+")
_SETUP = "PVE::RPCEnvironment->setup_default_cli_env(); print PVE::AccessControl::"


def cookie_command(user: str) -> str:
    """The command that prints a cookie of ``user``; raise ValueError for what is no user's name."""
    return _perl(f"assemble_ticket(q({_named(user)}))")


def ticket_command(user: str, vmid: int, port: int | None) -> str:
    """The command that prints a ticket of ``user`` for one machine's console; raise ValueError.

    ``port``: what it is bound to; None for qemu-server and pve-container from before April 2026, which do not know
    tickets that are bound.
    """
    bound = "" if port is None else f", {port:d}"
    return _perl(f"assemble_vnc_ticket(q({_named(user)}), q(/vms/{vmid:d}){bound})")


async def mint_cookie(warm: WarmPvesh, user: str) -> str:
    """Have the node sign a cookie for ``user``; raise Problem."""
    return await _printed(warm, cookie_command(user), ["cookie", user])


async def mint_ticket(warm: WarmPvesh, user: str, vmid: int, port: int | None) -> str:
    """Have the node sign a console's ticket for ``user``; raise Problem."""
    ticket = await _printed(
        warm,
        ticket_command(user, vmid, port),
        ["ticket", user, f"/vms/{vmid:d}", *([] if port is None else [f"{port:d}"])],
    )
    if not _TICKET.fullmatch(ticket):
        raise Problem(problems.TICKET_REFUSED, "what the node signed is no ticket")
    return ticket


async def _printed(warm: WarmPvesh, command: str, what: list[str]) -> str:
    result = await warm.sign(command, what, timeout=_SECONDS)
    if result.exit != 0:
        raise failure(result.exit, result.stderr)
    words = result.stdout.split()
    return words[-1] if words else ""


def _named(user: str) -> str:
    if not _USER.fullmatch(user):
        raise ValueError(f"no name of a user: {user!r}")
    return user


def _perl(call: str) -> str:
    return f"perl -MPVE::RPCEnvironment -e {shlex.quote(_SETUP + call)}"
