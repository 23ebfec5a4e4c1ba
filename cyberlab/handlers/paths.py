"""Where a browser may be sent after signing in: to our own pages only."""

from __future__ import annotations

from urllib.parse import urlsplit

LONGEST = 2000  # characters; longer than any address of ours


def own_path(value: str | None) -> str | None:
    """The path (with its query) if it is surely one of ours, else None.

    Browsers read ``//host``, ``/\\host`` and anything with a tab or newline in between as another host
    (WHATWG URL, "path or authority state"), so such characters are refused wherever they stand.
    ``/auth/`` pages are refused too: nobody wants to land on the sign-in page after signing in.
    """
    if not value or len(value) > LONGEST:
        return None
    if not value.startswith("/") or value.startswith("//") or "\\" in value:
        return None
    if any(character <= " " or character == "\x7f" or not character.isprintable() for character in value):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or parts.path == "/auth" or parts.path.startswith("/auth/"):
        return None
    return value
