"""Forms: what was typed, kept as it was, and what is wrong with it, field by field."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, TypeVar

from cyberlab.db.errors import Conflict
from cyberlab.handlers import moments
from cyberlab.phrases import Phrase

if TYPE_CHECKING:
    from cyberlab.handlers.common import CommonHandler

E = TypeVar("E", bound=enum.StrEnum)
KEPT = 1000  # characters of a value that are sent back


@dataclass(slots=True)
class Form:
    """Values by field name as text, and at most one message a field; the methods read, check and note.

    ``translate``: into the reader's language; ``zone``: the one that times are written in.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    translate: Callable[[str], str] = str
    zone: tzinfo = UTC
    now: Mapping[str, str] = field(default_factory=dict)  # what somebody else has saved meanwhile

    @classmethod
    def sent(cls, handler: CommonHandler) -> Form:
        """What came in a POST; of a repeated field the last counts."""
        names = handler.request.body_arguments
        values = {name: handler.get_body_argument(name, "", strip=False)[:KEPT] for name in names}
        return cls(values, translate=handler.translate, zone=handler.zone)

    def fail(self, name: str, message: str) -> None:
        """Note what is wrong with a field; the first message stays."""
        self.errors.setdefault(name, sentence(self.translate(message)))

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
            self.fail(name, Phrase("this has at most %(most)d characters", most=longest))
        return value

    def number(self, name: str, lowest: int, highest: int) -> int:
        """A whole number; the lowest where it is none."""
        value = self.text(name)
        if not re.fullmatch(r"[0-9]{1,18}", value) or not lowest <= int(value) <= highest:
            self.fail(
                name, Phrase("please give a number from %(lowest)d to %(highest)d", lowest=lowest, highest=highest)
            )
            return lowest
        return int(value)

    def choice(self, name: str, kinds: type[E]) -> E:
        """One of an enum's values; its first where it is none."""
        try:
            return kinds(self.values.get(name, ""))
        except ValueError:
            self.fail(name, "please choose one of these")
            return next(iter(kinds))

    def moment(self, name: str, kept: datetime | None = None) -> datetime | None:
        """A date and time, in UTC; empty means None.

        ``kept``: what the field showed. Sent back unchanged, it is that to the second, also where its time of day
        comes twice.
        """
        value = self.text(name, required=False)
        if not value:
            return None
        if value == moments.value(kept, self.zone):
            return kept
        try:
            return moments.parse(value, self.zone)
        except moments.NoSuchTime:
            self.fail(name, "that time does not exist: the clocks are put forward over it")
            return None
        except ValueError:
            self.fail(name, "please give a date and a time, like 2026-10-01T08:00")
            return None

    def flag(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.values.get(name, "") == "1"


def sentence(message: str) -> str:
    """A message as a sentence of its own."""
    return message[:1].upper() + message[1:].rstrip(".") + "."
