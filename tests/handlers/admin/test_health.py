"""Health, part by part: what answers, what does not, and what to do about it."""

from __future__ import annotations

import dataclasses

import pytest

from cyberlab.auth.base import Finding
from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.handlers.admin import health as admin_health
from cyberlab.problems import SSH_REFUSED, Problem
from tests.web import Client, World, text


@pytest.mark.gen_test
async def test_the_page_asks_nobody(client: Client, world: World) -> None:
    world.cluster.hangs = True
    page = text(await client.ask("/admin/health", "admin"))
    for part in ("clusters", "sign-in", "portal"):
        assert f'data-fill="/admin/health/{part}"' in page


@pytest.mark.gen_test
async def test_clusters(client: Client, world: World) -> None:
    await world.cluster.resources(10.0)
    world.cluster.online["pve2"] = "offline"
    page = text(await client.ask("/admin/health/clusters", "admin"))
    for words in ("9.2.1", "one node is away", "1 of 2 online", "away: pve2", "one call at work", "2 SSH connections"):
        assert words in page, words


@pytest.mark.gen_test
async def test_a_cluster_that_is_down_says_why_and_what_to_do(client: Client, world: World) -> None:
    world.cluster.problem = Problem(SSH_REFUSED, "10.0.0.1:22")
    page = text(await client.ask("/admin/health/clusters", "admin"))
    for words in ("cannot be reached", "10.0.0.1:22", "No SSH connection to", "not known yet"):
        assert words in page, words


@pytest.mark.gen_test
async def test_a_cluster_that_hangs_is_not_waited_for(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_health, "PATIENCE", 0.05)
    world.cluster.hangs = True
    assert "no answer within" in text(await client.ask("/admin/health/clusters", "admin"))


class Directory:
    name = "uni"

    def __init__(self, findings: list[Finding] | None) -> None:
        self.findings = findings

    async def reach(self) -> list[Finding]:
        if self.findings is None:
            raise TimeoutError
        return self.findings


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([Finding("answers", True, "", "ldaps://a"), Finding("answers", False, "refused", "ldaps://b")], "refused"),
        ([Finding("answers", True, "", "ldaps://a")], "ldaps://a"),
        (None, "no answer within 8 s"),
    ],
)
@pytest.mark.gen_test
async def test_ways_to_sign_in(client: Client, world: World, findings: list[Finding] | None, words: str) -> None:
    changed = dataclasses.replace(world.portal.backends, redirect=(Directory(findings),))  # type: ignore[arg-type]
    object.__setattr__(world.portal, "backends", changed)
    await world.database.run(audit.record, Actor(None, "ada"), "login.unavailable", "", "uni: it hung")
    page = text(await client.ask("/admin/health/sign-in", "admin"))
    assert "local" in page
    assert "nothing to ask" in page
    assert words in page
    assert "uni: it hung" in page


@pytest.mark.gen_test
async def test_the_portal_itself(client: Client) -> None:
    page = text(await client.ask("/admin/health/portal", "admin"))
    for words in ("SQLite", "tornado", "0 open of 2000", "busy", "ms late at worst"):
        assert words in page, words


@pytest.mark.gen_test
async def test_the_overview_says_what_needs_somebody(client: Client, world: World) -> None:
    page = text(await client.ask("/admin", "admin"))
    assert "Nothing just now." in page
    await world.database.run(audit.record, Actor(None, "eve"), "login.failure")
    world.cluster.problem = Problem(SSH_REFUSED, "10.0.0.1:22")
    page = text(await client.ask("/admin", "admin"))
    assert "Cluster pve does not answer" in page
    assert "One sign-in failed since yesterday" in page
    assert "10.0.0.1" not in page
