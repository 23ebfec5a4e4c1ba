"""Byte strings one behind the other, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.proxmox.netstrings import Garbled, Netstrings, pack, unpack


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_what_was_packed_comes_out_whatever_the_pieces(fields: list[bytes], size: int) -> None:
    data, reader, found = pack(*fields), Netstrings(300), []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    assert found == fields
    assert reader.pending == 0
    assert unpack(data) == fields


@pytest.mark.parametrize(
    "data", [b"x", b":", b"-1:", b"01:a,", b"3:abc;", b"1234567890", b"12345678901:", b"11:", b"1 :"]
)
def test_nonsense(data: bytes) -> None:
    with pytest.raises(Garbled):
        Netstrings(10).feed(data)


def test_one_that_is_not_complete() -> None:
    with pytest.raises(Garbled):
        unpack(b"3:ab")
    reader = Netstrings(10)
    assert reader.feed(b"3:ab") == []
    assert reader.pending == 4
    assert reader.feed(b"c,0:,1") == [b"abc", b""]
