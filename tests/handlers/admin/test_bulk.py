"""Many assignments at once: chosen in the list, previewed, applied, taken back."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from cyberlab.db import assignments, bulk_assignments, vms
from cyberlab.db.models import Assignment, utcnow
from tests.web import TEST, Client, World, text

BULK = "/admin/assignments/bulk"


async def _row(world: World) -> Assignment:
    row = await world.database.run(assignments.get, world.assignment)
    assert row is not None
    return row


def _hidden(page: str, name: str) -> str:
    match = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert match is not None, name
    return match[1]


@pytest.mark.gen_test
async def test_end_now_and_take_it_back(client: Client, world: World) -> None:
    form = {"id": str(world.assignment), "do": "now"}
    preview = text(await client.ask(BULK, "admin", form=form))
    assert "One assignment changes" in preview
    assert (await _row(world)).ends_at is None
    form |= {"digest": _hidden(preview, "digest"), "at": _hidden(preview, "at")}
    done = await client.ask(BULK, "admin", form=form)
    assert done.code == 303
    assert (await _row(world)).ends_at is not None
    assert "kali" not in text(await client.ask("/student", "student"))
    where = done.headers["Location"]
    assert "One assignment was ended" in text(await client.ask(where, "admin"))
    assert (await client.ask(where, "admin", form={})).code == 303
    assert (await _row(world)).ends_at is None
    assert "Taken back" in text(await client.ask(where, "admin"))
    again = await client.ask(where, "admin", form={})
    assert (again.code, "taken back already" in text(again)) == (422, True)
    listed = text(await client.ask("/admin/changes", "admin"))
    assert "One assignment was ended" in listed
    assert "taken back" in listed


@pytest.mark.gen_test
async def test_end_today_is_midnight_of_the_reader(client: Client, world: World) -> None:
    form = {"id": str(world.assignment), "do": "today"}
    preview = text(await client.ask(BULK, "admin", form=form, headers={"Cookie": ""}))
    at = _hidden(preview, "at")
    assert at.endswith("00:00:00+00:00")
    # A moment of another day is not believed.
    forged = text(await client.ask(BULK, "admin", form=form | {"at": "2001-01-01T00:00:00+00:00"}))
    assert _hidden(forged, "at") == at


@pytest.mark.gen_test
async def test_other_times_and_rights_for_all_that_match(client: Client, world: World) -> None:
    first = text(await client.ask(f"{BULK}?q=kali", "admin", form={"all": "1", "do": "change"}))
    assert "digest" not in first
    form = {
        "all": "1", "do": "change", "starts": "keep", "starts_at": "", "ends": "set", "ends_at": "2030-12-18T00:00",
        "power": "no", "reset": "yes", "preview": "1",
    }  # fmt: skip
    preview = text(await client.ask(f"{BULK}?q=kali", "admin", form=form))
    assert "One assignment changes" in preview
    assert "18 Dec 2030" in preview
    assert (await client.ask(f"{BULK}?q=kali", "admin", form=form | {"digest": _hidden(preview, "digest")})).code == 303
    row = await _row(world)
    assert (row.can_power, row.can_reset) == (False, True)
    other = await world.database.run(assignments.find, vm_id=world.vms["other"], user_id=world.users["other"])
    assert other is not None
    assert other.ends_at is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ends": "set", "ends_at": ""}, "Please fill this in"),
        ({"ends": "set", "ends_at": "tomorrow"}, "Please give a date"),
        (
            {"starts": "set", "starts_at": "2030-01-02T00:00", "ends": "set", "ends_at": "2030-01-01T00:00"},
            "after the start",
        ),
        ({"starts": "sometime"}, "Please choose one of these"),
        ({"do": "everything"}, "Please choose one of these"),
    ],
)
@pytest.mark.gen_test
async def test_bad_input_keeps_what_was_typed(client: Client, world: World, change: dict[str, str], words: str) -> None:
    form = {"id": str(world.assignment), "do": "change", "preview": "1", "reset": "yes"} | change
    response = await client.ask(BULK, "admin", form=form)
    assert response.code == 422
    page = text(response)
    assert words in page
    if "do" not in change:
        assert re.search(r'<option value="yes" selected>', page)
    assert not (await _row(world)).can_reset


@pytest.mark.gen_test
async def test_what_would_be_reversed_is_left_alone_and_said(client: Client, world: World) -> None:
    starts = utcnow() + timedelta(days=9)
    await world.database.run(
        assignments.update, TEST, world.assignment, starts_at=starts, ends_at=None, can_power=True, can_reset=False
    )
    form = {"id": str(world.assignment), "do": "now"}
    preview = text(await client.ask(BULK, "admin", form=form))
    assert bulk_assignments.NOT_BEGUN in preview
    assert 'name="digest"' not in preview


@pytest.mark.gen_test
async def test_removing_what_somebody_has_just_added_to_is_asked_again(client: Client, world: World) -> None:
    form = {"all": "1", "do": "remove"}
    digest = _hidden(text(await client.ask(BULK, "admin", form=form)), "digest")
    await world.database.run(assignments.create, TEST, vm_id=world.vms["spare"], user_id=world.users["student"])
    told = await client.ask(BULK, "admin", form=form | {"digest": digest})
    assert told.code == 422
    assert "Something has changed since this preview" in text(told)
    assert (await world.database.run(assignments.page)).total == 3
    again = _hidden(text(told), "digest")
    assert (await client.ask(BULK, "admin", form=form | {"digest": again})).code == 303
    assert (await world.database.run(assignments.page)).total == 0


@pytest.mark.gen_test
async def test_nothing_ticked_and_foreign_ids(client: Client, world: World) -> None:
    for form in ({"do": "remove"}, {"do": "remove", "id": "x"}):
        response = await client.ask(f"{BULK}?q=kali", "admin", form=form)
        assert (response.code, response.headers["Location"]) == (303, "/admin/assignments?q=kali")
    gone = text(await client.ask(BULK, "admin", form={"do": "remove", "id": "9999999999"}))
    assert "0 assignments change" in gone
    assert (await client.ask(BULK, "admin")).headers["Location"] == "/admin/assignments"
    for path in ("/admin/changes/999", "/admin/changes/999999999999999999"):
        for sent in (None, {}):
            assert (await client.ask(path, "admin", form=sent)).code == 404


@pytest.mark.gen_test
async def test_names_of_every_script_in_previews(client: Client, world: World) -> None:
    await world.database.run(vms.update, TEST, world.vms["kali"], name='<script>alert("х")</script> 日本 "')
    for path, form in ((BULK, {"all": "1", "do": "remove"}), ("/admin/assignments", None)):
        page = text(await client.ask(path, "admin", form=form))
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(&quot;х&quot;)&lt;/script&gt; 日本" in page
