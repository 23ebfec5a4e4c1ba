from __future__ import annotations

import pytest

from cyberlab.auth import strength


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
