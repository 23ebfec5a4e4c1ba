"""The help on a failure: what students can do, and for teachers and admins cause and mend."""

from __future__ import annotations

import pytest

from cyberlab.handlers.help import pieces
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


def test_commands_stand_out() -> None:
    assert list(pieces("do `a b` then `c`")) == [("do ", False), ("a b", True), (" then ", False), ("c", True)]
    assert list(pieces("plain")) == [("plain", False)]
