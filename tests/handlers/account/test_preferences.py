from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cyberlab.db import assignments, epoch, users
from tests.handlers.jar import Jar
from tests.web import TEST, Client, World, text

GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}


async def _set(world: World, language: str = "", time_zone: str = "") -> None:
    await world.database.run(users.set_preferences, world.users["student"], language=language, time_zone=time_zone)


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr, de;q=0.4", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr", "en"),
        ("", "en"),
        ("*;q=x,;;,-,_", "en"),
    ],
)
@pytest.mark.gen_test
async def test_the_browser_is_followed(client: Client, asked: str, language: str) -> None:
    page = text(await client.ask("/auth/login", headers={"Accept-Language": asked}))
    assert f'<html lang="{language}">' in page
    assert ("Benutzername" in page) is (language == "de")


@pytest.mark.gen_test
async def test_the_sign_in_page_offers_a_language_and_keeps_it(jar: Jar) -> None:
    assert "Benutzername" not in text(await jar.ask("/auth/login"))
    answer = await jar.ask("/language", {"language": "de", "back": "/auth/login?next=%2Faccount"})
    assert (answer.code, answer.headers["Location"]) == (303, "/auth/login?next=%2Faccount")
    assert "Benutzername" in text(await jar.ask("/auth/login"))
    answer = await jar.ask("/auth/login", {"username": "student", "password": "wrong"})
    assert "Benutzername und Passwort passen nicht zusammen." in text(answer)
    await jar.password("student")
    assert "Meine Maschinen" in text(await jar.ask("/student"))


@pytest.mark.parametrize(
    "back", ["//evil.example/", "https://evil.example/", "/auth//evil\\", "/auth/sso/x/callback", ""]
)
@pytest.mark.gen_test
async def test_the_choice_leads_back_to_our_own_pages_alone(jar: Jar, back: str) -> None:
    answer = await jar.ask("/language", {"language": "klingon", "back": back})
    assert (answer.code, answer.headers["Location"]) == (303, "/auth/login")
    assert "cyberlab-language" not in jar.cookies


@pytest.mark.gen_test
async def test_the_account_counts_more_than_cookie_and_browser(client: Client, world: World) -> None:
    cookie = {"Cookie": f"cyberlab={world.tokens['student']}; cyberlab-language=de"}
    assert '<html lang="de">' in text(await client.ask("/student", headers=cookie))
    await _set(world, "en")
    assert '<html lang="en">' in text(await client.ask("/student", headers=cookie))
    assert '<html lang="en">' in text(await client.ask("/student", "student", headers=GERMAN))


@pytest.mark.gen_test
async def test_choosing_is_saved_and_said_in_that_language(jar: Jar, world: World) -> None:
    await jar.password("student")
    before = await world.database.run(epoch.current)
    answer = await jar.ask("/account/preferences", {"language": "de", "time_zone": "america/new york"})
    assert (answer.code, answer.headers["Location"]) == (303, "/account")
    page = text(await jar.ask("/account"))
    assert "Sprache und Zeitzone wurden gespeichert." in page
    assert "Deutsch · America/New_York" in page
    user = await world.database.run(users.get, world.users["student"])
    assert user is not None
    assert (user.language, user.time_zone) == ("de", "America/New_York")
    assert await world.database.run(epoch.current) == before, "nobody's rights change"


@pytest.mark.gen_test
async def test_what_the_browser_asks_for_can_be_chosen_again(jar: Jar, world: World) -> None:
    await _set(world, "de")
    await jar.ask("/language", {"language": "de", "back": "/"})
    await jar.password("student")
    await jar.ask("/account/preferences", {"language": "", "time_zone": ""})
    assert '<html lang="en">' in text(await jar.ask("/account"))


@pytest.mark.gen_test
async def test_what_there_is_not_is_refused_and_nothing_typed_is_lost(client: Client, world: World) -> None:
    form = {"language": "xx", "time_zone": "Europe/Nowhere"}
    answer = await client.ask("/account/preferences", "student", form=form)
    assert answer.code == 422
    page = text(answer)
    assert "There is no such time zone; choose one from the list." in page
    assert "Please choose one of these." in page
    assert 'value="Europe/Nowhere"' in page


@pytest.mark.gen_test
async def test_zones_are_suggested(client: Client) -> None:
    answer = await client.ask("/account/zones?q=new_yo", "student")
    assert json.loads(answer.body) == {"suggestions": [{"value": "America/New_York", "text": "America/New York"}]}
    assert len(json.loads((await client.ask("/account/zones", "student")).body)["suggestions"]) == 20


@pytest.mark.gen_test
async def test_times_are_the_reader_s(client: Client, world: World) -> None:
    await world.database.run(
        assignments.update,
        TEST,
        world.assignment,
        starts_at=None,
        ends_at=datetime(2030, 7, 1, 12, 0, tzinfo=UTC),
        can_power=True,
        can_reset=False,
    )
    cookie = {"Cookie": f"cyberlab={world.tokens['student']}; tz=America/New_York"}
    page = text(await client.ask("/student", headers=cookie))
    stamp = '<time datetime="2030-07-01T12:00:00Z" title="America/New_York (UTC-04:00)">1 Jul 2030, 08:00</time>'
    assert f"until {stamp}" in page
    await _set(world, "de", "Europe/Berlin")
    page = text(await client.ask("/student", headers=cookie))
    assert (
        'bis <time datetime="2030-07-01T12:00:00Z" title="Europe/Berlin (UTC+02:00)">1. Juli 2030, 14:00</time>' in page
    )
    for bad in ("../../etc/passwd", "Mars/Olympus", "%00"):
        await _set(world)
        cookie = {"Cookie": f"cyberlab={world.tokens['student']}; tz={bad}"}
        assert "1 Jul 2030, 12:00 UTC" in text(await client.ask("/student", headers=cookie))


@pytest.mark.gen_test
async def test_errors_are_in_the_language_too(client: Client) -> None:
    assert "Diese Seite gibt es nicht" in text(await client.ask("/nowhere", "student", headers=GERMAN))
    plain = text(await client.ask("/nowhere", "student", headers=GERMAN | {"Accept": "*/*"}))
    assert "Anfragenummer: " in plain
    answer = json.loads((await client.ask("/student/states", headers=GERMAN)).body)
    assert answer["title"] == "Bitte melden Sie sich an"
