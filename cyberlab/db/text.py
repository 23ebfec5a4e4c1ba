"""Text on its way into the database: user names in one spelling, search terms folded, controls removed."""

from __future__ import annotations

import unicodedata


def normalise_username(name: str) -> str:
    """One spelling per name, so that ``Anna``, ``anna`` and a full-width ``ａｎｎａ`` are one user.

    NFKC and case folding, as in RFC 8265 section 3.3 (UsernameCaseMapped, with compatibility mapping on top).
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Folding may leave a form that is not normal any more, and normalising may leave spaces ("¯" is one and a macron).
    return unicodedata.normalize("NFKC", folded).strip()


def is_lookalike(name: str) -> bool:
    """Whether a name becomes ours only by exchanging characters for ones that look alike: ``ａnna``, ``ⓐnna``."""
    bare = clean(name)
    return unicodedata.normalize("NFC", bare.casefold()) != normalise_username(bare)


def fold(text: str) -> str:
    """Text as search compares it: no case, no accents, no control characters."""
    if text.isascii():  # nothing of it changes but its case; a file of a hundred thousand rows is mostly that
        return clean(text.casefold())
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return clean(unicodedata.normalize("NFKC", bare.casefold()))


def search_words(search: str) -> list[str]:
    """The words of a search box, folded; every one of them has to be found. At most eight of 64 characters."""
    return [word[:64] for word in fold(search[:512]).split()[:8]]


def clean(text: str, limit: int | None = None) -> str:
    """Replace what cannot be printed (PostgreSQL refuses NUL, a log line breaks at newlines); cut at ``limit``."""
    text = text[:limit]
    if text.isprintable():
        return text.strip()
    return "".join(char if char.isprintable() else " " for char in text).strip()
