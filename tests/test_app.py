"""The wiring: the portal starts, says why it cannot, and ends in order."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from cyberlab import app
from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import audit, consoles, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import AuditEvent, Role, VmKind, utcnow
from cyberlab.settings import ClusterSettings, Configuration, Settings

TEST = Actor(None, "test")


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    database = Database(url)
    database.upgrade()
    database.close()
    portal = Settings(_env_file=None, database_url=url, secret_key="x" * 40, listen_port=0, shutdown_grace=1.0)
    return Configuration(portal, (ClusterSettings(_env_file=None),))


@pytest.mark.gen_test
async def test_it_listens_answers_and_leaves_nothing_behind(configuration: Configuration) -> None:
    server = app.Server(configuration)
    await server.start()
    try:
        answer = await AsyncHTTPClient().fetch(f"{server.address}/auth/login")
        assert b"<form" in answer.body
    finally:
        await server.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(server.address.rsplit(":", 1)[1])), 1)


def test_an_address_that_is_taken_is_said_in_one_line(
    configuration: Configuration, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = Configuration(configuration.portal.model_copy(update={"listen_port": port}), configuration.clusters)
        assert app.serve(taken) == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [f"cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_http_beyond_this_machine_is_warned_about(
    configuration: Configuration, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        changes = {"listen_port": other.getsockname()[1], "public_url": "http://lab.example.edu"}
        app.serve(Configuration(configuration.portal.model_copy(update=changes), configuration.clusters))
    assert "passwords travel in the clear" in caplog.text


@pytest.mark.gen_test
async def test_a_crash_leaves_no_console_open_in_the_log(configuration: Configuration) -> None:
    database = Database(configuration.portal.database_url)
    with database.transaction() as s:
        person = users.create(s, TEST, username="ada", role=Role.STUDENT)
        vm = vms.create(s, TEST, cluster="demo", vmid=100, kind=VmKind.QEMU, node="pve1", name="kali")
    row = await app.ConsoleRows(database).opened(ConsoleRequest(person.id, "ada", 1, vm.id, "demo/100 kali"))
    server = app.Server(configuration)
    await server.start()
    await server.stop()
    with database.transaction() as s:
        assert [(known.id, known.end_reason) for known in consoles.page(s).rows] == [(row, "abandoned")]
    database.close()


@pytest.mark.parametrize(("days", "kept"), [(30, ["new"]), (0, ["new", "old"])])
@pytest.mark.gen_test
async def test_what_was_done_is_kept_as_long_as_is_set(
    configuration: Configuration, days: int, kept: list[str]
) -> None:
    settings = configuration.portal.model_copy(update={"audit_keep_days": days})
    server = app.Server(Configuration(settings, configuration.clusters))
    with server.database.transaction() as s:
        s.add(AuditEvent(at=utcnow() - timedelta(days=31), actor="ada", action="old"))
        s.add(AuditEvent(at=utcnow() - timedelta(days=29), actor="ada", action="new"))
    await server._purge_history()
    assert [row.action for row in (await server.database.run(audit.page)).rows] == kept
    await server.stop()
