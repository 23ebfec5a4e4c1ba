"""Who is in a class: many names pasted at once, roles, removal."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action
from cyberlab.db import members, named
from cyberlab.db.audit import Actor
from cyberlab.db.models import Group, MembershipRole
from cyberlab.handlers.admin.classes import LIST, ClassHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase

LONGEST = 100_000  # characters of a pasted list
AT_MOST = 2000  # names in it
SHOWN = 10  # wrong names in one message


@requires(Action.ADMINISTER)
class AddMembersHandler(ClassHandler):
    """Putting people into a class, by names."""

    async def get(self, group_id: str) -> None:
        """The form is on the class's page."""
        self.redirect(f"{LIST}/{(await self.found(group_id)).id}#names")

    async def post(self, group_id: str) -> None:
        """Add all of them, or nobody and say who is unknown; those that are known if that is wished."""
        group = await self.found(group_id)
        form = Form.sent(self)
        pasted = self.get_body_argument("names", "")[:LONGEST]
        form.values = {**form.values, "names": pasted, "name": group.name, "version": str(group.version)}
        role = form.choice("role", MembershipRole)
        wanted = named.split(pasted)
        if not wanted:
            form.fail("names", self.translate("please fill this in"))
        elif len(wanted) > AT_MOST:
            form.fail("names", self.translate("at most %(count)d names at a time", count=AT_MOST))
        if not form.errors:
            found, problems = await self.portal.database.run(named.people, wanted)
            if not problems or (found and form.flag("known")):
                changed = await self.portal.database.run(members.add_many, self.actor, group.id, found, role)
                return self.done(f"{LIST}/{group.id}", self._notice(changed, len(found), list(problems)))
            form.fail("names", self._wrong(problems))
        await self.show_class(group, form, 422)

    def _notice(self, changed: int, meant: int, unknown: list[str]) -> str:
        words = [
            self.translate("One person was put into the class.", "%(count)d people were put into it.", count=changed)
        ]
        if meant > changed:
            words.append(
                self.translate("One was in it already.", "%(count)d were in it already.", count=meant - changed)
            )
        if unknown:
            words.append(self.translate("Unknown: %(names)s.", names=_some(unknown)))
        return " ".join(words)

    def _wrong(self, problems: dict[str, Phrase]) -> str:
        lines = [f"{name}: {self.translate(problem)}" for name, problem in problems.items()]
        return self.translate("Nobody was added. %(problems)s", problems=_some(lines, "; "))


@requires(Action.ADMINISTER)
class ChangeMembersHandler(ClassHandler):
    """What is done with those that are ticked in a class's list."""

    async def get(self, group_id: str) -> None:
        """The list is on the class's page."""
        self.redirect(f"{LIST}/{(await self.found(group_id)).id}")

    async def post(self, group_id: str) -> None:
        """Change their role, or take them out; asks first where a directory would put them back."""
        group = await self.found(group_id)
        chosen = await self.portal.database.run(members.some, group.id, self.ticked)
        what = self.get_body_argument("do", "")
        where = f"{LIST}/{group.id}"
        if not chosen:
            return self.done(where, self.translate("Nobody was ticked, so nothing was changed."))
        if what != "remove":
            role = MembershipRole.TEACHER if what == "teacher" else MembershipRole.STUDENT
            changed = await self.portal.database.run(_change, self.actor, group.id, chosen, role)
            notice = self.translate("One role was changed.", "%(count)d roles were changed.", count=changed)
            return self.done(where, notice)
        given = [member for member in chosen if member.granted_by]
        if given and self.get_body_argument("sure", "") != "1":
            return self._ask(group, chosen, given)
        removed = await self.portal.database.run(
            members.remove_many, self.actor, group.id, {member.user.id for member in chosen}
        )
        notice = self.translate("One person was taken out.", "%(count)d people were taken out.", count=removed)
        self.done(where, notice)

    def _ask(self, group: Group, chosen: list[members.Member], given: list[members.Member]) -> None:
        self.render("admin/members_remove.html", group=group, chosen=chosen, given=given)


def _change(s: Session, actor: Actor, group_id: int, chosen: list[members.Member], role: MembershipRole) -> int:
    return members.add_many(s, actor, group_id, [member.user for member in chosen], role)


def _some(texts: list[str], between: str = ", ") -> str:
    more = len(texts) - SHOWN
    # It travels in a cookie of at most 4 KB.
    return between.join(text[:100] for text in texts[:SHOWN]) + (f" … (+{more})" if more > 0 else "")
