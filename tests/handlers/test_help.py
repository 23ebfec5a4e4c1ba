"""The help on a failure: what students can do, and for teachers and admins cause and mend."""

from __future__ import annotations

import re
from html import unescape

import pytest

from cyberlab.handlers.help import FOR_ADMINS, pieces, topics
from cyberlab.problems import CATALOGUE
from tests.web import Client, text

MENDS = "<code>qm unlock VMID</code>"


@pytest.mark.gen_test
async def test_students_read_what_they_can_do(client: Client) -> None:
    page = text(await client.ask("/help/vm-locked", "student"))
    assert "Wait until the task has ended, then try again." in page
    assert '<h1 id="what">This machine is busy with a backup or another task</h1>' in page
    assert "Cause" not in page
    assert "qm unlock" not in page


@pytest.mark.parametrize("who", ["teacher", "admin"])
@pytest.mark.gen_test
async def test_who_looks_after_the_lab_reads_cause_and_mend(client: Client, who: str) -> None:
    page = text(await client.ask("/help/vm-locked", who))
    assert "The VM&#x27;s config carries a lock" in page or "The VM&#39;s config carries a lock" in page
    assert MENDS in page


@pytest.mark.gen_test
async def test_every_code_has_its_page_in_german_too(client: Client) -> None:
    for code in CATALOGUE:
        response = await client.ask(f"/help/{code}", "admin", headers={"Accept-Language": "de"})
        assert response.code == 200, code
        page = text(response)
        assert "request id below" not in page
        assert "Ursache" in page
        assert 'style="' not in page


@pytest.mark.gen_test
async def test_no_other_address(client: Client) -> None:
    for address in ("/help/vm-gnoe", "/help/", "/help/VM-GONE", "/help/a/b"):
        assert (await client.ask(address, "admin")).code == 404
    assert (await client.ask("/help/vm-gone", None)).code == 303


@pytest.mark.parametrize("who", ["student", "teacher", "admin"])
@pytest.mark.gen_test
async def test_the_list_has_all_for_everybody(client: Client, who: str) -> None:
    for language, said in (("en", ">Help</h1>"), ("de", ">Hilfe</h1>")):
        page = text(await client.ask("/help", who, headers={"Accept-Language": language}))
        assert said in page
        assert re.findall(r'href="/help/([a-z-]+)"', page) == [
            code for topic in topics(looks_after=who != "student") for code in topic.codes
        ]
        assert "request id" not in page
        assert 'style="' not in page
        assert ("<code>vm-locked</code>" in page) == (who != "student")
    assert "qm unlock" not in page


@pytest.mark.gen_test
async def test_the_list_says_what_to_do(client: Client) -> None:
    student, teacher = [unescape(text(await client.ask("/help", who))) for who in ("student", "teacher")]
    for page in (student, teacher):
        assert "<dd>Wait until the task has ended, then try again.</dd>" in page
    ask = "Try again in a minute; if it stays, tell your lab's admin."
    assert student.count(ask) == 1
    assert FOR_ADMINS in student
    assert teacher.count(f"<dd>{ask}</dd>") > 1
    assert FOR_ADMINS not in teacher


@pytest.mark.gen_test
async def test_pages_lead_to_the_list(client: Client) -> None:
    for path in ("/student", "/help", "/help/vm-gone", "/admin/health"):
        assert 'href="/help"' in text(await client.ask(path, "admin"))
    assert ">What failures mean</a>" in text(await client.ask("/admin/health", "admin"))
    assert (await client.ask("/help", None)).headers["Location"] == "/auth/login?next=%2Fhelp"


@pytest.mark.parametrize("looks_after", [True, False])
def test_every_failure_has_its_place(looks_after: bool) -> None:
    found = topics(looks_after=looks_after)
    assert sorted(code for topic in found for code in topic.codes) == sorted(CATALOGUE)
    assert all(topic.codes for topic in found)


def test_commands_stand_out() -> None:
    assert list(pieces("do `a b` then `c`")) == [("do ", False), ("a b", True), (" then ", False), ("c", True)]
    assert list(pieces("plain")) == [("plain", False)]
