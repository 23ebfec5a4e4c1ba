from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cyberlab.handlers.assets import Assets
from tests.web import Client, World, text


@pytest.mark.gen_test
async def test_health_needs_nothing(client: Client, world: World) -> None:
    world.database.close()
    response = await client.ask("/healthz", "student")
    assert (response.code, response.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.css", "text/css; charset=utf-8"),
        ("console.js", "text/javascript; charset=utf-8"),
        ("console/channel.js", "text/javascript; charset=utf-8"),
        ("favicon.svg", "image/svg+xml"),
    ],
)
@pytest.mark.gen_test
async def test_files_have_their_type_and_are_kept(client: Client, world: World, name: str, kind: str) -> None:
    response = await client.ask(world.portal.assets.url(name))
    assert response.code == 200
    assert response.headers["Content-Type"] == kind
    assert "immutable" in response.headers["Cache-Control"]
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(Path(f"static/{name}").read_bytes()).digest()


@pytest.mark.parametrize("path", ["/static/app.css", "/static/v-000000000000/app.css"])
@pytest.mark.gen_test
async def test_an_old_address_still_answers_but_is_not_kept(client: Client, path: str) -> None:
    response = await client.ask(path)
    assert (response.code, response.headers["Cache-Control"]) == (200, "no-cache")
    again = await client.ask(path, headers={"If-None-Match": response.headers["Etag"]})
    assert again.code == 304


@pytest.mark.parametrize("path", ["", "none.js", "..%2fserver.py", "../cyberlab/app.py", "console", "console/"])
@pytest.mark.gen_test
async def test_nothing_else_is_served(client: Client, path: str) -> None:
    response = await client.ask(f"/static/{path}")
    assert response.code in (403, 404)
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.gen_test
async def test_favicon(client: Client) -> None:
    there = (await client.ask("/favicon.ico")).headers["Location"]
    assert text(await client.ask(there)).startswith("<svg")


def test_an_address_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.js").write_text("1")
    first = Assets(tmp_path)
    assert Assets(tmp_path).version == first.version
    (tmp_path / "sub" / "a.js").write_text("2")
    second = Assets(tmp_path)
    (tmp_path / "sub" / "a.js").rename(tmp_path / "sub" / "b.js")
    assert len({first.version, second.version, Assets(tmp_path).version}) == 3
    assert second.url("sub/b.js") == f"/static/v-{second.version}/sub/b.js"
