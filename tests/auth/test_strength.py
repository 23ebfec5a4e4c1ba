from __future__ import annotations

import ast
import inspect
import re

import pytest
from tornado import locale
from zxcvbn import feedback

from cyberlab.auth import strength
from cyberlab.handlers import languages


@pytest.mark.parametrize(
    "password",
    ["password1234", "qwertyuiop", "aaaaaaaaaaaa", "Tr0ub4dour&3", "short", "x" * 73, "student2026", "ä" * 72],
)
def test_what_would_be_guessed_is_refused_in_words(password: str) -> None:
    assert strength.problem(password, ["student", None])


@pytest.mark.parametrize("password", ["tulip-forge-4821", "correct horse battery staple", "größere Straßenbahn 7!"])
def test_what_would_not_is_fine(password: str) -> None:
    assert strength.problem(password) is None


def test_what_is_known_of_a_user_is_tried_first() -> None:
    assert strength.problem("Wolfgangsgruber", ["Wolfgangsgruber"])
    assert strength.problem("Wolfgangsgruber") is None


def test_every_warning_can_be_translated() -> None:
    """They stand in zxcvbn's source alone."""
    source = ast.parse(inspect.getsource(feedback))
    said = [node.value for node in ast.walk(source) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    warnings = {text for text in said if re.search(r"easy to guess\.$|password\.$|than \"abc\"\.$", text)}
    assert len(warnings) >= 14
    assert warnings == strength.WARNINGS.keys()


def test_reason_and_advice_are_translated_each() -> None:
    languages.load()
    problem = strength.problem("aaaaaaaaaaaa")
    assert problem is not None
    words = languages.translate(locale.get("de"), problem)
    assert words.startswith("dieses Passwort ist zu leicht zu erraten. Wiederholungen wie")
    assert "%" not in words


def test_the_portals_own_name_is_known_to_everybody() -> None:
    assert strength.problem("cyberlab2026!") is not None
