"""My language and my time zone; and the language of the pages for who is not signed in."""

from __future__ import annotations

import itertools

from cyberlab.db import users
from cyberlab.db.text import fold, search_words
from cyberlab.handlers import languages, moments
from cyberlab.handlers.account.base import AccountPage
from cyberlab.handlers.base import BaseHandler, public, signed_in
from cyberlab.handlers.forms import Form
from cyberlab.handlers.paths import own_path
from cyberlab.phrases import Phrase

SUGGESTIONS = 20
COOKIE_DAYS = 365


@signed_in
class PreferencesHandler(AccountPage):
    """Choosing them; empty means the browser's."""

    async def get(self) -> None:
        """Show what is chosen."""
        user = await self.account()
        self._show(Form({"language": user.language, "time_zone": user.time_zone}))

    async def post(self) -> None:
        """Keep the choice, and say so in that language."""
        form = Form.sent(self)
        language, wanted = form.values.get("language", ""), form.text("time_zone", required=False)
        zone = moments.named(wanted) if wanted else ""
        if language and not languages.known(language):
            form.fail("language", "please choose one of these")
        if zone is None:
            form.fail("time_zone", "there is no such time zone; choose one from the list")
        if form.errors or zone is None:
            return self._show(form)
        await self.portal.database.run(users.set_preferences, self.user.user_id, language=language, time_zone=zone)
        # Or it would count where the account now says "the browser's".
        self.clear_cookie(self.cookie_name(languages.COOKIE), **self.cookie_flags())
        self.locale = languages.locale_of(language) or self.get_browser_locale()
        self.done(Phrase("Language and time zone were saved."))

    def _show(self, form: Form) -> None:
        self.set_status(422 if form.errors else 200)
        browser = languages.LANGUAGES[self.get_browser_locale().code]
        options = [("", self.translate("as the browser asks (%(language)s)", language=browser))]
        self.render(
            "account/preferences.html",
            form=form,
            languages=[*options, *languages.LANGUAGES.items()],
            browser_zone=moments.zone(self.get_cookie(moments.COOKIE)) or "UTC",
        )


@signed_in
class ZoneSuggestionsHandler(BaseHandler):
    """Time zones for a field that wants one."""

    answers_json = True

    def get(self) -> None:
        """Answer ``{"suggestions": [{value, text}]}``."""
        words = search_words(self.get_query_argument("q", "").replace("_", " "))
        names = ((name, moments.spoken(name)) for name in sorted(moments.zones()))
        found = (pair for pair in names if all(word in fold(pair[1]) for word in words))
        rows = [{"value": name, "text": spoken} for name, spoken in itertools.islice(found, SUGGESTIONS)]
        self.send_json({"suggestions": rows})


@public
class LanguageHandler(BaseHandler):
    """The language of the pages before signing in."""

    def post(self) -> None:
        """Keep it in this browser, and go back to the page."""
        code = languages.known(self.get_body_argument("language", ""))
        if code:
            name = self.cookie_name(languages.COOKIE)
            self.set_cookie(name, code, expires_days=COOKIE_DAYS, **self.cookie_flags())
        self.redirect(_back(self.get_body_argument("back", "")), status=303)


def _back(value: str) -> str:
    """A page of ours, also of the sign-in; what another site sends people to has been used up."""
    if value.startswith("/auth/") and not value.startswith("/auth/sso/") and own_path(f"/-{value}"):
        return value
    return own_path(value) or "/auth/login"
