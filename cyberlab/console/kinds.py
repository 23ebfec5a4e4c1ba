"""What a picture and a terminal do differently; all else of a console is the same course of steps (session.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cyberlab.console.client import ClientLink
from cyberlab.console.messages import ClientMessages
from cyberlab.console.upstream import Target, UpstreamLink


@dataclass(frozen=True, slots=True)
class ConsoleKind:
    """The steps that depend on what is shown."""

    dialling: str  # for people, while Proxmox is dialled
    waiting: str  # and while its end of the console answers
    authenticate: Callable[[UpstreamLink, Target], Awaitable[None]]  # raises Problem; the caller sets the deadline
    greet: Callable[[ClientLink], Awaitable[None]]  # the browser's half; raises Problem, ClientClosed
    messages: Callable[[bool], ClientMessages]  # takes view_only
    proof: float  # an end after so many open seconds proves that the machine did run
