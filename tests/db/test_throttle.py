"""The throttle: exponential, kept in the database, and nobody is kept out for good by somebody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select

from cyberlab.db import audit, throttle, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import KnownAddress, Role, SignInAttempt
from cyberlab.db.throttle import ACCOUNT, ADDRESS, CLEAN_WAIT, Attempt

START = datetime(2026, 10, 1, 8, 0, tzinfo=UTC)
HOME, BAD = "192.0.2.7", "198.51.100.9"


class Clock:
    """Attempts at chosen times."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = START

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def begin(self, name: str | int = "anna", address: str = BAD) -> Attempt:
        known = self.database.call(throttle.blocked, name, address, self.now)
        attempt = self.database.call(throttle.begin, name, address, self.now)
        assert known in (0, attempt.wait)
        return attempt

    def wrong(self, name: str | int = "anna", address: str = BAD) -> Attempt:
        """An attempt with a wrong password, if it is let through."""
        attempt = self.begin(name, address)
        if attempt.wait == 0:
            self.database.call(throttle.failed, attempt, self.now)
        return attempt

    def lock(self, name: str | int = "anna", address: str = BAD) -> None:
        for _ in range(ACCOUNT.free + 1):
            assert self.wrong(name, address).wait == 0
        assert self.wrong(name, address).wait > 0


@pytest.fixture
def clock(database: Database) -> Clock:
    return Clock(database)


def test_waits_double_up_to_the_longest(clock: Clock) -> None:
    waits = []
    for _ in range(ACCOUNT.free):
        assert not clock.wrong().locks
    for _ in range(14):
        assert clock.wrong().locks
        refused = clock.wrong()
        waits.append(refused.wait)
        assert clock.begin("Anna ").wait == refused.wait  # refused ones do not prolong it
        clock.later(refused.wait)
    assert waits[:8] == [2, 4, 8, 16, 32, 64, 128, 256]
    assert waits[-1] == ACCOUNT.longest


def test_attempts_at_once_get_no_more_than_the_free_ones(clock: Clock) -> None:
    """None has failed yet: all of them are still being looked at."""
    assert sum(clock.begin().wait == 0 for _ in range(50)) == ACCOUNT.free + 1


def test_attempts_from_several_processes_at_once_are_counted_together(clock: Clock, url: str) -> None:
    """Two portals on one database, four threads each, and a name that neither has seen."""
    portals = [Database(url), Database(url)]
    start = Barrier(8)

    def guess(number: int) -> int:
        start.wait(10)
        tries = (portals[number % 2].call(throttle.begin, "anna", BAD, clock.now) for _ in range(5))
        return sum(attempt.wait == 0 for attempt in tries)

    with ThreadPoolExecutor(8) as pool:
        let_through = sum(pool.map(guess, range(8)))
    for portal in portals:
        portal.close()
    assert let_through == ACCOUNT.free + 1


def test_a_restart_forgets_nothing(clock: Clock, url: str) -> None:
    clock.lock()
    again = Database(url)
    assert again.call(throttle.begin, "anna", BAD, clock.now).wait == 2
    again.close()


def test_success_clears_the_account_but_not_the_address(clock: Clock) -> None:
    """Else one's own password, typed now and then, would buy any number of guesses at others'."""
    for number in range(ADDRESS.free):
        clock.wrong(f"name{number}")
    clock.database.call(throttle.succeeded, clock.begin("mine"))
    assert clock.wrong("other").wait == 0
    refused = clock.begin("mine")
    assert refused.wait == 2
    assert clock.begin("mine", HOME).wait == 0
    clock.later(2)
    for _ in range(ACCOUNT.free - 1):
        assert clock.begin("own", HOME).wait == 0
    attempt = clock.begin("own", HOME)
    clock.database.call(throttle.succeeded, attempt)
    assert not clock.begin("own", HOME).locks


def test_an_attempt_that_was_neither_is_taken_back(clock: Clock) -> None:
    for _ in range(3 * ACCOUNT.free):
        attempt = clock.begin()
        assert attempt.wait == 0
        clock.database.call(throttle.release, attempt)


def test_counts_fade(clock: Clock) -> None:
    clock.lock()
    clock.later(6 * ACCOUNT.half_life)
    for _ in range(ACCOUNT.free):
        assert not clock.wrong().locks


def test_guesses_elsewhere_do_not_make_the_owner_wait(clock: Clock, actor: Actor) -> None:
    anna = clock.database.call(users.create, actor, username="anna", role=Role.STUDENT)
    clock.database.call(throttle.know, anna.id, HOME, clock.now)
    clock.lock()
    assert clock.begin("anna", HOME).wait == 0
    assert clock.begin(anna.id, HOME).wait == 0
    assert clock.begin("anna", "192.0.2.8").wait == 2  # a neighbour is not the owner


def test_guesses_at_the_owners_address_count_there(clock: Clock, actor: Actor) -> None:
    anna = clock.database.call(users.create, actor, username="anna", role=Role.STUDENT)
    clock.database.call(throttle.know, anna.id, HOME, clock.now)
    clock.lock("anna", HOME)
    assert clock.begin("anna", BAD).wait == 0


def test_a_clean_address_waits_a_minute_at_most_whatever_others_do(clock: Clock) -> None:
    """The guesser is there first whenever a wait ends; the owner, at a new address, still gets in."""
    for _ in range(ACCOUNT.free + 9):
        clock.wrong()
        clock.later(clock.begin().wait)
    clock.wrong()
    assert clock.begin().wait > CLEAN_WAIT
    assert clock.begin("anna", HOME).wait == CLEAN_WAIT
    for _ in range(4):
        clock.later(CLEAN_WAIT / 4)
        clock.wrong()
    attempt = clock.begin("anna", HOME)
    assert attempt.wait == 0
    clock.database.call(throttle.failed, attempt, clock.now)
    assert clock.begin("anna", HOME).wait > CLEAN_WAIT  # one guess is all that a clean address buys


def test_ipv6_counts_by_network(clock: Clock) -> None:
    for number in range(ADDRESS.free + 1):
        clock.wrong(f"name{number}", f"2001:db8::{number:x}")
    assert clock.begin("else", "2001:db8::ffff:1").wait > 0
    assert clock.begin("else", "2001:db8:0:1::1").wait == 0
    assert throttle.network("::ffff:192.0.2.7") == HOME
    assert throttle.network("fe80::1%eth0") == "fe80::/64"
    assert throttle.network("@") == "@"


def test_names_are_not_stored(clock: Clock) -> None:
    """What failed may be a password in the wrong field."""
    clock.wrong("correct horse")
    with clock.database.transaction() as s:
        keys = [row.key for row in s.scalars(select(SignInAttempt))]
    assert len(keys) == 2
    assert all(len(key) == 64 and int(key, 16) for key in keys)


def test_unlock(clock: Clock, actor: Actor) -> None:
    anna = clock.database.call(users.create, actor, username="anna", role=Role.STUDENT)
    clock.lock()
    clock.database.call(throttle.know, anna.id, HOME, clock.now)
    clock.lock("anna", HOME)
    clock.lock(anna.id, HOME)
    assert clock.database.call(throttle.unlock, actor, "Anna")
    assert {clock.begin("anna", where).wait for where in (HOME, BAD)} == {0}
    assert clock.begin(anna.id, HOME).wait == 0
    assert clock.database.call(audit.page).rows[0].action == "user.unlock"
    assert not clock.database.call(throttle.unlock, actor, "nobody")


def test_no_name_is_anybodys_second_factor(clock: Clock) -> None:
    for name in ("1", "factor:1", "factor\x001"):
        clock.lock(name)
    assert clock.begin(1, HOME).wait == 0


def test_purge_forgets_what_has_no_effect(clock: Clock, actor: Actor) -> None:
    anna = clock.database.call(users.create, actor, username="anna", role=Role.STUDENT)
    clock.database.call(throttle.know, anna.id, HOME, clock.now)
    clock.database.call(throttle.know, anna.id, HOME, clock.now)
    clock.wrong()
    clock.later(86_400)
    clock.database.call(throttle.purge, clock.now)
    with clock.database.transaction() as s:
        assert len(s.scalars(select(SignInAttempt)).all()) == 2
    clock.later(86_400 * throttle.KNOWN_DAYS)
    clock.database.call(throttle.purge, clock.now)
    with clock.database.transaction() as s:
        assert s.scalars(select(SignInAttempt)).all() == []
        assert s.scalars(select(KnownAddress)).all() == []
