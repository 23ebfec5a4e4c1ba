"""The languages of the pages: ``locale/*.csv``, and whose choice counts."""

from __future__ import annotations

import functools
from typing import Any

from tornado import locale

from cyberlab.phrases import Phrase
from cyberlab.settings import ROOT

ENGLISH = "en"  # the texts in the code are English, and are the keys of the others
LANGUAGES = {ENGLISH: "English", "de": "Deutsch"}  # code → its own name for itself
COOKIE = "cyberlab-language"


@functools.cache
def load() -> None:
    """Read the translations, once a process."""
    locale.set_default_locale(ENGLISH)
    locale.load_translations(str(ROOT / "locale"))


def known(code: str | None) -> str | None:
    """The code of a language that there is; None for others."""
    return code if code in LANGUAGES else None


def locale_of(code: str | None) -> locale.Locale | None:
    """The language of that code; None where there is none."""
    return locale.get(code) if code in LANGUAGES else None


def translate(where: locale.Locale, text: str, plural: str | None = None, /, **values: Any) -> str:
    """A text in a language, with its placeholders filled; a Phrase brings its own values, and may be one."""
    if isinstance(text, Phrase):
        return translate(where, text.key, text.plural, **text.values)
    words = where.translate(text, plural, values["count"]) if plural is not None else where.translate(text)
    inner = {name: translate(where, value) if isinstance(value, Phrase) else value for name, value in values.items()}
    return words % inner if inner else words
