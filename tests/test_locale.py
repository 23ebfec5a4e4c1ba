"""Every text for people has its translation, and nothing else has."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tornado import locale

from cyberlab.handlers import languages
from cyberlab.phrases import Phrase
from tests.phrases import ROOT, TEMPLATES, Key, python_keys, template_keys, untranslated

SORTER: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "phrases.py"))
FILES = sorted((ROOT / "locale").glob("*.csv"))
PAGES = sorted(TEMPLATES.rglob("*.html"))
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ #0-9.]*[a-z%]")
# Templates whose texts are still English for everybody; the list only gets shorter.
NOT_YET = {
    "account/account.html",
    "account/codes.html",
    "account/passkey.html",
    "account/password.html",
    "account/setup.html",
    "account/totp.html",
    "admin/assignment.html",
    "admin/assignments.html",
    "admin/base.html",
    "admin/overview.html",
    "admin/user.html",
    "admin/user_password.html",
    "admin/users.html",
    "admin/vm.html",
    "admin/vm_import.html",
    "admin/vms.html",
    "auth/enrol.html",
    "auth/factor.html",
    "base.html",
    "console.html",
    "error.html",
    "login.html",
    "modules/field.html",
    "modules/pager.html",
    "modules/problems.html",
    "modules/state.html",
    "student.html",
    "teacher.html",
}


def _needed() -> set[Key]:
    found: set[Key] = set()
    for path in (ROOT / "cyberlab").rglob("*.py"):
        if path.name != "phrases.py":
            found |= python_keys(path)
    for path in PAGES:
        found |= template_keys(path)
    return found


def _rows(path: Path) -> list[tuple[str, str, str]]:
    return [(row[0], row[1], row[2] if len(row) > 2 else "") for row in SORTER["rows_of"](path)]


def test_every_language_has_its_file() -> None:
    assert {path.stem for path in FILES} == languages.LANGUAGES.keys() - {languages.ENGLISH}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_is_translated(path: Path) -> None:
    missing = _needed() - {(english, number) for english, _, number in _rows(path)}
    assert not missing, f"{path.name} lacks these; add a line each, then run scripts/phrases.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_translated_in_vain(path: Path) -> None:
    unused = {(english, number) for english, _, number in _rows(path)} - _needed()
    assert not unused, f"{path.name} has texts that nothing shows any more; remove their lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_translated_twice(path: Path) -> None:
    times = Counter((english, number) for english, _, number in _rows(path))
    assert not [key for key, count in times.items() if count > 1], (
        f"{path.name}: run scripts/phrases.py; of what then stands there twice, keep the better translation"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_file_is_in_order(path: Path) -> None:
    assert path.read_text() == SORTER["in_order"](SORTER["rows_of"](path)), (
        "run .venv/bin/python scripts/phrases.py and commit what it did"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_translations_are_sound(path: Path) -> None:
    """Tornado strips both columns; a placeholder that is missing or new would fail on the page."""
    for english, translation, number in _rows(path):
        assert english == english.strip(), english
        assert translation == translation.strip(), english
        assert translation, english
        assert number in ("", "singular", "plural"), english
        if "%(" in english + translation:
            assert Counter(PLACEHOLDER.findall(english)) == Counter(PLACEHOLDER.findall(translation)), english


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(TEMPLATES).as_posix())
def test_templates_show_translated_texts_alone(path: Path) -> None:
    found = untranslated(path)
    assert not found or path.relative_to(TEMPLATES).as_posix() in NOT_YET, 'write them as {{ _("…") }}'


def test_a_phrase_is_its_english_text_until_it_is_translated() -> None:
    languages.load()
    german = locale.get("de")
    assert Phrase("%(n)s is taken", n="x") == "x is taken"
    assert Phrase("100 %") == "100 %"
    assert Phrase("one day", "%(count)d days", count=1) == "one day"
    assert Phrase("one day", "%(count)d days", count=3) == "3 days"
    assert languages.translate(german, Phrase("nobody translates %(this)s", this="this")) == "nobody translates this"
    assert languages.translate(german, Phrase("My account")) == "Mein Konto"
