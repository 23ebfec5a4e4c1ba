"""The catalogue of failures: each with words for everybody (test_docs.py holds the manual to it)."""

from __future__ import annotations

import re

import pytest

from cyberlab import problems
from cyberlab.problems import CATALOGUE, Problem
from tests.test_settings import NAMES


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_problem_has_words_for_everybody(code: str) -> None:
    advice = CATALOGUE[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert len(code) <= 64, "console_sessions.end_reason holds no more"
    assert advice.title, "what happened"
    assert not advice.title.endswith("."), "a headline"
    for words in (advice.user, advice.cause, advice.mend or advice.user, advice.admin):
        assert words.endswith((".", "?", "-sha256")), f"{code}: a sentence, or a command to copy"
        assert "\n" not in words


def test_what_keeps_a_console_from_opening_can_be_mended() -> None:
    ended = list(CATALOGUE).index(problems.SIGNED_OUT)  # from there on: why an open console has ended
    assert [code for code in list(CATALOGUE)[:ended] if not CATALOGUE[code].mend] == []


def test_every_code_is_a_constant_of_its_name() -> None:
    assert {code: getattr(problems, code.upper().replace("-", "_"), None) for code in CATALOGUE} == {
        code: code for code in CATALOGUE
    }


def test_no_two_titles_are_the_same() -> None:
    titles = [advice.title for advice in CATALOGUE.values()]
    assert len(set(titles)) == len(titles)


def test_settings_that_an_advice_names_exist() -> None:
    words = " ".join(f"{advice.user} {advice.admin}" for advice in CATALOGUE.values())
    named = set(re.findall(r"\b(?:PROXMOX|CONSOLE|LOGIN|LISTEN|PUBLIC)_[A-Z_]+\b", words))
    assert named
    assert named <= set(NAMES)


def test_a_problem_says_its_code_and_detail() -> None:
    problem = Problem(problems.VM_GONE, "no VMID 100 on pve")
    assert str(problem) == "vm-gone: no VMID 100 on pve"
    assert str(Problem(problems.VM_GONE)) == "vm-gone"
    assert problem.advice is CATALOGUE["vm-gone"]


def test_an_unknown_code_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no such problem"):
        Problem("vm-gnoe")
