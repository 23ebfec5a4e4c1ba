"""Console tickets of either format, and the path that carries them: whatever characters they are made of."""

from __future__ import annotations

import string
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cyberlab.proxmox.answers import ConsoleTicket, console_ticket
from cyberlab.proxmox.cluster import Cluster

UPID = "UPID:pve1:00000984:00052FF2:6B02E098:vncproxy:100:root@pam:"
FEW = settings(max_examples=50, deadline=None)  # a busy machine is no failure
# PVE/Ticket.pm, generate_vnc_password: eight characters from "!" to "`".
passwords = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x60), min_size=8, max_size=8)
signatures = st.text(string.ascii_letters + string.digits + "+/=", min_size=1, max_size=344)
bare = st.builds(lambda time, signature: f"PVEVNC:{time:08X}::{signature}", st.integers(0, 2**32 - 1), signatures)
HOSTILE = "&+%#;:'\""


def parsed(ticket: str, **more: object) -> ConsoleTicket:
    return console_ticket({"port": "5907", "ticket": ticket, "user": "root@pam", "upid": UPID} | more)


def assert_arrives(ticket: str) -> None:
    """Proxmox splits the query at & alone, and decodes %XX (PVE/APIServer/AnyEvent.pm); + is read either way."""
    path = Cluster.websocket_path("pve2", "qemu", 100, parsed(ticket))
    got = urlsplit(path)
    assert (got.scheme, got.netloc, got.fragment) == ("", "", "")
    assert got.path == "/api2/json/nodes/pve2/qemu/100/vncwebsocket"
    assert parse_qs(got.query, strict_parsing=True) == {"port": ["5907"], "vncticket": [ticket]}
    assert dict(unquote(pair).split("=", 1) for pair in got.query.split("&")) == {"port": "5907", "vncticket": ticket}
    assert "+" not in path
    assert path.isascii()
    assert path.isprintable()


@FEW
@given(passwords, bare)
@example(HOSTILE, "PVEVNC:6B02E094::m7/J+w==")
@example("%26%2B%0", "PVEVNC:6B02E094::m7/J+w==")
def test_since_april_2026(password: str, ticket: str) -> None:
    """The password is a field of its own, and goes before the ticket as well."""
    got = parsed(f"{password}:{ticket}", password=password)
    assert (got.password, got.ticket, got.port, got.user, got.node_host) == (
        password, f"{password}:{ticket}", 5907, "root@pam", "pve1"
    )  # fmt: skip
    assert parsed(ticket, password=password).ticket == ticket, "Proxmox 10 drops the prefix"
    assert_arrives(got.ticket)
    assert_arrives(ticket)


@FEW
@given(bare)
def test_before(ticket: str) -> None:
    """The password was the ticket, of which RFB uses eight characters."""
    got = parsed(ticket)
    assert got.password == ticket[:8] == "PVEVNC:" + ticket[7]
    assert_arrives(ticket)


@FEW
@given(st.text(min_size=1))
def test_whatever_else_a_ticket_may_become(ticket: str) -> None:
    if all(not 0xD800 <= ord(character) < 0xE000 for character in ticket):
        assert_arrives(ticket)


@FEW
@given(passwords, bare)
def test_nothing_of_it_prints(password: str, ticket: str) -> None:
    got = parsed(f"{password}:{ticket}", password=password, cert="-----BEGIN CERTIFICATE-----")
    for text in (repr(got), str(got), f"{got}"):
        assert text == "ConsoleTicket(node_host='pve1', port=5907, user='root@pam', host='', bound=True)"


@pytest.mark.parametrize("node", ["pve1/../pve2", "pve1?x=", "pve1#"])
def test_the_rest_of_the_path_is_no_place_for_surprises(node: str) -> None:
    with pytest.raises(ValueError, match="node"):
        Cluster.websocket_path(node, "qemu", 100, parsed("PVEVNC:6B02E094::x"))
