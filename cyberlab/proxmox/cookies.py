"""Auth cookies: signed by the node on our word over SSH, or got at its web port for a password."""

from __future__ import annotations

from typing import Any

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.minting import TICKET_USER
from cyberlab.proxmox.passes import Pass
from cyberlab.proxmox.tls import Trust
from cyberlab.proxmox.web import Web
from cyberlab.settings import ClusterSettings

_SECONDS = 15.0


def settings_problems(settings: ClusterSettings) -> list[str]:
    """What is odd about the settings for the cookie, one line each, named as in the environment."""
    if settings.source == "https" or settings.user == TICKET_USER:
        return []
    return [
        f"PROXMOX_USER: must be {TICKET_USER}; tickets come from pvesh, which is always {TICKET_USER}, and Proxmox "
        "takes no cookie of anybody else with them"
    ]


async def sign_in(web: Web, trust: Trust, user: str, secret: str) -> Pass:
    """Sign in by a password, or by a cookie that holds; either travels in the body. Raises Problem.

    With a cookie this gets what one alone does not have: the token for requests that change something.
    """
    answer = await web.ask(
        trust, "POST", "/access/ticket", {"username": user, "password": secret}, headers={}, timeout=_SECONDS
    )
    if answer.status == 401:
        raise Problem(problems.COOKIE_REFUSED, f"Proxmox does not accept {user} with the password or cookie")
    if answer.status != 200:
        raise Problem(problems.COOKIE_REFUSED, f"sign-in as {user}: {answer.status} {answer.phrase}")
    data: Any = answer.data
    if not isinstance(data, dict):
        raise Problem(problems.COOKIE_REFUSED, "the answer to the sign-in holds no ticket")
    if data.get("NeedTFA"):
        raise Problem(problems.COOKIE_REFUSED, f"{user} has a second factor; use the SSH key or an API token")
    return Pass.of_cookie(user, checked(data.get("ticket")), str(data.get("CSRFPreventionToken") or ""))


def checked(cookie: object) -> str:
    """The cookie if it is one; raise Problem."""
    if not isinstance(cookie, str) or not cookie.startswith("PVE:"):
        raise Problem(problems.COOKIE_REFUSED, "what came is no auth cookie")
    if not cookie.isascii() or not cookie.isprintable() or ";" in cookie or " " in cookie:
        raise Problem(problems.COOKIE_REFUSED, "what came is no auth cookie")
    return cookie
