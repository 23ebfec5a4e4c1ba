"""A terminal: the ticket and termproxy's "OK" on Proxmox's side, nothing to agree on with the browser."""

from __future__ import annotations

import asyncio

from cyberlab import problems
from cyberlab.console import termproxy
from cyberlab.console.client import ClientLink
from cyberlab.console.kinds import ConsoleKind
from cyberlab.console.upstream import Target, UpstreamLink
from cyberlab.phrases import Phrase
from cyberlab.problems import Problem

_ANSWER_SECONDS = 5.0  # termproxy asks pvedaemon about the ticket, which takes milliseconds; a refusal takes 3 s


async def authenticate(upstream: UpstreamLink, target: Target) -> None:
    """Send the ticket and wait for "OK" (main.rs, read_ticket_line); raise Problem.

    A refusal has no words: the connection is closed, or nothing comes at all. What may follow the two letters is the
    terminal's first output, and stays for the relay.
    """
    upstream.send(termproxy.login_line(target.terminal_user, target.terminal_ticket))
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await upstream.read(len(termproxy.OK))
    except TimeoutError:
        raise Problem(problems.TERMINAL_REFUSED, "no answer to the ticket") from None
    except Problem:
        raise Problem(problems.TERMINAL_REFUSED, "closed in answer to the ticket") from None
    if answer != termproxy.OK:
        raise Problem(problems.TERMINAL_REFUSED, f"answered {answer!r} to the ticket")


async def greet(client: ClientLink) -> None:
    """Tell the page that it may begin: a terminal may well stay silent until somebody types."""
    client.send_event(event="ready")


TERMINAL = ConsoleKind(
    dialling=Phrase("Connecting to the machine's terminal"),
    waiting=Phrase("Waiting for the terminal"),
    authenticate=authenticate,
    greet=greet,
    messages=lambda view_only: termproxy.ClientMessages(view_only=view_only),
    # termproxy lets us in before it looks for the container; one that is off ends the terminal a moment later.
    proof=5.0,
)
