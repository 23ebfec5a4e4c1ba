"""Users, classes and assignments from a file, and back into one."""

from __future__ import annotations

import contextlib
import csv
import io
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.db import (
    assignments,
    epoch,
    exchange,
    exchange_assignments,
    exchange_classes,
    exchange_text,
    exchange_users,
    groups,
    logins,
    members,
    users,
    vms,
)
from cyberlab.db.assignment_filter import Filter
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict
from cyberlab.db.exchange import Report
from cyberlab.db.exchange_cells import BadCell, Cells
from cyberlab.db.exchange_text import Unreadable
from cyberlab.db.models import MembershipRole, Role
from cyberlab.db.user_filter import UserFilter

BERLIN = ZoneInfo("Europe/Berlin")
TEXT = "user;name;role\nänne;Änne Groß;Lehrkraft\n"


def _import(
    database: Database, actor: Actor, module: exchange._Module, data: str | bytes, good: bool = False
) -> Report:
    data = data.encode() if isinstance(data, str) else data
    records, bad = exchange.parse(module, data, BERLIN)
    work = database.call(exchange.plan, module, records, bad)
    return database.call(exchange.write, actor, module, records, work, good)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_encoding_and_separator(encoding: str, separator: str, newline: str) -> None:
    data = TEXT.replace(";", separator).replace("\n", newline).encode(encoding)
    table = exchange_text.read(data, exchange_users.HEADINGS, exchange_users.REQUIRED)
    assert table.rows == [(2, {"user": "änne", "name": "Änne Groß", "role": "Lehrkraft"})]


def test_latin_1_behind_a_mark_of_utf_8_is_said_to_be_damaged() -> None:
    with pytest.raises(Unreadable, match="damaged"):
        exchange_text.decode(b"\xef\xbb\xbf" + TEXT.encode("latin-1"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n\n;;\n", "empty"),
        (b"name;role\nx;y\n", "user is not among them"),
        (b"user;login\nx;y\n", "twice"),
        (b"PK\x03\x04\0\0\0\0\x08\0abc", "no text file"),
        (b'user\n"' + b"x" * 200_000, "quotation mark"),
    ],
)
def test_files_that_cannot_be_read(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        exchange_text.read(data, exchange_users.HEADINGS, exchange_users.REQUIRED)


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_text, "MOST_ROWS", 2)
    with pytest.raises(Unreadable, match="more than 2 rows"):
        exchange_text.read(b"user\na\nb\nc\n", exchange_users.HEADINGS, exchange_users.REQUIRED)


def test_lines_are_those_of_the_file() -> None:
    data = b'sep=,\n\nuser,name\na,"two\nlines"\nb,x\n'
    table = exchange_text.read(data, exchange_users.HEADINGS, exchange_users.REQUIRED)
    assert [line for line, _ in table.rows] == [4, 6]


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Unreadable):
        exchange.parse(exchange_users, data, BERLIN)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=2, max_size=2))
def test_no_cell_is_a_formula(cells: list[str]) -> None:
    written = io.StringIO(exchange_text.write([cells], ";"), newline="")
    for cell in next(csv.reader(written, delimiter=";"), ()):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("text", "end", "moment"),
    [
        ("2026-10-01", False, "2026-09-30T22:00"),
        ("2026-10-01", True, "2026-10-01T22:00"),
        ("1.10.2026", True, "2026-10-01T22:00"),
        ("01.10.2026, 08:30", True, "2026-10-01T06:30"),
        ("2026-12-01T08:00Z", False, "2026-12-01T08:00"),
        ("2026-12-01 08:00:00+0200", False, "2026-12-01T06:00"),
    ],
)
def test_times(text: str, end: bool, moment: str) -> None:
    found = Cells(1, {"at": text}).moment("at", BERLIN, end=end)
    assert found == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", "31.02.2026", "0001-01-01", "9999-12-31", "01/10/2026"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(BadCell):
        Cells(1, {"at": text}).moment("at", BERLIN)


def test_users_are_made_ahead_changed_and_left_alone(database: Database, actor: Actor) -> None:
    file = "Benutzer,Verzeichnis,Name,Rolle,aktiv\nanna,ldap,Anna,,\nBERT,,Bert,Lehrkraft,ja\n"
    before = database.call(epoch.current)
    assert _import(database, actor, exchange_users, file).created == 2
    assert database.call(epoch.current) > before
    anna = database.call(users.by_name, "anna", "ldap")
    assert anna is not None
    assert (anna.role, anna.display_name, anna.subject, anna.active) == (Role.STUDENT, "Anna", None, True)
    assert database.call(users.page, search="Anna").total == 1  # found by search, though no event wrote it
    again = _import(database, actor, exchange_users, file)
    assert (again.created, again.changed, again.unchanged) == (0, 0, 2)
    database.call(logins.create, anna.id, address="", user_agent="", lifetime=60.0)
    changed = _import(database, actor, exchange_users, "user,backend,active\nanna,ldap,no\n")
    assert changed.changed == 1
    anna = database.call(users.by_name, "anna", "ldap")
    assert anna is not None
    assert (anna.active, anna.display_name) == (False, "Anna")


def test_the_last_admin_stays(database: Database, actor: Actor) -> None:
    for name in ("root", "toor"):
        database.call(users.create, actor, username=name, role=Role.ADMIN)
    records, bad = exchange.parse(exchange_users, b"user,role,active\nroot,student,\ntoor,,no\n", BERLIN)
    work = database.call(exchange.plan, exchange_users, records, bad)
    assert [(row.line, row.column) for row in work.bad] == [(3, "user")]
    assert len(work.changed) == 1


def test_bad_rows_are_named_and_nothing_is_half_applied(database: Database, actor: Actor) -> None:
    file = (
        "user,role,email,active\n"
        "good,student,g@example.edu,1\n"
        ",student,,\n"
        "two words,student,,\n"
        "x,king,,\n"
        "y,,no-mail,\n"
        "z,,,perhaps\n"
        "good,,,\n" + "a" * 300 + ",,,\n"
    )
    _, bad = exchange.parse(exchange_users, file.encode(), BERLIN)
    assert [(row.line, row.column) for row in bad] == [
        (3, "user"),
        (4, "user"),
        (5, "role"),
        (6, "email"),
        (7, "active"),
        (8, "user"),
        (9, "user"),
    ]
    assert exchange.summary(bad)[0][1] >= 1
    with pytest.raises(Conflict):
        _import(database, actor, exchange_users, file)
    assert database.call(users.page).total == 0
    assert _import(database, actor, exchange_users, file, good=True).created == 1
    assert database.call(users.by_name, "good") is not None


def test_what_changed_since_the_look_is_looked_at_again(database: Database, actor: Actor) -> None:
    records, bad = exchange.parse(exchange_users, b"user\nanna\n", BERLIN)
    work = database.call(exchange.plan, exchange_users, records, bad)
    database.call(users.create, actor, username="anna", role=Role.TEACHER)
    done = database.call(exchange.write, actor, exchange_users, records, work, False)
    assert (done.created, done.unchanged) == (0, 1)


def test_classes(database: Database, actor: Actor) -> None:
    for backend, name in (("local", "anna"), ("ldap", "bert"), ("local", "bert")):
        database.call(users.create, actor, username=name, role=Role.STUDENT, backend=backend)
    file = "Kurs;Benutzer;Anmeldung;Rolle\nNetSec;anna;;Lehrkraft\nNetSec;bert;ldap;\nEmpty;;;\n"
    assert _import(database, actor, exchange_classes, file).created == 3
    assert _import(database, actor, exchange_classes, file).unchanged == 3
    group = database.call(groups.page, search="netsec").rows[0]
    assert [(row.user.username, row.role.value) for row in database.call(members.page, group.id).rows] == [
        ("anna", "teacher"),
        ("bert", "student"),
    ]
    assert _import(database, actor, exchange_classes, "class,user,role\nNetSec,anna,student\n").changed == 1
    rows, last = database.call(exchange_classes.export, "", False, (0, 0), 10)
    assert last is None
    assert set(rows) == {
        ("NetSec", "anna", "local", "student"),
        ("NetSec", "bert", "ldap", "student"),
        ("Empty", "", "", ""),
    }
    database.call(groups.archive, actor, group.id)
    wrong = "class,user,backend,role\nNetSec,anna,,\nNew,bert,,\nNew,nobody,,\nNew,anna,,admin\n"
    wrong += "New,anna,,\nNew,anna,local,\n"
    records, bad = exchange.parse(exchange_classes, wrong.encode(), BERLIN)
    work = database.call(exchange.plan, exchange_classes, records, bad)
    assert [row.line for row in work.bad] == [2, 3, 4, 5, 7]
    assert len(work.created) == 1


def test_assignments(database: Database, actor: Actor) -> None:
    anna = database.call(users.create, actor, username="anna", role=Role.STUDENT)
    group = database.call(groups.create, actor, name="NetSec")
    for vmid, name in ((100, "kali"), (101, "twin"), (102, "twin")):
        database.call(vms.create, actor, cluster="pve", vmid=vmid, node="n", name=name)
    file = (
        "Maschine;Benutzer;Kurs;von;bis;Schalten\n"
        "kali;anna;NetSec;01.10.2026;18.12.2026;ja\n"
        "pve/101;;NetSec;;;\n"
        "pve/102;anna;;2026-10-01 08:00;;nein\n"
    )
    assert _import(database, actor, exchange_assignments, file).created == 3
    row = next(row for row in database.call(assignments.page).rows if row.vm.name == "kali")
    assert (row.user_id, row.via_group_id, row.can_power) == (anna.id, group.id, True)
    assert row.ends_at == datetime(2026, 12, 18, 23, tzinfo=UTC)
    assert _import(database, actor, exchange_assignments, file).unchanged == 3
    # What is written is read again, and changes nothing.
    rows, last = database.call(exchange_assignments.export, Filter(), datetime.now(UTC), 0, 10, BERLIN)
    assert last == 0
    exported = exchange_text.write([exchange_assignments.EXPORTED, *rows], ";")
    assert "pve/100;kali;anna;local;NetSec;2026-10-01 00:00;2026-12-19 00:00;yes;no" in exported
    assert _import(database, actor, exchange_assignments, exported).unchanged == 3
    # Columns that are not there change nothing; an empty time is no limit.
    assert _import(database, actor, exchange_assignments, "machine,user,power\nkali,anna,no\n").changed == 1
    assert _import(database, actor, exchange_assignments, "machine,user,until\nkali,anna,\n").changed == 1
    row = next(row for row in database.call(assignments.page).rows if row.vm.name == "kali")
    assert (row.can_power, row.ends_at, row.starts_at is None) == (False, None, False)


def test_assignments_that_are_wrong(database: Database, actor: Actor) -> None:
    database.call(users.create, actor, username="anna", role=Role.STUDENT)
    for vmid, name in ((100, "kali"), (101, "twin"), (102, "twin")):
        database.call(vms.create, actor, cluster="pve", vmid=vmid, node="n", name=name)
    file = (
        "machine,user,class,from,until\n"
        "kali,,,,\n"
        "twin,anna,,,\n"
        "pve/999,anna,,,\n"
        "kali,nobody,,,\n"
        "pve/101,anna,None,,\n"
        "kali,anna,,2026-10-02,2026-10-01\n"
        "kali,anna,,,\n"
        "pve/100,anna,,,\n"
    )
    records, bad = exchange.parse(exchange_assignments, file.encode(), BERLIN)
    work = database.call(exchange.plan, exchange_assignments, records, bad)
    assert [(row.line, row.column) for row in work.bad] == [
        (2, "user"),
        (3, "machine"),
        (4, "machine"),
        (5, "user"),
        (6, "class"),
        (7, "until"),
        (9, "machine"),
    ]


def test_exported_users_are_those_of_the_filter(database: Database, actor: Actor) -> None:
    evil = database.call(users.create, actor, username="=cmd", role=Role.STUDENT, display_name="@SUM(1)")
    teacher = database.call(users.create, actor, username="t", role=Role.TEACHER)
    group = database.call(groups.create, actor, name="NetSec")
    database.call(groups.add_member, actor, group.id, teacher.id, MembershipRole.TEACHER)
    for only, names in (
        (UserFilter(role=Role.STUDENT), ["=cmd"]),
        (UserFilter(group_id=group.id), ["t"]),
        (UserFilter(active=False), []),
        (UserFilter(backend="ldap"), []),
        (UserFilter(group_id=2**70), []),
    ):
        rows, _ = database.call(exchange_users.export, only, 0, 10, BERLIN)
        assert [row[0] for row in rows] == names
    rows, last = database.call(exchange_users.export, UserFilter(), 0, 1, BERLIN)
    assert last == evil.id
    exported = exchange_text.write([exchange_users.EXPORTED, *rows], ",")
    assert "'=cmd,local,'@SUM(1)" in exported
    assert _import(database, actor, exchange_users, exported).unchanged == 1
