"""Many assignments at once: choose in the list, see what would change, apply."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta

from cyberlab.auth.access import Action
from cyberlab.db import bulk_assignments
from cyberlab.db.bulk_assignments import KEEP, Change, End, Keep, Plan, Remove, Selection, Terms
from cyberlab.db.errors import Conflict, Stale
from cyberlab.db.models import utcnow
from cyberlab.handlers.admin.assignments import LIST, FilteredHandler
from cyberlab.handlers.admin.changes import CHANGES
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase

PREVIEWED = 50  # rows
CHANGED = Phrase("something has changed since this preview was made. Nothing was done yet: this is the new preview")
_LATE = timedelta(hours=1)  # how old a preview's "now" may be
_EARLY = timedelta(days=2)  # how far ahead the end of somebody's today may be


class Do(enum.StrEnum):
    """What is done with the chosen ones."""

    CHANGE = "change"
    NOW = "now"
    TODAY = "today"
    REMOVE = "remove"


class Mode(enum.StrEnum):
    """What happens to a time."""

    KEEP = "keep"
    SET = "set"
    NONE = "none"


class Tick(enum.StrEnum):
    """What happens to a right."""

    KEEP = "keep"
    YES = "yes"
    NO = "no"


MODES = (
    (Mode.KEEP.value, Phrase("leave it")),
    (Mode.SET.value, Phrase("set it to")),
    (Mode.NONE.value, Phrase("none")),
)
TICKS = ((Tick.KEEP.value, Phrase("leave it")), (Tick.YES.value, Phrase("allow")), (Tick.NO.value, Phrase("forbid")))


@requires(Action.ADMINISTER)
class BulkHandler(FilteredHandler):
    """The steps after choosing; the address holds the list's filter."""

    def get(self) -> None:
        """Choosing is done in the list."""
        self.redirect(LIST)

    async def post(self) -> None:
        """Ask what is to change, show what would, or do what was shown."""
        form = Form.sent(self)
        do = form.choice("do", Do)
        selection: Selection = self.only if form.flag("all") else self.ticked
        if not form.flag("all") and not self.ticked:
            return self.done(self.filtered(LIST), Phrase("No assignment was ticked, so nothing was changed."))
        change = self._change(form, do)
        # The first step of other times and rights has nothing to preview yet.
        if do is Do.CHANGE and not (form.flag("preview") or form.values.get("digest")):
            form.values = {**form.values, "starts": "keep", "ends": "keep", "power": "keep", "reset": "keep"}
            return await self._show(form, do, selection, None)
        if form.errors:
            return await self._show(form, do, selection, None)
        if form.values.get("digest"):
            try:
                done = await self.portal.database.run(
                    bulk_assignments.apply, self.actor, selection, change, utcnow(), form.values["digest"]
                )
                return self.redirect(f"{CHANGES}/{done}", status=303)
            except Stale:
                form.fail("selection", CHANGED)
            except Conflict as conflict:
                form.conflict(conflict)
        await self._show(form, do, selection, change)

    def _change(self, form: Form, do: Do) -> Change:
        if do is Do.REMOVE:
            return Remove()
        if do is not Do.CHANGE:
            at = self._end(form, do)
            form.values = {**form.values, "at": at.isoformat()}
            return End(at)
        starts, ends = self._time(form, "starts"), self._time(form, "ends")
        if isinstance(starts, datetime) and isinstance(ends, datetime) and ends <= starts:
            form.fail("ends_at", "the end has to be after the start")
        return Terms(starts, ends, self._right(form, "power"), self._right(form, "reset"))

    def _end(self, form: Form, do: Do) -> datetime:
        """The moment that the preview was about, if it was a short while ago; else anew."""
        now = utcnow().replace(microsecond=0)
        try:
            at = datetime.fromisoformat(form.values.get("at", ""))
            if at.tzinfo is not None and now - _LATE <= at <= now + _EARLY:
                return at.astimezone(UTC)
        except ValueError:
            pass
        if do is Do.NOW:
            return now
        today = now.astimezone(self.zone).replace(hour=0, minute=0, second=0, tzinfo=None)
        return (today + timedelta(days=1)).replace(tzinfo=self.zone).astimezone(UTC)

    def _time(self, form: Form, name: str) -> datetime | Keep | None:
        if not form.values.get(name):
            return KEEP
        mode = form.choice(name, Mode)
        if mode is not Mode.SET:
            return KEEP if mode is Mode.KEEP else None
        moment = form.moment(f"{name}_at")
        if moment is None:
            form.fail(f"{name}_at", "please fill this in")
        return moment

    def _right(self, form: Form, name: str) -> bool | None:
        tick = form.choice(name, Tick) if form.values.get(name) else Tick.KEEP
        return None if tick is Tick.KEEP else tick is Tick.YES

    async def _show(self, form: Form, do: Do, selection: Selection, change: Change | None) -> None:
        plan: Plan | None = None
        try:
            if change is not None:
                plan = await self.portal.database.run(bulk_assignments.plan, selection, change, utcnow())
        except Conflict as conflict:
            form.conflict(conflict)
        self.set_status(422 if form.errors else 200)
        self.render(
            "admin/bulk.html",
            form=form,
            do=do,
            ids=() if form.flag("all") else sorted(self.ticked),
            everything=form.flag("all"),
            plan=plan,
            shown=PREVIEWED,
            there=f"{LIST}/bulk?{self.request.query}",
            back=self.filtered(LIST),
            at=change.at if isinstance(change, End) else None,
            modes=[(value, self.translate(text)) for value, text in MODES],
            ticks=[(value, self.translate(text)) for value, text in TICKS],
        )
