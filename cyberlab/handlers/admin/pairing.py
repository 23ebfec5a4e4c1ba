"""Machines for a class: choose them and the class, see who would get which, tick, give."""

from __future__ import annotations

import re

from cyberlab.auth.access import Action
from cyberlab.db import pairing
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.pairing import By, Pairing, Terms, Wish
from cyberlab.handlers.admin import assignments as admin_assignments
from cyberlab.handlers.admin.base import AdminHandler
from cyberlab.handlers.admin.changes import CHANGES
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import KEPT, Form
from cyberlab.phrases import Phrase

WAYS = (
    (By.ORDER.value, Phrase("by order: the first machine to the first student")),
    (By.NAME.value, Phrase("by name: the user name stands in the machine's name")),
    (By.NUMBER.value, Phrase("by number: kali-07 to the seventh student")),
)
_PAIR = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_FIRST = {"by": By.ORDER.value, "free": "1", "new": "1"}


@requires(Action.ADMINISTER)
class PairHandler(AdminHandler):
    """The preview is in the address; what was ticked in it is sent."""

    async def get(self) -> None:
        """Show the form, and the preview as soon as class and machines are chosen."""
        form = self._asked()
        await self._show(form, self._terms(form), None)

    async def post(self) -> None:
        """Give what was ticked, all or nothing."""
        form = self._asked()
        terms = self._terms(form)
        sent = [_PAIR.fullmatch(value) for value in self.get_body_arguments("pair")]
        chosen = [(int(match[1]), int(match[2])) for match in sent if match]
        group_id = self._class(form)
        form.choice("by", By)
        if group_id is None:
            form.fail("class", "please choose one of these")
        elif not chosen:
            form.fail("pair", Phrase("nothing was ticked, so nothing was given"))
        if group_id is not None and not form.errors:
            try:
                run = self.portal.database.run
                done = await run(pairing.apply, self.actor, group_id, chosen, terms)
                return self.redirect(f"{CHANGES}/{done}", status=303)
            except NotFound:
                form.fail("class", Phrase("there is no such class any more; choose another one"))
            except Conflict as conflict:
                form.conflict(conflict)
        await self._show(form, terms, set(chosen))

    def _asked(self) -> Form:
        names = self.request.query_arguments
        values = {name: self.get_query_argument(name, "", strip=False)[:KEPT] for name in names}
        return Form(values if "by" in values else {**_FIRST, **values}, translate=self.translate, zone=self.zone)

    def _terms(self, form: Form) -> Terms:
        given = admin_assignments.terms(form)
        return Terms(given.starts_at, given.ends_at, given.can_power, given.can_reset)

    def _class(self, form: Form) -> int | None:
        value = form.values.get("class", "")
        return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None

    @property
    def _vm_ids(self) -> list[int]:
        values = self.get_query_arguments("vm")
        return [int(value) for value in values if re.fullmatch(r"[0-9]{1,10}", value)]

    async def _show(self, form: Form, terms: Terms, ticked: set[tuple[int, int]] | None) -> None:
        group_id, found = self._class(form), None
        by = form.choice("by", By)
        wish = Wish(form.values.get("machines", ""), self._vm_ids, by, form.flag("free"), form.flag("new"))
        if group_id is not None and (wish.machines.strip() or wish.vm_ids) and not form.errors.keys() - {"pair"}:
            try:
                found = await self.portal.database.run(pairing.preview, group_id, wish, terms)
            except NotFound:
                form.fail("class", Phrase("there is no such class any more; choose another one"))
        self.set_status(422 if form.errors else 200)
        self.render(
            "admin/pair.html",
            form=form,
            found=found,
            ticked=_ticked(found, ticked),
            vm_ids=wish.vm_ids,
            classes=[("", "–"), *await self.class_options(group_id)],
            ways=[(value, self.translate(text)) for value, text in WAYS],
            there=f"{self.request.path}?{self.request.query}",
        )


def _ticked(found: Pairing | None, sent: set[tuple[int, int]] | None) -> set[tuple[int, int]]:
    """What is ticked at first: all that nothing speaks against; later what was ticked and still can be."""
    if found is None:
        return set()
    pairs = [pair for pair in found.pairs if pair.possible]
    if sent is None:
        return {(pair.vm.id, pair.user.id) for pair in pairs if pair.remark is None}
    return {(pair.vm.id, pair.user.id) for pair in pairs} & sent
