"""Forms: what was typed, kept as it was, and what is wrong with it, field by field."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from tornado.web import RequestHandler

from cyberlab.db.errors import Conflict

E = TypeVar("E", bound=enum.StrEnum)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")  # HTML, "local date and time"
KEPT = 1000  # characters of a value that are sent back


@dataclass(slots=True)
class Form:
    """Values by field name as text, and at most one message a field; the methods read, check and note."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    now: Mapping[str, str] = field(default_factory=dict)  # what somebody else has saved meanwhile

    @classmethod
    def sent(cls, handler: RequestHandler) -> Form:
        """What came in a POST; of a repeated field the last counts."""
        names = handler.request.body_arguments
        return cls({name: handler.get_body_argument(name, "", strip=False)[:KEPT] for name in names})

    def fail(self, name: str, message: str) -> None:
        """Note what is wrong with a field; the first message stays."""
        self.errors.setdefault(name, sentence(message))

    def conflict(self, conflict: Conflict) -> None:
        """Note what the database refused."""
        self.fail(conflict.field, conflict.message)

    def version(self) -> int:
        """The version of the row that the form was filled with; one that no row has where the form does not say."""
        value = self.values.get("version", "")
        return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else 0

    def stale(self, conflict: Conflict, now: Mapping[str, str]) -> None:
        """Keep what was typed beside what is there ``now``; sent again, it replaces that."""
        self.conflict(conflict)
        self.values = {**self.values, "version": now.get("version", "")}
        self.now = now

    def text(self, name: str, *, longest: int = 255, required: bool = True) -> str:
        """A line of text without surrounding blanks."""
        value = self.values.get(name, "").strip()
        if required and not value:
            self.fail(name, "please fill this in")
        if len(value) > longest:
            self.fail(name, f"this has at most {longest} characters")
        return value

    def number(self, name: str, lowest: int, highest: int) -> int:
        """A whole number; the lowest where it is none."""
        value = self.text(name)
        if not re.fullmatch(r"[0-9]{1,18}", value) or not lowest <= int(value) <= highest:
            self.fail(name, f"please give a number from {lowest} to {highest}")
            return lowest
        return int(value)

    def choice(self, name: str, kinds: type[E]) -> E:
        """One of an enum's values; its first where it is none."""
        try:
            return kinds(self.values.get(name, ""))
        except ValueError:
            self.fail(name, "please choose one of these")
            return next(iter(kinds))

    def moment(self, name: str) -> datetime | None:
        """A date and time, in UTC; empty means None."""
        value = self.text(name, required=False)
        if not value:
            return None
        try:
            if not _MOMENT.fullmatch(value):
                raise ValueError
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        except ValueError:
            self.fail(name, "please give a date and a time, like 2026-10-01T08:00")
            return None

    def flag(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.values.get(name, "") == "1"


def sentence(message: str) -> str:
    """A message as a sentence of its own."""
    return message[:1].upper() + message[1:].rstrip(".") + "."


def moment_value(moment: datetime | None) -> str:
    """A time as a datetime-local field wants it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if moment else ""


def moment_text(moment: datetime | None) -> str:
    """A time for people, in UTC; midnight is left out, as most limits are days."""
    if moment is None:
        return ""
    utc = moment.astimezone(UTC)
    day = f"{utc.day} {utc:%b %Y}"
    return day if (utc.hour, utc.minute) == (0, 0) else f"{day}, {utc:%H:%M} UTC"
