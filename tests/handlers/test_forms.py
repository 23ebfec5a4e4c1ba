from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.db.models import Role
from cyberlab.handlers.forms import Form


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(value: str) -> None:
    form = Form({"x": value})
    form.moment("x")
    number = form.number("x", 100, 999)
    form.choice("x", Role)
    assert 100 <= number <= 999
    assert form.errors


@pytest.mark.parametrize(("value", "ticked"), [("1", True), ("", False), ("on", False)])
def test_flag(value: str, ticked: bool) -> None:
    assert Form({"x": value}).flag("x") is ticked


def test_the_first_message_stays() -> None:
    form = Form()
    form.fail("x", "first")
    form.fail("x", "second")
    assert form.errors == {"x": "First."}


def test_messages_are_in_the_language_of_the_form() -> None:
    form = Form({"x": "7"}, translate=lambda text: f"<{text}>")
    form.number("x", 10, 20)
    assert form.errors == {"x": "<please give a number from 10 to 20>."}
