"""What a query may refuse, in words that a form can show."""

from __future__ import annotations

from cyberlab.phrases import Phrase


class Conflict(Exception):
    """The change breaks a rule or meets another row; ``field`` is the form's field to show ``message`` at."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Stale(Conflict):
    """Somebody else has saved the row since the form was opened; nothing of this form was taken."""

    def __init__(self) -> None:
        super().__init__(
            "version",
            Phrase(
                "somebody else has changed this since you opened it. Nothing of yours was saved; what is there now "
                "stands below, and saving again replaces it"
            ),
        )


class NotFound(Exception):
    """There is no such row; ``what`` names it: "user 7"."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no such {what}")
        self.what = what


class DatabaseUnavailable(Exception):
    """The database cannot be opened or reached; the message says why and holds no password."""
