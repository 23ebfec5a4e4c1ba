"""User names in one spelling, folded search terms, printable text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.db.text import clean, fold, is_lookalike, normalise_username, search_words


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Anna", "anna"),
        (" anna ", "anna"),
        ("ＡＮＮＡ", "anna"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("İ", "i̇"),
    ],
)
def test_one_spelling_per_name(written: str, kept: str) -> None:
    assert normalise_username(written) == kept


@given(st.text())
def test_a_normal_name_stays_as_it_is(name: str) -> None:
    once = normalise_username(name)
    assert normalise_username(once) == once


@given(st.text(st.characters(codec="latin-1")))
def test_a_name_and_its_upper_case_are_one(name: str) -> None:
    assert normalise_username(name.upper()) == normalise_username(name)


def test_fold_drops_case_and_accents() -> None:
    assert fold("Ångström ÉCOLE") == "angstrom ecole"


@given(st.text())
def test_what_is_folded_can_be_stored(text: str) -> None:
    assert fold(text).isprintable()
    fold(text).encode()


def test_search_words_are_few_and_short() -> None:
    assert search_words("  Kali   07 ") == ["kali", "07"]
    assert len(search_words("a " * 1000)) == 8
    assert search_words("x" * 1000) == ["x" * 64]


def test_clean_keeps_a_line_one_line() -> None:
    assert clean("a\x00b\nc\x1b[31md\udcff") == "a b c [31md"
    assert clean("abcdef", 3) == "abc"


@pytest.mark.parametrize(
    "name", ["anna", " Anna ", "JÜRGEN", unicodedata.normalize("NFD", "Jürgen"), "Strauß", "a@b.c"]
)
def test_spellings_of_a_name(name: str) -> None:
    assert not is_lookalike(name)


@pytest.mark.parametrize("name", ["ａnna", "ⓐnna", "anna²", "ªnna"])
def test_lookalikes_of_a_name(name: str) -> None:
    assert is_lookalike(name)
