"""Sign-in by CAS: a ticket in the browser's address, which the CAS server is asked about (CAS protocol 3.0.3)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from xml.parsers import expat

from pydantic import AfterValidator, BaseModel, ConfigDict

from cyberlab.auth.base import BackendContext, BackendUnavailable, Finding, Identity, RedirectStart, SignInRefused
from cyberlab.auth.remote import Remote, server_url, with_query

__all__ = ["CasBackend", "CasOptions"]

BUDGET = 15.0  # seconds for the answer about a ticket
LONGEST_TICKET = 1024  # characters; section 3.1.1 asks for 256 at least
DEEPEST = 20  # elements within each other
_SPACE = "http://www.yale.edu/tp/cas "


class CasOptions(BaseModel):
    """Where the CAS server is, and which attributes mean what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = ""
    url: Annotated[str, AfterValidator(server_url)]
    ca_file: Path | None = None
    subject_attribute: str = ""
    name_attribute: str = "displayName"
    mail_attribute: str = "mail"
    groups_attributes: tuple[str, ...] = ("memberOf", "groups")
    groups_separator: str = ""
    protocol: Literal[2, 3] = 3


class CasBackend:
    """A RedirectBackend over one CAS server."""

    def __init__(self, name: str, options: CasOptions, context: BackendContext | None = None) -> None:
        """Nothing connects yet."""
        self.name = name
        self.label = options.label or name
        self.options = options
        self._base = options.url.rstrip("/")
        self._remote = Remote(options.ca_file)

    async def begin(self, callback_url: str) -> RedirectStart:
        """Return the server's sign-in page. CAS has no state, so it goes into the service's address."""
        state = secrets.token_urlsafe(32)
        service = with_query(callback_url, {"state": state})
        return RedirectStart(with_query(f"{self._base}/login", {"service": service}), {"state": state})

    async def finish(self, callback_url: str, state: Mapping[str, str], arguments: Mapping[str, str]) -> Identity:
        """Ask the server whose ticket it is; raise SignInRefused or BackendUnavailable."""
        if not secrets.compare_digest(state["state"].encode(), arguments.get("state", "").encode("utf-8", "replace")):
            raise SignInRefused("state", "the state is another one")
        ticket = arguments.get("ticket", "")
        if not ticket.startswith("ST-") or len(ticket) > LONGEST_TICKET:
            raise SignInRefused("ticket", "there is none")
        return self.identity(await self.validate(with_query(callback_url, {"state": state["state"]}), ticket))

    async def validate(self, service: str, ticket: str) -> Mapping[str, list[str]]:
        """Ask the server about a ticket, see parse(); raise SignInRefused or BackendUnavailable."""
        path = "p3/serviceValidate" if self.options.protocol == 3 else "serviceValidate"  # section 2.5 and 2.8
        url = f"{self._base}/{path}"
        try:
            async with asyncio.timeout(BUDGET):
                response = await self._remote.get(url, {"service": service, "ticket": ticket})
        except TimeoutError:
            raise BackendUnavailable(f"{urlsplit(url).netloc}: no answer in {BUDGET:.0f} s") from None
        if response.code != 200:
            hint = "; protocol = 2 if it has no p3" if response.code == 404 and self.options.protocol == 3 else ""
            raise BackendUnavailable(f"{urlsplit(url).netloc}: status {response.code} at {path}{hint}")
        return parse(response.body)

    async def reach(self) -> list[Finding]:
        """Whether the server answers now, and as CAS does: it is asked about a ticket that it cannot know."""
        try:
            await self.validate(self._base, f"ST-cyberlab-{secrets.token_hex(8)}")
        except BackendUnavailable as error:
            return [Finding("answers", False, error.detail)]
        except SignInRefused:
            return [Finding("answers", True, "", self.options.url)]
        return [Finding("answers", False, "it takes a ticket that was made up")]

    async def logout_url(self, return_url: str) -> str | None:
        """Where to sign out of the CAS server too (section 2.3)."""
        return with_query(f"{self._base}/logout", {"service": return_url})

    def close(self) -> None:
        """Let go of the connections."""
        self._remote.close()

    def identity(self, answer: Mapping[str, list[str]]) -> Identity:
        """Who it is, by an answer about a ticket as parse() gives it."""
        options = self.options
        username = answer["user"][0]

        def first(name: str) -> str:
            return next((value for value in answer.get(f"attributes/{name}", ()) if value), "")

        subject = username
        if options.subject_attribute:  # several, in no certain order, would be no one's
            known_by = {value for value in answer.get(f"attributes/{options.subject_attribute}", ()) if value}
            subject = known_by.pop() if len(known_by) == 1 else ""
        groups = (value for name in options.groups_attributes for value in answer.get(f"attributes/{name}", ()))
        return Identity(
            self.name,
            subject,
            username,
            first(options.name_attribute),
            first(options.mail_attribute) or None,
            frozenset(group for value in groups for group in _split(value, options.groups_separator) if group),
        )


def _split(value: str, separator: str) -> list[str]:
    return [part.strip() for part in value.split(separator)] if separator else [value]


def parse(body: bytes) -> dict[str, list[str]]:
    """Read a serviceResponse (appendix A): the texts within authenticationSuccess by path.

    Raises SignInRefused for authenticationFailure, BackendUnavailable for what is no such answer. A document type
    is refused as soon as it begins, so there are no entities to expand or fetch.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise BackendUnavailable(f"the answer about a ticket is not CAS's: {error}"[:200]) from None
    if reader.failure is not None:
        raise SignInRefused("ticket", f"the server says {ascii(reader.failure)[:100]}")
    users = reader.texts.get("user", [])
    if len(users) != 1 or not users[0]:
        raise BackendUnavailable("the answer about a ticket names nobody, or several")
    return reader.texts


class _Reader:
    """Collects what matters while expat reads."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.failure: str | None = None
        self._path: list[str] = []
        self._text: list[str] = []
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _doctype(self, *_: object) -> None:
        raise ValueError("it has a document type")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not name.startswith(_SPACE) or len(self._path) >= DEEPEST:
            raise ValueError("an element of another kind, or too deep")
        plain = name.removeprefix(_SPACE)
        if not self._path and plain != "serviceResponse":
            raise ValueError("no serviceResponse")
        self._path.append(plain)
        self._text = []
        if self._path == ["serviceResponse", "authenticationFailure"]:
            self.failure = attributes.get("code", "")

    def _characters(self, text: str) -> None:
        self._text.append(text)

    def _end(self, _: str) -> None:
        if self._path[:2] == ["serviceResponse", "authenticationSuccess"] and len(self._path) > 2:
            self.texts.setdefault("/".join(self._path[2:]), []).append("".join(self._text).strip())
        self._path.pop()
        self._text = []
