from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.handlers.address import client_address, networks

TRUSTED = networks(("127.0.0.1", "::1", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),  # nobody we trust says so
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # the first was the browser's own invention
        ("127.0.0.1", ["198.51.100.1", "10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("::1", ["2001:db8::5"], "2001:db8::5"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_address(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == address


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_header_is_survived(forwarded: list[str]) -> None:
    assert client_address("127.0.0.1", forwarded, TRUSTED)


def test_a_bad_proxy_is_an_error() -> None:
    with pytest.raises(ValueError, match="proxy"):
        networks(("proxy.example",))
