"""The console pages; the websocket that they open is in vnc_proxy.py."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from cyberlab.auth.access import Action
from cyberlab.handlers.base import BaseHandler, requires
from cyberlab.handlers.explanations import FOREIGN_PAGE, NO_CLUSTER, RESTARTING, Refusal
from cyberlab.handlers.vm_source import has_terminal


def check_origin(handler: BaseHandler, origin: str | None) -> None:
    """Raise Refusal unless a page of ours asks, or no browser at all (all of them say whose page: RFC 6455, 10.2)."""
    if origin is None:
        return
    public = urlsplit(handler.portal.config.public_url)
    if origin.lower() == f"{public.scheme}://{public.netloc}".lower():
        return
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or parts.netloc.lower() != handler.request.host.lower():
        raise Refusal(403, FOREIGN_PAGE, f"Origin {origin[:120]!r}")


def check_openable(handler: BaseHandler) -> None:
    """Raise Refusal while no console of the handler's VM can be opened at all."""
    if handler.vm.cluster not in handler.portal.clusters:
        raise Refusal(503, NO_CLUSTER, f"no cluster {handler.vm.cluster!r} in the settings")
    if handler.portal.registry.draining:
        raise Refusal(503, RESTARTING)


class ConsolePage(BaseHandler):
    """A machine's screen or terminal; the page opens the websocket itself."""

    back = "/"
    watch = False  # look, and change nothing

    def get(self, vm_id: str) -> None:
        """Draw the page that can show what this machine has."""
        page = "terminal.html" if has_terminal(self.vm) else "console.html"
        self.render(page, vm=self.vm, back=self.where_from(), watch=self.watch)

    def where_from(self) -> str:
        """The page to go back to."""
        return self.back


@requires(Action.OPEN_CONSOLE, on_vm=True)
class StudentConsoleHandler(ConsolePage):
    """A machine's console for whom it is assigned to."""

    back = "/student"


@requires(Action.SUPERVISE, on_vm=True)
class TeacherConsoleHandler(ConsolePage):
    """The same from the teacher's side."""

    back = "/teacher"

    def where_from(self) -> str:
        """The class that it was opened from, as ``class`` says, or its wall with ``wall``."""
        group_id = self.get_query_argument("class", "")
        if not re.fullmatch("[0-9]{1,18}", group_id):
            return self.back
        return f"{self.back}/classes/{group_id}" + "/wall" * (self.get_query_argument("wall", "") == "1")


@requires(Action.SUPERVISE, on_vm=True)
class WatchHandler(TeacherConsoleHandler):
    """The same without a keyboard: who works there is not disturbed."""

    watch = True


@requires(Action.OPEN_CONSOLE, on_vm=True)
class ConsoleStatusHandler(BaseHandler):
    """Whether the websocket would be opened: a browser does not show a page why an upgrade was refused."""

    answers_json = True

    def get(self, vm_id: str) -> None:
        """Answer 200, or what the websocket answers: 401, 403, 404, 503 with title and advice.

        ``origin``: the page's own, which browsers send with a websocket but not with this request.
        """
        check_origin(self, self.get_query_argument("origin", None))
        check_openable(self)
        self.send_json({"vm": self.vm.id})
