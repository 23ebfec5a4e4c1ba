"""The web port's rules, each with a raw connection: who gets which status, which silence, which bare close."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from tests import patience
from tests.simulator.clients import UPGRADE, Connection, Ticket, cookie, get_ticket, open_console, websocket_path
from tests.simulator.conftest import MakeCluster

INVALID = "permission denied - invalid PVEVNC ticket"
SILENCE = 0.3


async def _ask(cluster: SimulatedCluster, path: str, **headers: str) -> tuple[int, str, bytes]:
    connection = await Connection.open(cluster)
    try:
        status, reason, answer = await connection.get(path, **headers)
        return status, reason, await connection.body(answer)
    finally:
        await connection.close()


async def _silent(connection: Connection) -> None:
    """Neither a byte nor the end of the connection."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.reader.read(1), SILENCE)


async def _ended(connection: Connection) -> None:
    """The end of the connection, and not a byte before it."""
    assert await asyncio.wait_for(connection.reader.read(), patience.SECONDS) == b""
    await connection.close()


NOW = 1_795_350_684


def _at(cluster: SimulatedCluster, seconds: int) -> None:
    """Stop the clock of the tickets at that many seconds after NOW."""
    cluster.tickets.clock = lambda: NOW + seconds


# Who is let in


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "No ticket"),
        ({"Cookie": "other=1"}, "No ticket"),
        ({"Cookie": "xPVEAuthCookie=PVE"}, "No ticket"),
        ({"Cookie": "PVEAuthCookie=PVE:root@pam:00000000::bad"}, "Authentication failed!"),
        ({"Authorization": "PVEAPIToken=gw@pve!t1=wrong"}, "Authentication failed!"),
    ],
)
@pytest.mark.gen_test
async def test_without_a_valid_cookie(cluster: SimulatedCluster, headers: dict[str, str], reason: str) -> None:
    cluster.state.tokens["gw@pve!t1"] = "right"
    assert await _ask(cluster, "/api2/json/version", **headers) == (401, reason, b"")


@pytest.mark.gen_test
async def test_a_cookie_holds_two_hours(cluster: SimulatedCluster) -> None:
    _at(cluster, 0)
    value = cookie(cluster)
    _at(cluster, 2 * 3600 - 1)
    assert (await _ask(cluster, "/api2/json/version", Cookie=value))[0] == 200
    _at(cluster, 2 * 3600)
    assert (await _ask(cluster, "/api2/json/version", Cookie=value))[:2] == (401, "Authentication failed!")


@pytest.mark.gen_test
async def test_the_places_for_a_cookie(cluster: SimulatedCluster) -> None:
    raw = "PVEAuthCookie=" + cluster.tickets.cookie("root@pam")
    for headers in ({"Cookie": raw}, {"Cookie": f"a=b; {cookie(cluster)}; c=d"}, {"Authorization": raw}):
        status, _, body = await _ask(cluster, "/api2/json/version", **headers)
        assert (status, json.loads(body)["data"]["version"]) == (200, "9.1.9")


@pytest.mark.gen_test
async def test_an_api_token_is_let_in_but_fits_no_root_ticket(cluster: SimulatedCluster) -> None:
    cluster.state.tokens["low@pve!t1"] = "right"
    token = {"Authorization": "PVEAPIToken=low@pve!t1=right"}
    assert (await _ask(cluster, "/api2/json/version", **token))[0] == 200
    ticket = await get_ticket(cluster)
    assert (await _ask(cluster, ticket.path, **token, **UPGRADE))[:2] == (401, INVALID)


@pytest.mark.gen_test
async def test_every_401_is_late(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(refusal_delay=0.5))
    refused = asyncio.create_task(_ask(cluster, "/api2/json/version"))
    assert (await _ask(cluster, "/api2/json/version", Cookie=cookie(cluster)))[0] == 200
    assert not refused.done()
    assert (await refused)[0] == 401


@pytest.mark.gen_test
async def test_sign_in_by_password_and_by_ticket(cluster: SimulatedCluster) -> None:
    async def post(**form: str) -> tuple[int, str, dict[str, str] | None]:
        connection = await Connection.open(cluster)
        body = urlencode(form).encode()
        head = "POST /api2/json/access/ticket HTTP/1.1\r\nHost: pve1\r\n"
        connection.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, reason, headers = await connection.answer()
        data = json.loads(await connection.body(headers))["data"]
        await connection.close()
        return status, reason, data

    password = cluster.state.users["low@pve"].password
    status, _, data = await post(username="low@pve", password=password)
    assert status == 200
    assert data is not None
    assert data["username"] == "low@pve"
    again = await post(username="low", realm="pve", password=data["ticket"])
    assert again[0] == 200
    assert (await post(username="low@pve", password=cluster.tickets.cookie("root@pam")))[0] == 200
    for wrong in ("", "nonsense", cluster.tickets.cookie("gw@pve")):
        assert await post(username="low@pve", password=wrong) == (401, "authentication failure", None)
    assert (await post(username="low@pve"))[0] == 400


# vncwebsocket: the statuses


@pytest.mark.gen_test
async def test_without_upgrade_the_port_is_told_and_not_used(cluster: SimulatedCluster) -> None:
    ticket = await get_ticket(cluster)
    status, _, body = await _ask(cluster, ticket.path, Cookie=cookie(cluster))
    assert (status, body) == (200, b'{"data":{"port":"%s"}}' % ticket.port.encode())
    assert cluster.consoles.listening == [int(ticket.port)]


@pytest.mark.gen_test
async def test_tickets_that_do_not_fit(cluster: SimulatedCluster) -> None:
    good = await get_ticket(cluster)
    other = await get_ticket(cluster)
    mint = cluster.tickets.vnc_ticket
    wrong = {
        "malformed": replace(good, ticket="nonsense"),
        "forged": replace(good, ticket=good.ticket[:-8] + "AAAAAAA="),
        "another port's": replace(good, port=other.port),
        "another machine's": replace(good, vmid=101),
        "another user's": replace(good, ticket=mint("low@pve", "/vms/100", int(good.port))),
        "of the old format": replace(good, ticket=mint("root@pam", "/vms/100", None)),
        "with a + that became a space": replace(good, ticket=good.ticket[:40] + " " + good.ticket[41:]),
    }
    for why, ticket in wrong.items():
        answer = await _ask(cluster, ticket.path, Cookie=cookie(cluster), **UPGRADE)
        assert answer == (401, INVALID, b'{"data":null}'), why
    bare = replace(good, ticket=good.ticket[9:])
    assert (await _ask(cluster, bare.path, Cookie=cookie(cluster)))[0] == 200, "the password in front is optional"


@pytest.mark.parametrize(("age", "status"), [(39, 200), (40, 401), (-19, 200), (-20, 401)])
@pytest.mark.gen_test
async def test_a_ticket_holds_forty_seconds(cluster: SimulatedCluster, age: int, status: int) -> None:
    _at(cluster, 0)
    ticket = await get_ticket(cluster)
    _at(cluster, age)
    assert (await _ask(cluster, ticket.path, Cookie=cookie(cluster)))[0] == status


@pytest.mark.gen_test
async def test_key_rotation_kills_tickets_and_spares_cookies(cluster: SimulatedCluster) -> None:
    ticket, value = await get_ticket(cluster), cookie(cluster)
    cluster.tickets.rotate()
    assert (await _ask(cluster, ticket.path, Cookie=value))[:2] == (401, INVALID)
    assert (await _ask(cluster, (await get_ticket(cluster)).path, Cookie=value))[0] == 200


@pytest.mark.gen_test
async def test_the_cookies_user_needs_the_right_and_the_ticket(cluster: SimulatedCluster) -> None:
    ticket = await get_ticket(cluster)
    low, other = cookie(cluster, "low@pve"), cookie(cluster, "gw@pve")
    answer = await _ask(cluster, ticket.path, Cookie=other, **UPGRADE)
    assert answer == (403, "Permission check failed (/vms/100, VM.Console)", b'{"data":null}')
    assert (await _ask(cluster, ticket.path, Cookie=low, **UPGRADE))[:2] == (401, INVALID)
    minted = cluster.tickets.vnc_ticket("low@pve", "/vms/100", int(ticket.port))
    assert (await _ask(cluster, replace(ticket, ticket=minted).path, Cookie=low))[0] == 200


@pytest.mark.parametrize("query", ["", "port=5900", "vncticket=x", "port=5899&vncticket=x", "port=6000&vncticket=x"])
@pytest.mark.gen_test
async def test_missing_or_impossible_parameters(cluster: SimulatedCluster, query: str) -> None:
    path = f"/api2/json/nodes/pve1/qemu/100/vncwebsocket?{query}"
    answer = await _ask(cluster, path, Cookie=cookie(cluster), **UPGRADE)
    assert answer[:2] == (400, "Parameter verification failed.")


@pytest.mark.gen_test
async def test_a_ticket_over_512_characters(cluster: SimulatedCluster) -> None:
    path = websocket_path(100, "5900", "x" * 513)
    assert (await _ask(cluster, path, Cookie=cookie(cluster)))[0] == 400


@pytest.mark.gen_test
async def test_websocket_headers(cluster: SimulatedCluster) -> None:
    ticket = await get_ticket(cluster)
    without = {name: value for name, value in UPGRADE.items() if name != "Sec_WebSocket_Version"}
    answer = await _ask(cluster, ticket.path, Cookie=cookie(cluster), **without)
    assert answer[:2] == (500, "unsupported websocket-version ''")
    answer = await _ask(cluster, ticket.path, Cookie=cookie(cluster), **(UPGRADE | {"Sec_WebSocket_Version": "8"}))
    assert answer[:2] == (500, "unsupported websocket-version '8'")
    without = {name: value for name, value in UPGRADE.items() if name != "Sec_WebSocket_Key"}
    answer = await _ask(cluster, ticket.path, Cookie=cookie(cluster), **without)
    assert answer[:2] == (500, "missing websocket-key")


@pytest.mark.gen_test
async def test_the_node_in_the_path_must_have_the_vm(cluster: SimulatedCluster) -> None:
    ticket = replace(await get_ticket(cluster), node="pve2")
    answer = await _ask(cluster, ticket.path, Cookie=cookie(cluster), **UPGRADE)
    assert answer[:2] == (500, "Configuration file 'nodes/pve2/qemu-server/100.conf' does not exist")


@pytest.mark.gen_test
async def test_the_subprotocol_comes_back_verbatim_and_no_origin_is_checked(cluster: SimulatedCluster) -> None:
    connection = await Connection.open(cluster)
    ticket = await get_ticket(cluster)
    asked = {"Sec_WebSocket_Protocol": "foo, bar", "Sec_WebSocket_Extensions": "permessage-deflate"}
    status, _, headers = await connection.get(
        ticket.path, Cookie=cookie(cluster), Origin="https://evil.example", **UPGRADE, **asked
    )
    assert (status, headers["Sec-WebSocket-Protocol"]) == (101, "foo, bar")
    assert "Sec-WebSocket-Extensions" not in headers
    assert (await connection.frame()) == (2, b"RFB 003.008\n")
    await connection.close()


# Ports that nobody listens on


@pytest.mark.gen_test
async def test_a_used_port_is_silence(cluster: SimulatedCluster) -> None:
    ticket = await get_ticket(cluster)
    first = await open_console(cluster, ticket)
    second = await Connection.open(cluster)
    second.writer.write(_request(ticket, cluster))
    await _silent(second)
    await second.close()
    assert (await first.frame())[1] == b"RFB 003.008\n", "the first one is untouched"
    await first.close()


@pytest.mark.gen_test
async def test_a_used_port_ends_the_worker_where_there_is_no_libev(cluster: SimulatedCluster) -> None:
    cluster.options.libev = False
    ticket = await get_ticket(cluster)
    first = await open_console(cluster, ticket)
    assert (await first.frame())[1] == b"RFB 003.008\n"
    second = await Connection.open(cluster)
    second.writer.write(_request(ticket, cluster))
    await _ended(second)
    await _ended(first)


@pytest.mark.gen_test
async def test_an_expired_port_is_silence(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(accept_window=0.0))
    ticket = await get_ticket(cluster)
    while cluster.consoles.listening:
        await asyncio.sleep(0)
    connection = await Connection.open(cluster)
    connection.writer.write(_request(ticket, cluster))
    await _silent(connection)
    await connection.close()


def _request(ticket: Ticket, cluster: SimulatedCluster) -> bytes:
    headers = {"Cookie": cookie(cluster), **UPGRADE}
    lines = [f"GET {ticket.path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# HTTP's limits


@pytest.mark.parametrize(
    "head",
    [
        "GET /api2/json/version HTTP/1.1\r\nCookie: " + "x" * 8200 + "\r\n\r\n",
        "GET /api2/json/version HTTP/1.1\r\n" + "".join(f"X-{i}: y\r\n" for i in range(65)) + "\r\n",
        "GET /api2/json/version HTTP/1.1\r\nCookie: never finished",
        "nonsense\r\n\r\n",
    ],
)
@pytest.mark.gen_test
async def test_what_breaks_the_limits_gets_no_answer(cluster: SimulatedCluster, head: str) -> None:
    connection = await Connection.open(cluster)
    connection.writer.write(head.encode())
    await _ended(connection)


@pytest.mark.gen_test
async def test_a_connection_serves_several_requests(cluster: SimulatedCluster) -> None:
    """Until one of them fails (AnyEvent.pm, response)."""
    connection = await Connection.open(cluster)
    for path, status in (("/api2/json/version", 200), ("/api2/json/version", 200), ("/api2/json/nope", 501)):
        got, _, headers = await connection.get(path, Cookie=cookie(cluster))
        await connection.body(headers)
        assert (got, headers["Connection"]) == (status, "Keep-Alive" if status == 200 else "close")
    assert await connection.reader.read() == b""
    await connection.close()


@pytest.mark.gen_test
async def test_a_long_answer_is_packed_for_who_can_unpack_it(cluster: SimulatedCluster) -> None:
    connection, answers = await Connection.open(cluster), []
    for more in ({}, {"Accept_Encoding": "gzip"}):
        _, _, headers = await connection.get("/api2/json/cluster/resources?type=vm", Cookie=cookie(cluster), **more)
        answers.append((headers.get("Content-Encoding"), await connection.body(headers)))
    (plain, text), (packing, packed) = answers
    assert (plain, packing) == (None, "gzip")
    assert json.loads(gzip.decompress(packed))["data"][0].keys() == json.loads(text)["data"][0].keys()
    assert len(packed) < len(text)
    await connection.close()


@pytest.mark.gen_test
async def test_plain_http_is_sent_to_tls(cluster: SimulatedCluster) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.api.port)
    writer.write(b"GET /x HTTP/1.1\r\nHost: pve1:8006\r\n\r\n")
    answer = (await reader.read()).decode()
    assert answer.startswith("HTTP/1.1 301 ")
    assert "Location: https://pve1:8006/x\r\n" in answer
    writer.close()
    await writer.wait_closed()


@pytest.mark.gen_test
async def test_a_ticket_from_before_2026(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(hardened=False))
    ticket = await get_ticket(cluster)
    assert ticket.ticket.startswith("PVEVNC:6")
    assert ticket.password == ticket.ticket
    later = await get_ticket(cluster)
    assert (await _ask(cluster, replace(ticket, port=later.port).path, Cookie=cookie(cluster)))[0] == 200, (
        "no port in it"
    )
    assert quote(ticket.ticket, safe="") in ticket.path
