"""Who may ask the web port: cookies with CSRF tokens, API tokens, second factors."""

from __future__ import annotations

import pytest

from cyberlab.simulator.node import SimulatedCluster
from tests.simulator.clients import call, cookie, signed_in

START = "/nodes/pve1/qemu/101/status/start"
CSRF = "Permission denied - invalid csrf token"


@pytest.mark.gen_test
async def test_a_cookie_alone_changes_nothing(cluster: SimulatedCluster) -> None:
    value = cookie(cluster)
    assert (await call(cluster, "GET", "/version", Cookie=value)).status == 200
    foreign = cluster.tickets.csrf("low@pve")
    for headers in ({}, {"CSRFPreventionToken": "00000000:x"}, {"CSRFPreventionToken": foreign}):
        refused = await call(cluster, "POST", START, {}, Cookie=value, **headers)
        assert (refused.status, refused.reason) == (401, CSRF)
    assert (await call(cluster, "POST", START, {}, **signed_in(cluster))).status == 200


@pytest.mark.gen_test
async def test_a_csrf_token_ages_as_its_cookie_does(cluster: SimulatedCluster) -> None:
    headers = signed_in(cluster)
    now = cluster.tickets.clock()
    cluster.tickets.clock = lambda: now + 7199
    headers["Cookie"] = cookie(cluster)
    assert (await call(cluster, "POST", START, {}, **headers)).status == 200
    cluster.tickets.clock = lambda: now + 7201
    assert (await call(cluster, "POST", START, {}, **headers)).reason == CSRF


@pytest.mark.gen_test
async def test_a_token_needs_no_csrf_and_ends_with_its_user(cluster: SimulatedCluster) -> None:
    cluster.state.tokens["low@pve!t1"] = "right"
    token = {"Authorization": "PVEAPIToken=low@pve!t1=right"}
    task = await call(cluster, "POST", "/nodes/pve1/qemu/100/status/reset", {}, **token)
    assert (task.status, task.data.split(":")[-2]) == (200, "low@pve!t1")
    cluster.state.users["low@pve"].enabled = False
    assert (await call(cluster, "GET", "/version", **token)).reason == "Authentication failed!"


@pytest.mark.gen_test
async def test_what_a_sign_in_gives(cluster: SimulatedCluster) -> None:
    password = cluster.state.users["low@pve"].password
    form = {"username": "low@pve", "password": password}
    data = (await call(cluster, "POST", "/access/ticket", form)).data
    headers = {"Cookie": f"PVEAuthCookie={data['ticket']}", "CSRFPreventionToken": data["CSRFPreventionToken"]}
    assert (await call(cluster, "POST", "/nodes/pve1/qemu/100/status/reset", {}, **headers)).status == 200
    missing = await call(cluster, "POST", "/access/ticket", {"username": "low@pve"})
    assert (missing.status, missing.body["errors"]) == (400, {"password": "property is missing and it is not optional"})


@pytest.mark.gen_test
async def test_a_second_factor_is_asked_for(cluster: SimulatedCluster) -> None:
    user = cluster.state.users["low@pve"]
    user.second_factor = "123456"
    form = {"username": "low@pve", "password": user.password}
    first = (await call(cluster, "POST", "/access/ticket", form)).data
    assert first["NeedTFA"] == 1
    refused = await call(cluster, "GET", "/version", Cookie=f"PVEAuthCookie={first['ticket']}")
    assert (refused.status, refused.reason) == (401, "Authentication failed!")
    second = {"username": "low@pve", "tfa-challenge": first["ticket"]}
    for code, status in (("totp:000000", 401), ("123456", 401), ("totp:123456", 200)):
        answer = await call(cluster, "POST", "/access/ticket", {**second, "password": code})
        assert answer.status == status, code
    assert "NeedTFA" not in answer.data
    renewed = await call(cluster, "POST", "/access/ticket", {"username": "low@pve", "password": answer.data["ticket"]})
    assert "NeedTFA" not in renewed.data, "a ticket that holds renews itself"
