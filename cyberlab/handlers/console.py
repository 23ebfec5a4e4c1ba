"""The console pages; the websocket that they open is in vnc_proxy.py."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.handlers.base import BaseHandler, requires


@requires(Action.OPEN_CONSOLE, on_vm=True)
class StudentConsoleHandler(BaseHandler):
    """A machine's screen for whom it is assigned to."""

    def get(self, vm_id: str) -> None:
        """Draw the page; it opens the websocket itself."""
        self.render("console.html", vm=self.vm, back="/student")


@requires(Action.SUPERVISE, on_vm=True)
class TeacherConsoleHandler(BaseHandler):
    """The same from the teacher's side."""

    def get(self, vm_id: str) -> None:
        """Draw the page; it opens the websocket itself."""
        self.render("console.html", vm=self.vm, back="/teacher")


@requires(Action.OPEN_CONSOLE, on_vm=True)
class ConsoleStatusHandler(BaseHandler):
    """Whether the websocket would be opened: a browser does not show a page why an upgrade was refused."""

    answers_json = True

    def get(self, vm_id: str) -> None:
        """Answer 200, or what the websocket answers: 401, 403, 404 with title and advice."""
        self.send_json({"vm": self.vm.id})
