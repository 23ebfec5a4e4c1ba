"""Dates and times: UTC in the portal, in a zone of the reader's for the reader."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from cyberlab.db.text import fold
from cyberlab.phrases import Phrase

COOKIE = "tz"  # the browser's zone, set by static/zone.js
FIELD = "%Y-%m-%dT%H:%M"
_FIELD = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")  # HTML, "local date and time"
MONTHS = (
    Phrase("Jan"),
    Phrase("Feb"),
    Phrase("Mar"),
    Phrase("Apr"),
    Phrase("May"),
    Phrase("Jun"),
    Phrase("Jul"),
    Phrase("Aug"),
    Phrase("Sep"),
    Phrase("Oct"),
    Phrase("Nov"),
    Phrase("Dec"),
)


class NoSuchTime(ValueError):
    """The clocks are put forward over it: that time of that day does not exist in the zone."""


@functools.cache
def zones() -> frozenset[str]:
    """The names of all zones (the IANA database; of the system, else of the package tzdata)."""
    return frozenset(available_timezones())


def zone(*names: str | None) -> tzinfo | None:
    """The zone of the first name that is one; None where none is. What a browser sends never reaches a path."""
    return next((ZoneInfo(name) for name in names if name and name in zones()), None)


def spoken(name: str) -> str:
    """A zone's name as people write it."""
    return name.replace("_", " ")


@functools.cache
def _by_folded_name() -> dict[str, str]:
    return {fold(spoken(name)): name for name in zones()}


def named(text: str) -> str | None:
    """The zone that somebody typed, upper and lower case and blanks as they like; None if there is none."""
    return _by_folded_name().get(fold(spoken(text)))


def local(moment: datetime, where: tzinfo) -> datetime:
    """The time in the zone; at the end of the calendar, where there is none, in UTC."""
    try:
        return moment.astimezone(where)
    except OverflowError:
        return moment.astimezone(UTC)


def text(translate: Callable[..., str], moment: datetime, where: tzinfo) -> str:
    """A time for people; midnight is left out, as most limits are days. UTC says that it is UTC."""
    at = local(moment, where)
    month = translate(MONTHS[at.month - 1])
    day = translate("%(day)d %(month)s %(year)d", day=at.day, month=month, year=at.year)
    if (at.hour, at.minute) == (0, 0):
        return day
    words = translate("%(day)s, %(hour)02d:%(minute)02d", day=day, hour=at.hour, minute=at.minute)
    return f"{words} UTC" if where is UTC else words


def offset(moment: datetime, where: tzinfo) -> str:
    """The zone and what it differs by then: "Europe/Berlin (UTC+01:00)"."""
    if where is UTC:
        return "UTC"
    differs = local(moment, where).strftime("%z")
    return f"{where} (UTC{differs[:3]}:{differs[3:5]})"


def value(moment: datetime | None, where: tzinfo) -> str:
    """A time as a datetime-local field wants it."""
    return local(moment, where).strftime(FIELD) if moment else ""


def asked(given: str, where: tzinfo) -> datetime | None:
    """The time in an address, in UTC; None for what is none, which a list then does not heed."""
    try:
        return parse(given, where)
    except ValueError:
        return None


def parse(given: str, where: tzinfo) -> datetime:
    """What a datetime-local field holds, in UTC.

    Where the clocks are put back, a time of day comes twice: the first of the two is meant. Where they are put
    forward, some do not come at all: NoSuchTime, as nobody can say which was meant.

    Raises ValueError for what is no time, or one of other centuries.
    """
    if not _FIELD.fullmatch(given):
        raise ValueError(given)
    meant = datetime.fromisoformat(given).replace(tzinfo=where)
    if not 1970 <= meant.year < 9999:  # at the calendar's end there are zones where it is not to be written
        raise ValueError(given)
    moment = meant.astimezone(UTC)
    if moment.astimezone(where).replace(tzinfo=None) != meant.replace(tzinfo=None):
        raise NoSuchTime(given)
    return moment
