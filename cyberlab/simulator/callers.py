"""Who makes a request at the web port: cookies, API tokens, CSRF tokens, signing in (PVE/HTTPServer.pm)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote

from cyberlab.simulator.http import HttpError, Request
from cyberlab.simulator.state import ROOT, ClusterState, User
from cyberlab.simulator.tickets import Tickets

_COOKIE = re.compile(r"(?:^|\s)PVEAuthCookie(?:=| )([^;]*)")
_TOKEN = re.compile(r"PVEAPIToken=([^=]+)=(\S+)")


class Callers:
    """Knows the cluster's users and their secrets."""

    def __init__(self, state: ClusterState, tickets: Tickets) -> None:
        self._state = state
        self._tickets = tickets

    def authenticate(self, request: Request) -> str:
        """The user, or the full id of the token, behind a request; every refusal is a 401."""
        authorization = request.headers.get("authorization", "")
        token = _TOKEN.fullmatch(authorization)
        if token is not None:
            secret = self._state.tokens.get(token[1], "")
            known = self._enabled(token[1].partition("!")[0]) is not None
            if known and secret and hmac.compare_digest(secret.encode(), token[2].encode()):
                return token[1]
            raise HttpError(401, "Authentication failed!", body=False)
        match = _COOKIE.search(request.headers.get("cookie", "")) or _COOKIE.search(authorization)
        if match is None or not match[1]:
            raise HttpError(401, "No ticket", body=False)
        user = self._enabled(self._tickets.cookie_user(unquote(match[1])) or "")
        if user is None:
            raise HttpError(401, "Authentication failed!", body=False)
        # A token in the header cannot be sent by a foreign page, a cookie can (HTTPServer.pm:127).
        csrf = request.headers.get("csrfpreventiontoken", "")
        if request.method != "GET" and not self._tickets.csrf_holds(csrf, user.userid):
            raise HttpError(401, "Permission denied - invalid csrf token", body=False)
        return user.userid

    def sign_in(self, form: Mapping[str, str]) -> dict[str, object]:
        """POST access/ticket: by password, or by a ticket that still holds (renewal; root's mints anybody's)."""
        missing = [name for name in ("username", "password") if name not in form]
        if missing:
            complaint = "property is missing and it is not optional"
            raise HttpError(400, "Parameter verification failed.", errors=dict.fromkeys(missing, complaint))
        userid = form["username"] + (f"@{form['realm']}" if form.get("realm") else "")
        user, secret, challenge = self._enabled(userid), form["password"], form.get("tfa-challenge", "")
        if user is None:
            raise HttpError(401, "authentication failure")
        if challenge:
            known = bool(user.second_factor) and self._tickets.challenged(challenge, userid)
            if not known or not _same(secret, f"totp:{user.second_factor}"):
                raise HttpError(401, "authentication failure")
        elif self._tickets.cookie_user(secret) not in (userid, ROOT):
            if not _same(secret, user.password):
                raise HttpError(401, "authentication failure")
            if user.second_factor:
                ticket = self._tickets.challenge(userid)
                return self._answer(user, ticket) | {"NeedTFA": 1}
        return self._answer(user, self._tickets.cookie(userid))

    def _answer(self, user: User, ticket: str) -> dict[str, object]:
        return {
            "username": user.userid,
            "ticket": ticket,
            "CSRFPreventionToken": self._tickets.csrf(user.userid),
            "cap": {"vms": {"VM.Console": 1}} if user.userid == ROOT else {},
            "clustername": self._state.name,
        }

    def _enabled(self, userid: str) -> User | None:
        user = self._state.users.get(userid)
        return user if user is not None and user.enabled else None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
