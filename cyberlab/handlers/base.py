"""The base of every page: who is signed in, whether they may, and what each template gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import tzinfo
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

from tornado import locale

from cyberlab.auth.access import NO_FACTS, AccessFacts, Action, may
from cyberlab.auth.grants import Grant
from cyberlab.auth.login import Visit
from cyberlab.db.audit import Actor
from cyberlab.db.logins import Login
from cyberlab.db.models import Group, Role, Vm
from cyberlab.handlers import languages, moments
from cyberlab.handlers.common import CommonHandler
from cyberlab.handlers.explanations import (
    NO_SUCH_CLASS,
    NO_SUCH_MACHINE,
    NO_SUCH_PAGE,
    NOT_YOUR_CLASS,
    NOT_YOUR_MACHINE,
    NOT_YOURS,
    SIGN_IN,
    Refusal,
)
from cyberlab.handlers.portal import Portal
from cyberlab.phrases import Phrase

__all__ = ["BaseHandler", "Portal", "public", "requires", "signed_in"]

LONGEST_TOKEN = 128  # characters; ours have 43
NOTICE_DAYS = 1 / 24 / 60  # what a notice says is stale after a minute
HOMES = {Role.STUDENT: "/student", Role.TEACHER: "/teacher", Role.ADMIN: "/admin"}
NAVIGATION = {
    Role.STUDENT: (("/student", Phrase("My machines")),),
    Role.TEACHER: (("/teacher", Phrase("My classes")), ("/student", Phrase("My machines"))),
    Role.ADMIN: (("/admin", Phrase("Admin")), ("/student", Phrase("My machines"))),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may use a handler; ``on_vm``, ``on_class``: it concerns the one whose id is the address's first part."""

    public: bool = False
    action: Action = Action.USE
    on_vm: bool = False
    on_class: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before something is done: ``danger`` for what cannot be undone; ``hidden``: sent with a yes."""

    title: str
    text: str
    button: str
    back: str
    danger: bool = False
    hidden: Mapping[str, str] = field(default_factory=dict)


H = TypeVar("H", bound="type[BaseHandler]")


def public(handler: H) -> H:
    """Mark a handler as open to everybody."""
    handler.rule = Rule(public=True)
    return handler


def signed_in(handler: H) -> H:
    """Mark a handler as open to everybody who is signed in."""
    handler.rule = Rule()
    return handler


def requires(action: Action, *, on_vm: bool = False, on_class: bool = False) -> Callable[[H], H]:
    """Mark a handler as open to those whom auth.access lets do ``action``."""

    def mark(handler: H) -> H:
        handler.rule = Rule(action=action, on_vm=on_vm, on_class=on_class)
        return handler

    return mark


class BaseHandler(CommonHandler):
    """A handler with a rule; one that has none answers nobody."""

    rule: ClassVar[Rule | None] = None
    login: Login | None = None
    vm: Vm  # set for rules on a VM
    group: Group  # set for rules on a class
    facts: AccessFacts = NO_FACTS

    async def prepare(self) -> None:
        """Find out who asks and whether they may; nothing of a handler runs before that."""
        rule = type(self).rule
        if rule is None:
            raise RuntimeError(f"{type(self).__name__} says not who may use it")
        visit = await self._visit(rule)
        self.login = visit.login
        if rule.public:
            return
        if self.login is None:
            return self._ask_to_sign_in()
        self._authorize(self.login, rule, visit)

    async def _visit(self, rule: Rule) -> Visit:
        token = self.get_cookie(self.cookie_name("cyberlab"))
        if not token or len(token) > LONGEST_TOKEN:
            return Visit(None)
        return await self.portal.logins.visit(token, **self.concerned(rule))

    def concerned(self, rule: Rule) -> dict[str, int]:
        """The VM or class that the address names, as visit() wants it."""
        named = "vm_id" if rule.on_vm else "group_id" if rule.on_class else ""
        return {named: int(self.path_args[0])} if named else {}

    def _ask_to_sign_in(self) -> None:
        if self.answers_json:
            raise Refusal(401, SIGN_IN)
        # Only what was asked for by GET can be asked for again after signing in.
        next_ = f"?{urlencode({'next': self.request.uri})}" if self.request.method in ("GET", "HEAD") else ""
        self.redirect(f"/auth/login{next_}", status=303)

    def _authorize(self, login: Login, rule: Rule, visit: Visit) -> None:
        """Ask auth.access, once; raise Refusal 403, or 404 for a VM or class that does not exist."""
        if rule.on_vm:
            if visit.vm is None:
                raise Refusal(404, NO_SUCH_MACHINE)
            self.vm = visit.vm
        if rule.on_class:
            if visit.group is None:
                raise Refusal(404, NO_SUCH_CLASS)
            self.group = visit.group
        self.facts = visit.facts
        if not may(login.role, rule.action, self.facts):
            words = NOT_YOUR_MACHINE if rule.on_vm else NOT_YOUR_CLASS if rule.on_class else NOT_YOURS
            raise Refusal(403, words, f"{login.username} may not {rule.action.value}")

    @property
    def user(self) -> Login:
        """Who is signed in, where the rule wants somebody to be."""
        assert self.login is not None
        return self.login

    @property
    def actor(self) -> Actor:
        """Who does it, for the audit."""
        return Actor(self.user.user_id, self.user.username, self.client_address)

    @property
    def grant(self) -> Grant:
        """What this handler's rule lets them do, for what is done later: it is asked about again then."""
        rule = type(self).rule
        assert rule is not None
        return Grant(self.actor, rule.action, self.group.id if rule.on_class else 0, self.user.token_id)

    # Cookies.

    def cookie_name(self, name: str) -> str:
        """``__Host-`` (RFC 6265bis, section 4.1.3.2) keeps sibling hosts from setting it; it needs TLS."""
        return f"__Host-{name}" if self.portal.config.secure else name

    def cookie_flags(self) -> dict[str, Any]:
        """The attributes that every cookie of ours has (no lifetime: it goes with the browser's window)."""
        return {"path": "/", "httponly": True, "secure": self.portal.config.secure, "samesite": "Lax"}

    # What pages show.

    def get_user_locale(self) -> locale.Locale | None:
        """The user's own choice, else the browser's cookie from the sign-in page; None: what the browser asks for."""
        own = languages.locale_of(self.login.language) if self.login else None
        return own or languages.locale_of(self.get_cookie(self.cookie_name(languages.COOKIE)))

    @property
    def zone(self) -> tzinfo:
        """The user's own choice, else the browser's."""
        return moments.zone(self.login.time_zone if self.login else None) or super().zone

    def notify(self, text: str) -> None:
        """Show ``text``, translated, on top of the next page; signed, so that nobody else can put words there."""
        name = self.cookie_name("cyberlab-notice")
        self.set_signed_cookie(name, self.translate(text), expires_days=None, **self.cookie_flags())

    def ask_first(self, template: str, question: Question, *, status: int = 200, problem: str = "") -> None:
        """Show a question whose answer is a POST to the same address."""
        self.set_status(status)
        words = {"title": question.title, "text": question.text, "button": question.button, "problem": problem}
        shown = {name: self.translate(text) for name, text in words.items()}
        self.render(template, **(asdict(question) | shown))

    def _take_notice(self) -> str:
        name = self.cookie_name("cyberlab-notice")
        if self.get_cookie(name) is None:
            return ""
        self.clear_cookie(name, **self.cookie_flags())
        value = self.get_signed_cookie(name, max_age_days=NOTICE_DAYS)
        return value.decode("utf-8", "replace") if value else ""

    def get_template_namespace(self) -> dict[str, Any]:
        """What every template may use."""
        return super().get_template_namespace() | {
            "login": self.login,
            "notice": self._take_notice() if self.login and self.get_status() == 200 else "",
            "navigation": NAVIGATION[self.login.role] if self.login else (),
            "here": self._here,
        }

    def _here(self, address: str) -> bool:
        return self.request.path == address or self.request.path.startswith(f"{address}/")


@public
class NotFoundHandler(BaseHandler):
    """Answers every address that is none of ours."""

    async def prepare(self) -> None:
        """Say so, on a page that knows who is signed in."""
        await super().prepare()
        raise Refusal(404, NO_SUCH_PAGE)
