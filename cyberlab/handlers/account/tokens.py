"""My account: personal tokens of the REST API."""

from __future__ import annotations

from datetime import timedelta

from cyberlab.db import tokens
from cyberlab.db.errors import Conflict
from cyberlab.db.models import Role, utcnow
from cyberlab.db.tokens import Scope
from cyberlab.handlers.account.base import AccountPage, ConfirmedPage
from cyberlab.handlers.base import signed_in
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase

DAYS = (7, 30, 180, 366)


def scope_labels(role: Role) -> list[tuple[Scope, str, str]]:
    """The scopes with their words; those that would reach nothing are not offered."""
    labels: list[tuple[Scope, str, str]] = [
        (Scope.READ, Phrase("read"), Phrase("see what you may see")),
        (Scope.POWER, Phrase("power"), Phrase("start, stop and reset the machines that you may")),
    ]
    if role == Role.ADMIN:
        labels.append((Scope.WRITE, Phrase("write"), Phrase("change users, classes and assignments")))
    return labels


@signed_in
class TokensHandler(ConfirmedPage):
    """The list, and a new one."""

    async def get(self) -> None:
        """Show them."""
        await self._show(Form({"days": "180", Scope.READ.value: "1"}))

    async def post(self) -> None:
        """Make one, and show its text this once."""
        form = Form.sent(self)
        scopes = [scope for scope, _, _ in scope_labels(self.user.role) if form.flag(scope.value)]
        name, days = form.text("name", longest=64), form.values.get("days", "")
        if days not in map(str, DAYS):
            form.fail("days", Phrase("please choose one of these"))
        if not form.errors:
            try:
                _, text = await self.portal.database.run(
                    tokens.create,
                    self.actor,
                    self.user.user_id,
                    name=name,
                    scopes=scopes,
                    expires_at=utcnow() + timedelta(days=int(days)),
                )
                return await self._show(Form({"days": "180", Scope.READ.value: "1"}), text)
            except Conflict as conflict:
                form.conflict(conflict)
        await self._show(form)

    async def _show(self, form: Form, text: str = "") -> None:
        self.set_status(422 if form.errors else 200)
        self.render(
            "account/tokens.html",
            form=form,
            text=text,
            rows=await self.portal.database.run(tokens.of_user, self.user.user_id),
            scopes=scope_labels(self.user.role),
            days=[(str(days), self.translate("one day", "%(count)d days", count=days)) for days in DAYS],
            now=utcnow(),
        )


@signed_in
class RemoveTokenHandler(AccountPage):
    """Removing one of one's own."""

    async def post(self, token_id: str) -> None:
        """It ends at once."""
        removed = await self.portal.database.run(tokens.remove, self.actor, self.user.user_id, int(token_id))
        self.notify(self.translate("The token was removed.") if removed else self.translate("There is no such token."))
        self.redirect("/account/tokens", status=303)
