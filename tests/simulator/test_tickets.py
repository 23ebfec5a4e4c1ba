"""Tickets by themselves: their form, and what hypothesis makes of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.simulator.tickets import KeyRing, Tickets, new_key, vnc_password


@pytest.fixture(scope="module")
def tickets() -> Tickets:
    return Tickets(KeyRing(new_key()))


def test_the_forms(tickets: Tickets) -> None:
    assert re.fullmatch(r"PVE:root@pam:[0-9A-F]{8}::[A-Za-z0-9+/]{342}==", tickets.cookie("root@pam"))
    assert re.fullmatch(r"PVEVNC:[0-9A-F]{8}::[A-Za-z0-9+/]{342}==", tickets.vnc_ticket("root@pam", "/vms/100", 5900))


def test_a_cookie_is_no_vnc_ticket_and_back(tickets: Tickets) -> None:
    assert not tickets.vnc_holds(tickets.cookie("root@pam"), "root@pam", "/vms/100", None)
    assert tickets.cookie_user(tickets.vnc_ticket("root@pam", "/vms/100", None)) is None


def test_the_user_cannot_be_exchanged(tickets: Tickets) -> None:
    assert tickets.cookie_user(tickets.cookie("low@pve").replace("low@pve", "root@pam")) is None


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    assert _SHARED.cookie_user(text) is None
    assert not _SHARED.vnc_holds(text, "root@pam", "/vms/100", 5900)


_SHARED = Tickets(KeyRing(new_key()))


def test_passwords_are_as_hostile_as_proxmox_makes_them() -> None:
    letters = {letter for _ in range(500) for letter in vnc_password()}
    assert letters == {chr(code) for code in range(0x21, 0x61)}
