"""The pieces that several templates share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from tornado.escape import xhtml_escape
from tornado.web import UIModule

from cyberlab.db.page import Page
from cyberlab.handlers import moments
from cyberlab.handlers.common import CommonHandler
from cyberlab.handlers.forms import Form


class Field(UIModule):
    """A labelled field with its hint and its message, tied together for screen readers."""

    def render(
        self,
        form: Form,
        name: str,
        label: str,
        *,
        kind: str = "text",
        hint: str = "",
        required: bool = True,
        maxlength: int | None = None,
        options: Sequence[tuple[str, str]] | None = None,
        suggest: str = "",
        suggestions: Sequence[tuple[str, str]] = (),
        autocomplete: str = "off",
        inputmode: str = "",
    ) -> str:
        """``options`` makes it a choice; ``suggest``: where suggestions are asked for while typing."""
        error = form.errors.get(name, "")
        now = form.now.get(name)
        described = [f"{name}-error"] * bool(error) + [f"{name}-hint"] * bool(hint)
        return self.render_string(
            "modules/field.html",
            name=name,
            label=label,
            kind=kind,
            hint=hint,
            required=required,
            maxlength=maxlength,
            options=options,
            suggest=suggest,
            suggestions=suggestions,
            autocomplete=autocomplete,
            inputmode=inputmode,
            error=error,
            described=" ".join(described),
            value="" if kind == "password" else form.values.get(name, ""),
            now=now.replace("T", " ") if now and kind == "datetime-local" else now,
        ).decode()


class TextArea(UIModule):
    """A labelled field of several lines."""

    def render(self, form: Form, name: str, label: str, *, hint: str = "", rows: int = 6) -> str:
        """As Field does."""
        error = form.errors.get(name, "")
        described = [f"{name}-error"] * bool(error) + [f"{name}-hint"] * bool(hint)
        return self.render_string(
            "modules/text_area.html",
            name=name,
            label=label,
            hint=hint,
            rows=rows,
            error=error,
            described=" ".join(described),
            value=form.values.get(name, ""),
        ).decode()


class Flag(UIModule):
    """A box to tick."""

    def render(self, form: Form, name: str, label: str, hint: str = "") -> str:
        """``hint``: what ticking it means."""
        ticked = bool(form.values.get(name))
        now = form.now.get(name)
        return self.render_string(
            "modules/flag.html",
            name=name,
            label=label,
            hint=hint,
            ticked=ticked,
            now=None if now is None or bool(now) == ticked else bool(now),
        ).decode()


class Problems(UIModule):
    """What is wrong with a form, on top of it, each linked to its field."""

    def render(self, form: Form) -> str:
        """Nothing for a form without errors."""
        return self.render_string("modules/problems.html", form=form).decode() if form.errors else ""


class Pager(UIModule):
    """Earlier and later, keeping what was searched for."""

    def render(self, page: Page[Any]) -> str:
        """Links stay the same when mailed: page and search are in them."""
        number = page.offset // page.limit + 1
        earlier = self._link(number - 1) if number > 1 else None
        later = self._link(number + 1) if page.offset + len(page.rows) < page.total else None
        return self.render_string("modules/pager.html", page=page, earlier=earlier, later=later).decode()

    def _link(self, number: int) -> str:
        asked = self.request.query_arguments
        kept = [(name, value) for name in asked for value in self.handler.get_query_arguments(name)]
        kept = [(name, value) for name, value in kept if value and name != "page"]
        return f"{self.request.path}?{urlencode([*kept, ('page', number)])}"


class Moment(UIModule):
    """A time as the reader's clock shows it."""

    def render(self, moment: datetime, words: str = "%(moment)s") -> str:
        """``words``: what stands around it, translated already."""
        handler = self.handler
        assert isinstance(handler, CommonHandler)
        before, _, after = (xhtml_escape(part) for part in words.partition("%(moment)s"))
        exact = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = xhtml_escape(moments.text(handler.translate, moment, handler.zone))
        # A list shows a hundred of them: a template each would take longer than all the rest of the page.
        title = xhtml_escape(moments.offset(moment, handler.zone))
        return f'{before}<time datetime="{exact}" title="{title}">{text}</time>{after}'


class Script(UIModule):
    """A script of ours, with what it and those that it imports say to people in the reader's language."""

    def render(self, name: str) -> str:
        """``name``: under static/."""
        assert isinstance(self.handler, CommonHandler)
        texts = self.handler.portal.assets.texts(name)
        shown = {text: words for text in sorted(texts) if (words := self.handler.translate(text)) != text}
        return self.render_string("modules/script.html", name=name, words=shown).decode()


class MachineState(UIModule):
    """A machine's state: "checking…" until states.js has asked."""

    def render(self, vm_id: int) -> str:
        """``vm_id``: the portal's id."""
        return self.render_string("modules/state.html", vm_id=vm_id).decode()


MODULES: dict[str, type[UIModule]] = {
    module.__name__: module
    for module in (
        Field,
        TextArea,
        Flag,
        Problems,
        Pager,
        Moment,
        Script,
        MachineState,
    )
}
