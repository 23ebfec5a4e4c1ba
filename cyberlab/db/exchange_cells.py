"""The cells of one row: read, checked, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from cyberlab.db.models import Role
from cyberlab.db.text import clean, fold, normalise_username
from cyberlab.phrases import Phrase

_YES = frozenset({"1", "yes", "y", "true", "x", "on", "ja", "j", "wahr", "active", "aktiv"})
_NO = frozenset({"0", "no", "n", "false", "-", "off", "nein", "falsch", "disabled", "gesperrt", "inaktiv", "inactive"})
_ROLES = {
    Role.STUDENT: ("student", "students", "studierende", "studierender", "studentin", "schuler", "schulerin"),
    Role.TEACHER: ("teacher", "lehrkraft", "lehrperson", "lehrer", "lehrerin", "dozent", "dozentin", "tutor"),
    Role.ADMIN: ("admin", "administrator", "administratorin"),
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words}
# 2026-10-01, 2026-10-01 08:00, 2026-10-01T08:00:00+02:00; 1.10.2026, 01.10.2026 08:00
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[T ]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]+)?)?"
    r" ?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.ASCII,
)
_GERMAN = re.compile(
    r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})(?:,? +([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?)?", re.ASCII
)


class BadCell(Exception):
    """A cell that cannot be; ``phrase`` says why."""

    def __init__(self, column: str, phrase: Phrase) -> None:
        super().__init__(phrase)
        self.column = column
        self.phrase = phrase


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be taken: its line in the file, what stood in which column, and why not.

    ``own``: wrong by itself, whatever the database holds.
    """

    line: int
    column: str
    text: str
    why: Phrase
    own: bool = True


@dataclass(frozen=True, slots=True)
class Cells:
    """One row; a column that the file lacks is None, as is an empty cell where that means "as it is"."""

    line: int
    values: dict[str, str] = field(default_factory=dict)

    def has(self, column: str) -> bool:
        """Whether the file has that column."""
        return column in self.values

    def text(self, column: str, longest: int = 255) -> str | None:
        """What is in the cell; None for nothing."""
        value = self.values.get(column, "")
        if len(value) > longest:
            raise BadCell(column, Phrase("this has at most %(most)d characters", most=longest))
        return " ".join(clean(value).split()) or None

    def needed(self, column: str, longest: int = 255) -> str:
        """What is in a cell that may not be empty."""
        value = self.text(column, longest)
        if value is None:
            raise BadCell(column, _EMPTY)
        return value

    def username(self, column: str) -> str | None:
        """A user name as the database spells it."""
        value = self.text(column)
        name = normalise_username(value) if value else ""
        if not name:
            return None
        if len(name) > 255 or any(char.isspace() for char in name):
            raise BadCell(column, Phrase("a user name has no spaces or control characters"))
        return name

    def backend(self, column: str) -> str | None:
        """The name of a way to sign in."""
        value = self.text(column, 64)
        if value is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", value.casefold(), re.ASCII):
            raise BadCell(column, Phrase("a backend's name is lower-case letters, digits and dashes"))
        return value.casefold() if value else None

    def email(self, column: str) -> str | None:
        """A mail address."""
        value = self.text(column, 320)
        if value is not None and ("@" not in value.strip("@") or " " in value):
            raise BadCell(column, Phrase("that is no mail address"))
        return value

    def role(self, column: str) -> Role | None:
        """A role, in English or German."""
        value = self.text(column)
        if value is None:
            return None
        role = _ROLE_OF.get(fold(value).partition(" ")[0])
        if role is None:
            raise BadCell(column, Phrase("a role is student, teacher or admin"))
        return role

    def flag(self, column: str) -> bool | None:
        """Yes or no, in English or German."""
        value = self.text(column)
        if value is None:
            return None
        word = fold(value)
        if word not in _YES and word not in _NO:
            raise BadCell(column, Phrase("write yes or no"))
        return word in _YES

    def moment(self, column: str, zone: tzinfo, *, end: bool = False) -> datetime | None:
        """A time, in ``zone`` unless it says its own; a bare day means its midnight, as an ``end`` the next one."""
        value = self.text(column)
        if value is None:
            return None
        iso, german = _ISO.fullmatch(value), _GERMAN.fullmatch(value)
        if iso:
            year, month, day, hour, minute, second, offset = iso.groups()
        elif german:
            (day, month, year, hour, minute, second), offset = german.groups(), None
        else:
            raise BadCell(column, _NO_TIME)
        try:
            at = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
            if not 1970 <= at.year < 9999:
                raise ValueError(value)
            if hour is None and end:
                at += timedelta(days=1)
            if offset:
                return datetime.strptime(f"{at:%Y-%m-%dT%H:%M:%S}{offset}", "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
            return at.replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadCell(column, _NO_TIME) from None


_EMPTY = Phrase("this may not be empty")
_NO_TIME = Phrase("write a time as 2026-10-01 08:00 or 01.10.2026 08:00, or a day alone")
