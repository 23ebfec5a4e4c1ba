from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.db.models import Role
from cyberlab.handlers.forms import Form, moment_text, moment_value


@given(st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 12, 31)))  # noqa: DTZ001
def test_a_moment_comes_back_as_it_was_shown(naive: datetime) -> None:
    moment = naive.replace(second=0, microsecond=0, tzinfo=UTC)
    assert Form({"at": moment_value(moment)}).moment("at") == moment


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(value: str) -> None:
    form = Form({"x": value})
    form.moment("x")
    number = form.number("x", 100, 999)
    form.choice("x", Role)
    assert 100 <= number <= 999
    assert form.errors


def test_times_for_people_are_utc() -> None:
    berlin = timezone(timedelta(hours=2))
    assert moment_text(datetime(2026, 12, 18, 2, tzinfo=berlin)) == "18 Dec 2026"
    assert moment_text(datetime(2026, 12, 18, 10, 30, tzinfo=berlin)) == "18 Dec 2026, 08:30 UTC"
    assert moment_text(None) == ""


@pytest.mark.parametrize(("value", "ticked"), [("1", True), ("", False), ("on", False)])
def test_flag(value: str, ticked: bool) -> None:
    assert Form({"x": value}).flag("x") is ticked


def test_the_first_message_stays() -> None:
    form = Form()
    form.fail("x", "first")
    form.fail("x", "second")
    assert form.errors == {"x": "First."}
