"""The OpenAPI document, and whether the API keeps to it: asked by schemathesis what it allows and what it does not."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from tornado.httpserver import HTTPServer

from cyberlab.db import tokens
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import METHODS, operation_of
from cyberlab.handlers.api.openapi import document
from cyberlab.handlers.api.routes import API
from cyberlab.handlers.routes import make_application
from tests.databases import SqliteTemplate
from tests.web import TEST, World


@dataclass
class Served:
    """A portal on a thread of its own, and an admin's token for it."""

    url: str
    token: str


@pytest.fixture(scope="module")
def served(sqlite: SqliteTemplate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Schemathesis blocks while it asks, so the portal runs beside it."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    world = World(sqlite.copy(tmp_path_factory.mktemp("api")), public_url=url)
    _, token = world.database.call(
        tokens.create, TEST, world.users["admin"], name="schemathesis", scopes=list(Scope), expires_at=None
    )
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stopping = asyncio.Event()

    async def serve() -> None:
        server = HTTPServer(make_application(world.portal))
        server.add_socket(sock)
        ready.set()
        await stopping.wait()
        server.stop()
        await server.close_all_connections()
        await world.portal.operations.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="portal")
    thread.start()
    assert ready.wait(10)
    yield Served(url, token)
    loop.call_soon_threadsafe(stopping.set)
    thread.join(10)
    loop.close()
    world.close()


def test_every_method_is_described() -> None:
    told = set(ASKED)
    assert len(told) == sum(operation_of(handler, method) is not None for _, handler in API for method in METHODS)
    assert ("/api/v1/classes/{class_id}/members/{member_id}", "put") in told
    ids = [item["operationId"] for methods in DOCUMENT["paths"].values() for item in methods.values()]
    assert len(ids) == len(set(ids))


DOCUMENT = document(API, "http://127.0.0.1")
# Every request here carries the token; what happens without one is the business of test_base.py.
SCHEMA = schemathesis.openapi.from_dict({**DOCUMENT, "security": []})
ASKED = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


@pytest.mark.leaks_ok("the portal of all these tests starts its threads as it needs them")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), ASKED)
def test_the_api_keeps_to_its_document(served: Served, path: str, method: str, mode: GenerationMode) -> None:
    described = SCHEMA[path][method.upper()]

    @given(case=described.as_strategy(generation_mode=mode))
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=served.url, headers={"Authorization": f"Bearer {served.token}"})

    if mode == GenerationMode.NEGATIVE and not (described.body or described.query or described.path_parameters):
        return  # nothing that could be wrong
    ask()
