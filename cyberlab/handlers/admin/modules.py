"""The pieces that several of the admin's templates share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tornado.web import UIModule

from cyberlab.blocking import Load
from cyberlab.db.consoles import ABANDONED
from cyberlab.db.models import ConsoleSession
from cyberlab.handlers.common import CommonHandler
from cyberlab.phrases import Phrase
from cyberlab.problems import CATALOGUE

ENDS = {
    "closed": Phrase("closed by the viewer"),
    ABANDONED: Phrase("the portal ended without a word"),
}


class Vanished(UIModule):
    """A machine's state when its cluster has it no more."""

    def render(self, since: datetime) -> str:
        """``since`` when."""
        return self.render_string("modules/vanished.html", since=since).decode()


class Span(UIModule):
    """From and until."""

    def render(self, starts_at: datetime | None, ends_at: datetime | None) -> str:
        """None: without limit."""
        return self.render_string("modules/span.html", starts_at=starts_at, ends_at=ends_at).decode()


class Size(UIModule):
    """A number of bytes."""

    def render(self, count: int) -> str:
        """Three digits at most."""
        assert isinstance(self.handler, CommonHandler)
        value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
        while value >= 999.5 and len(units) > 1:
            value, units = value / 1000, units[1:]
        if units[0] == "B" or value >= 9.95:
            return f"{value:.0f}\u00a0{units[0]}"
        whole, tenth = divmod(round(value * 10), 10)
        number = self.handler.translate("%(whole)d.%(tenth)d", whole=whole, tenth=tenth)
        return f"{number}\u00a0{units[0]}"


class Duration(UIModule):
    """A number of seconds."""

    def render(self, seconds: float) -> str:
        """Its largest unit, and the next where that says something."""
        assert isinstance(self.handler, CommonHandler)
        translate, minutes = self.handler.translate, round(seconds / 60)
        if seconds < 60:
            return translate("%(seconds)d s", seconds=seconds)
        if minutes < 60:
            return translate("%(minutes)d min", minutes=minutes)
        if minutes < 48 * 60:
            return translate("%(hours)d h %(minutes)02d min", hours=minutes // 60, minutes=minutes % 60)
        return translate("one day", "%(count)d days", count=minutes // (24 * 60))


class Verdict(UIModule):
    """Whether something is well: a shape, and a word."""

    def render(self, good: bool, words: str) -> str:
        """``words``: translated."""
        return self.render_string("modules/verdict.html", good=good, words=words).decode()


class Busy(UIModule):
    """How busy a pool of threads is."""

    def render(self, load: Load) -> str:
        """As its pool says."""
        return self.render_string("modules/busy.html", load=load).decode()


class PastConsoles(UIModule):
    """A table of console sessions."""

    def render(self, rows: Sequence[ConsoleSession]) -> str:
        """Newest first."""
        ends = {code: advice.title for code, advice in CATALOGUE.items()} | ENDS
        return self.render_string("modules/past_consoles.html", rows=rows, ends=ends).decode()


ADMIN_MODULES: dict[str, type[UIModule]] = {
    module.__name__: module for module in (Vanished, Span, Size, Duration, Verdict, Busy, PastConsoles)
}
