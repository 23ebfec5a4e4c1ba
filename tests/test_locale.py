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
from cyberlab.handlers.assets import Assets
from cyberlab.phrases import Phrase
from tests.phrases import (
    MODULES,
    PAGES,
    ROOT,
    SCRIPTS,
    TEMPLATES,
    glued,
    needed,
    python_keys,
    sent_bare,
    template_keys,
    unspoken,
    untranslated,
)

SORTER: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "phrases.py"))
FILES = sorted((ROOT / "locale").glob("*.csv"))
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ #0-9.]*[a-z%]")


def _rows(path: Path) -> list[tuple[str, str, str]]:
    return [(row[0], row[1], row[2] if len(row) > 2 else "") for row in SORTER["rows_of"](path)]


def test_every_language_has_its_file() -> None:
    assert {path.stem for path in FILES} == languages.LANGUAGES.keys() - {languages.ENGLISH}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_is_translated(path: Path) -> None:
    missing = needed() - {(english, number) for english, _, number in _rows(path)}
    if missing:
        rows = SORTER["in_order"]([[english, "…", number] if number else [english, "…"] for english, number in missing])
        pytest.fail(f"{path.name} lacks these; translate them, then run scripts/phrases.py:\n{rows}", pytrace=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_translated_in_vain(path: Path) -> None:
    unused = {(english, number) for english, _, number in _rows(path)} - needed()
    if unused:
        texts = "\n".join(sorted(english for english, _ in unused))
        pytest.fail(f"{path.name} has texts that nothing shows; remove their rows:\n{texts}", pytrace=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_translated_twice(path: Path) -> None:
    times = Counter((english, number) for english, _, number in _rows(path))
    if twice := "\n".join(english for (english, _), count in times.items() if count > 1):
        pytest.fail(
            f"{path.name}: run scripts/phrases.py; then keep the better translation of these:\n{twice}",
            pytrace=False,
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
    assert not untranslated(path), 'write them as {{ _("…") }}'


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts_show_translated_texts_alone(path: Path) -> None:
    assert not unspoken(path), 'write them as t("…"), see static/words.js'


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(TEMPLATES).as_posix())
def test_scripts_come_with_their_words(path: Path) -> None:
    assert "<script" not in path.read_text() or path.name == "script.html", 'write {% module Script("….js") %}'


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_texts_are_literals_with_placeholders(path: Path) -> None:
    assert not glued(path), 'write it as Phrase("… %(name)s …", name=…)'
    assert not sent_bare(path), 'write it as self.translate("…")'


def test_a_phrase_is_its_english_text_until_it_is_translated() -> None:
    languages.load()
    german = locale.get("de")
    assert Phrase("%(n)s is taken", n="x") == "x is taken"
    assert Phrase("100 %") == "100 %"
    assert Phrase("one day", "%(count)d days", count=1) == "one day"
    assert Phrase("one day", "%(count)d days", count=3) == "3 days"
    assert languages.translate(german, Phrase("nobody translates %(this)s", this="this")) == "nobody translates this"
    assert languages.translate(german, Phrase("My account")) == "Mein Konto"


def test_texts_that_were_forgotten_are_found(tmp_path: Path) -> None:
    """The searches themselves: what they miss would be English on German pages."""
    page = tmp_path / "page.html"
    page.write_text(
        '{% extends "base.html" %}<h1>Bare words</h1>{{ _("good") }}{{ "Or so" if late else _("fine") }}'
        '<a title="Spoken" href="/x">{{ name }}</a>{% module Field(form, "x", "A label", hint=_("a hint")) %}'
        '{# said to nobody #}{{ asset("no.css") }} · CyberLab'
    )
    assert untranslated(page) == ["A label", "Bare words", "Or so", "Spoken"]
    assert template_keys(page) == {("good", ""), ("fine", ""), ("a hint", "")}
    module = tmp_path / "module.py"
    module.write_text(
        'SAID = "from a constant"\n'
        'form.fail("x", SAID)\nself.notify("at once" if x else "later")\n'
        'Phrase("one", "%(count)d", count=2)\nform.fail("x", f"glued {x}")\n'
        'self.render("x.html", text="as it is", name="kali")\n'
    )
    expected = {("from a constant", ""), ("at once", ""), ("later", ""), ("one", "singular"), ("%(count)d", "plural")}
    assert python_keys(module) >= expected
    assert glued(module) == ["f'glued {x}'"]
    assert sent_bare(module) == ["as it is"]
    script = tmp_path / "script.js"
    script.write_text(
        '// a comment with words\nsay(t("Kept for later"));\nsay("Shown in English");\n'
        'byId("x").textContent = "Bare";\n'
        'const a = document.querySelector("main .card"); say(`Typed ${n} of them`);\n'
    )
    assert unspoken(script) == ["Shown in English", "Typed ${n} of them", "Bare"]


def test_scripts_bring_the_texts_of_what_they_import() -> None:
    texts = Assets(ROOT / "static").texts("console.js")
    assert {"Connection lost", "The console is not connected.", "German"} <= texts
    assert "(a while ago)" not in texts
