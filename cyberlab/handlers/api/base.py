"""What all of /api/v1 shares: tokens instead of cookies, JSON in and out, one form of error (RFC 9457)."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError
from tornado import locale

from cyberlab.auth.login import Visit
from cyberlab.auth.visit import ties
from cyberlab.db import tokens
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import utcnow
from cyberlab.db.rows import MAX_ID
from cyberlab.db.tokens import Scope
from cyberlab.handlers import languages
from cyberlab.handlers.base import BaseHandler, Rule, public
from cyberlab.handlers.explanations import NO_SUCH_PAGE, Refusal, explain, status_of

PREFIX = "/api/v1"
PROBLEM = "application/problem+json"
METHODS = ("get", "post", "put", "patch", "delete")

A = TypeVar("A", bound=BaseModel | None)


class ApiProblem(Exception):
    """What is wrong with a request; ``errors``: field by field, as {"field", "message"}."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.headers = headers or {}
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors or []


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address, as the OpenAPI document tells it."""

    summary: str
    scope: Scope
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    answer: type[BaseModel] | None
    status: int


def operation(
    summary: str,
    *,
    scope: Scope = Scope.READ,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    status: int = 200,
) -> Callable[[Callable[..., Awaitable[A]]], Callable[..., Awaitable[None]]]:
    """Describe a method: it gets the ids of the address, ``query`` and ``body``, checked, and returns ``answer``."""
    told = Operation(summary, scope, query, body, answer, status)

    def mark(method: Callable[..., Awaitable[A]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(method)
        async def call(handler: ApiHandler, *ids: str) -> None:
            given = [handler.asked(query)] if query else []
            if not query and handler.request.query_arguments:
                raise ApiProblem(422, "This takes no query parameters")
            if body:
                given.append(handler.sent(body))
            answered = await method(handler, *(_number(part) for part in ids), *given)
            handler.answer(status, answered)

        call.operation = told  # type: ignore[attr-defined]
        return call

    return mark


def operation_of(handler: type[Any], method: str) -> Operation | None:
    """What ``operation`` has written down for a method."""
    found = getattr(getattr(handler, method, None), "operation", None)
    return found if isinstance(found, Operation) else None


class ApiHandler(BaseHandler):
    """Answers scripts. No cookie is looked at, so nothing here can be asked for by another site's page."""

    answers_json = True
    scopes: frozenset[Scope] = frozenset()
    most: ClassVar[int] = 1 << 20  # bytes of a body

    def get_user_locale(self) -> locale.Locale | None:
        """Scripts are spoken to in English, whatever the owner of the token reads."""
        return languages.locale_of(languages.ENGLISH)

    def check_xsrf_cookie(self) -> None:
        """There is no cookie that could be abused."""

    async def prepare(self) -> None:
        """Recognise the token; then the rule, the method, the scope."""
        await super().prepare()
        told = operation_of(type(self), (self.request.method or "").lower())
        if told is None:
            names = ", ".join(name.upper() for name in METHODS if operation_of(type(self), name))
            title = "This address does not take that method"
            raise ApiProblem(405, title, f"It takes {names}.", headers={"Allow": names})
        if told.scope not in self.scopes:
            wanted = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{told.scope}"'}
            detail = f"It needs the scope “{told.scope}”."
            raise ApiProblem(403, "The token's scopes do not reach this", detail, headers=wanted)

    async def _visit(self, rule: Rule) -> Visit:
        if rule.public:
            return Visit(None)
        kind, _, text = self.request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text.isascii():
            return Visit(None)
        text, now = text.strip(), utcnow()
        found = await self.portal.database.run(tokens.find, text, now)
        if found is None:
            return Visit(None)
        login, self.scopes = found
        if now - login.seen_at >= tokens.TOUCH_EVERY:
            await self.portal.database.run(tokens.touch, text, now)
        return await self.portal.database.run(
            ties, login, now, **{"vm_id": None, "group_id": None, **self.concerned(rule)}
        )

    def _ask_to_sign_in(self) -> None:
        detail = "Send “Authorization: Bearer …” with a token from “My account” that is still valid."
        raise ApiProblem(401, "A token is needed", detail, headers={"WWW-Authenticate": 'Bearer realm="CyberLab"'})

    def asked(self, model: type[BaseModel]) -> Any:
        """The query's parameters, checked; of a repeated one the last counts."""
        given = {name: self.get_query_arguments(name, strip=False)[-1] for name in self.request.query_arguments}
        return self._checked(model, lambda: model.model_validate(given), "query parameters")

    def sent(self, model: type[BaseModel]) -> Any:
        """The body, checked."""
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiProblem(415, "The body has to be JSON", "Send “Content-Type: application/json”.")
        return self._checked(model, lambda: model.model_validate_json(self.request.body), "body")

    def _checked(self, model: type[BaseModel], check: Callable[[], BaseModel], what: str) -> BaseModel:
        try:
            return check()
        except ValidationError as error:
            errors = [
                {
                    "field": ".".join(str(part) for part in item["loc"]),
                    "message": item["msg"].removeprefix("Value error, "),
                }
                for item in error.errors(include_url=False, include_input=False, include_context=False)
            ]
            raise ApiProblem(422, f"The {what} cannot be used", errors=errors[:50]) from None

    def answer(self, status: int, model: BaseModel | None) -> None:
        """Send what a method returned."""
        self.set_status(status)
        if model is None:
            self.clear_header("Content-Type")
            self.finish()
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(model.model_dump_json())

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Give what the database refuses its status."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, ApiProblem):
            status_code = error.status
        elif isinstance(error, Conflict):
            status_code = 409
        elif isinstance(error, NotFound):
            status_code = 404
        else:
            status_code = status_of(error, status_code)
        super(BaseHandler, self).send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what happened, as JSON of one form."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, ApiProblem):
            title, detail, errors = error.title, error.detail, error.errors
            for name, value in error.headers.items():
                self.set_header(name, value)
        elif isinstance(error, Conflict):
            title, detail = "That is not possible as things are", error.message
            errors = [{"field": error.field, "message": error.message}]
        else:
            words = explain(status_code, error)
            title, detail, errors = words.title, f"{words.meaning} {words.advice}", []
        self.set_header("Content-Type", PROBLEM)
        status = HTTPStatus(status_code)
        told = {"type": "about:blank", "title": title, "status": status.value, "detail": detail, "errors": errors}
        self.finish(json.dumps(told | {"request_id": self.request_id}, ensure_ascii=False))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What was wrong with a request is in the access log by its status."""
        if not isinstance(value, ApiProblem | Conflict):
            super().log_exception(typ, value, tb)


@public
class NoSuchAddressHandler(ApiHandler):
    """Answers every address below /api/ that is none."""

    async def prepare(self) -> None:
        """Say so, as JSON."""
        raise Refusal(404, NO_SUCH_PAGE)


def _number(part: str) -> int:
    """An id from the address; one that no row can have names nothing."""
    number = int(part)
    if number > MAX_ID:
        raise NotFound(f"object {number}")
    return number
