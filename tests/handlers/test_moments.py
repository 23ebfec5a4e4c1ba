from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado import locale

from cyberlab.handlers import languages, moments
from cyberlab.handlers.forms import Form
from cyberlab.handlers.moments import NoSuchTime

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)  # clocks go back in Berlin at 01:00 UTC


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_a_moment_that_was_not_touched_comes_back_to_the_second(moment: datetime, name: str) -> None:
    where = ZoneInfo(name)
    form = Form({"at": moments.value(moment, where)}, zone=where)
    assert form.moment("at", moment) == moment
    assert not form.errors


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 12, 30)),  # noqa: DTZ001
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_what_is_written_is_shown_again(naive: datetime, name: str) -> None:
    where = ZoneInfo(name)
    written = naive.strftime(moments.FIELD)
    try:
        assert moments.value(moments.parse(written, where), where) == written
    except NoSuchTime:
        assert naive.replace(tzinfo=where).utcoffset() != naive.replace(tzinfo=where, fold=1).utcoffset()


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    form = Form({"at": "2026-03-29T02:30"}, zone=BERLIN)
    assert form.moment("at") is None
    assert form.errors == {"at": "That time does not exist: the clocks are put forward over it."}


def test_a_time_that_comes_twice_is_the_first() -> None:
    assert moments.parse("2026-10-25T02:30", BERLIN) == AUTUMN + timedelta(minutes=30)


def test_the_second_of_two_stays_when_it_is_not_touched() -> None:
    second = AUTUMN + timedelta(minutes=90, seconds=7)
    assert moments.value(second, BERLIN) == "2026-10-25T02:30"
    assert Form({"at": "2026-10-25T02:30"}, zone=BERLIN).moment("at", second) == second


@pytest.mark.parametrize(
    "given", ["now", "2026-13-01T00:00", "2026-01-01", "0001-01-01T00:00", "9999-12-31T23:59", "2026-01-01T00:00Z"]
)
def test_what_is_no_time_is_refused(given: str) -> None:
    form = Form({"at": given}, zone=BERLIN)
    assert form.moment("at") is None
    assert form.errors["at"].startswith("Please give a date and a time")


@pytest.mark.parametrize("name", ["", "Europe/Nowhere", "../../etc/passwd", "/etc/localtime", "x\0", "x" * 9999])
def test_what_names_no_zone_is_none(name: str) -> None:
    assert moments.zone(name, None) is None


def test_times_for_people() -> None:
    languages.load()
    moment = datetime(2026, 12, 18, 8, 30, tzinfo=UTC)

    def english(key: str, **values: object) -> str:
        return languages.translate(locale.get("en"), key, **values)

    def german(key: str, **values: object) -> str:
        return languages.translate(locale.get("de"), key, **values)

    assert moments.text(english, moment, UTC) == "18 Dec 2026, 08:30 UTC"
    assert moments.text(english, moment, NEW_YORK) == "18 Dec 2026, 03:30"
    assert moments.text(german, moment, BERLIN) == "18. Dez. 2026, 09:30"
    assert moments.text(german, moment.replace(hour=23, minute=0), BERLIN) == "19. Dez. 2026"
    assert moments.text(english, datetime.max.replace(tzinfo=UTC), BERLIN) == "31 Dec 9999, 23:59"
    assert moments.offset(moment, BERLIN) == "Europe/Berlin (UTC+01:00)"
    assert moments.offset(moment, ZoneInfo("Asia/Kathmandu")) == "Asia/Kathmandu (UTC+05:45)"
    assert moments.offset(moment, UTC) == "UTC"
