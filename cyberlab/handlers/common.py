"""What every response has, be it a page, a file or an error: headers, a request id, an address, one log line."""

from __future__ import annotations

import json
import logging
import secrets
import time
from datetime import UTC, tzinfo
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

from cyberlab.db.errors import NotFound
from cyberlab.db.models import Role
from cyberlab.handlers import languages, moments
from cyberlab.handlers.address import client_address
from cyberlab.handlers.explanations import FORM_EXPIRED, UNAVAILABLE, Refusal, explain, status_of
from cyberlab.handlers.portal import Portal
from cyberlab.phrases import Phrase

access_log = logging.getLogger("cyberlab.access")
log = logging.getLogger("cyberlab.handlers")

# noVNC draws its cursor and JPEG rectangles from data: pictures; Pico's icons are data: pictures too.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), "
    "clipboard-read=(self), clipboard-write=(self), fullscreen=(self)",
    "Cache-Control": "no-store",
}
ROLES = {Role.STUDENT: Phrase("student"), Role.TEACHER: Phrase("teacher"), Role.ADMIN: Phrase("admin")}
HSTS = "max-age=31536000"


class CommonHandler(RequestHandler):
    """The base of everything that answers, static files included."""

    answers_json = False
    request_id: str

    @property
    def portal(self) -> Portal:
        """What the pages work with."""
        portal = self.application.settings["portal"]
        assert isinstance(portal, Portal)
        return portal

    def set_default_headers(self) -> None:
        """Tornado calls this at the start and again before an error page; the request id must stay the same."""
        if not hasattr(self, "request_id"):
            self.request_id = secrets.token_hex(8)
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)
        if self.portal.config.secure:
            self.set_header("Strict-Transport-Security", HSTS)
        self.set_header("X-Request-Id", self.request_id)

    @property
    def client_address(self) -> str:
        """The browser's address; X-Forwarded-For counts only from a trusted proxy."""
        return client_address(
            self.request.remote_ip or "",
            self.request.headers.get_list("X-Forwarded-For"),
            self.portal.proxies,
        )

    async def head(self, *args: str, **kwargs: str) -> None:
        """What GET answers, without its body (RFC 9110, section 9.3.2): Tornado leaves that out by itself."""
        answer = self.get(*args, **kwargs)
        if answer is not None:
            await answer

    def translate(self, text: str, plural: str | None = None, /, **values: Any) -> str:
        """A text in the reader's language, with its placeholders filled (``%(name)s``); templates call it ``_``."""
        return languages.translate(self.locale, text, plural, **values)

    @property
    def zone(self) -> tzinfo:
        """Where the reader's clock is: as their browser says; UTC while it has not."""
        return moments.zone(self.get_cookie(moments.COOKIE)) or UTC

    def get_template_namespace(self) -> dict[str, Any]:
        """What every template may use."""
        return super().get_template_namespace() | {
            "_": self.translate,
            "login": None,
            "notice": "",
            "navigation": (),
            "request_id": self.request_id,
            "asset": self.portal.assets.url,
            "ROLES": ROLES,
            "LANGUAGES": languages.LANGUAGES,
            "zone": self.zone,
        }

    def check_xsrf_cookie(self) -> None:
        """Tornado's check, with words that help."""
        try:
            super().check_xsrf_cookie()
        except HTTPError as error:
            raise Refusal(403, FORM_EXPIRED, error.log_message or "") from None

    def send_json(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(value, ensure_ascii=False))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Give a failure of what stands behind the portal the status that fits (503)."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        super().send_error(status_of(error, status_code), **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what happened, what it means and what to do, as JSON, page or text; never a traceback."""
        explanation = explain(status_code, (kwargs.get("exc_info") or (None, None))[1]).translated(self.translate)
        if self.answers_json:
            self.send_json(
                {
                    "title": explanation.title,
                    "meaning": explanation.meaning,
                    "advice": explanation.advice,
                    "request_id": self.request_id,
                    "help": f"/help/{explanation.code}" if explanation.code else "",
                },
                status_code,
            )
        elif "text/html" in self.request.headers.get("Accept", ""):
            self.finish(self.render_string("error.html", status=status_code, explanation=explanation))
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(
                f"{explanation.title}\n{explanation.meaning}\n{explanation.advice}\n"
                f"{self.translate('Request id')}: {self.request_id}\n"
            )

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """One line for what is known; a traceback for what is not. No query string: it may hold a secret."""
        where = f"{self.request.method} {self.request.path} [{self.request_id}]"
        if isinstance(value, HTTPError):
            if value.log_message:
                log.info("%s: %s %s", where, value.status_code, value.get_message())
        elif isinstance(value, NotFound):
            log.info("%s: %s", where, value)
        elif isinstance(value, UNAVAILABLE):
            log.warning("%s: %s: %s", where, type(value).__name__, value)
        else:
            log.error("%s: %s", where, value, exc_info=(typ, value, tb) if typ and value else None)


def log_request(handler: RequestHandler) -> None:
    """The access log: one line a request, without the query string."""
    request = handler.request
    access_log.info(
        "%s %s %s %.1fms %s [%s]",
        handler.get_status(),
        request.method,
        urlsplit(request.path).path,
        (time.time() - request._start_time) * 1000,
        handler.client_address if isinstance(handler, CommonHandler) else request.remote_ip,
        getattr(handler, "request_id", "-"),
    )
