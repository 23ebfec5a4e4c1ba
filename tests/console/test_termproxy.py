"""termproxy's protocol without I/O: what a browser's bytes are cut into, and what is none of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.console import termproxy
from cyberlab.console.termproxy import MAX_DATA, MAX_SIZE, ClientMessages, TermproxyError
from cyberlab.simulator.termproxy import Reader, Resize
from tests.console.test_frames import FEW, cut

MESSAGES = {
    "input": termproxy.data(b"ls\r"),
    "input, empty": termproxy.data(b""),
    "input that looks like messages": termproxy.data(b"0:5:1:80:24:2"),
    "input in UTF-8": termproxy.data("grüß".encode()),
    "input, 12 bytes": termproxy.data(b"\x00\xff" * 6),
    "input, the longest": termproxy.data(b"x" * MAX_DATA),
    "resize": termproxy.resize(132, 43),
    "resize, the smallest": termproxy.resize(1, 1),
    "resize, the largest": termproxy.resize(MAX_SIZE, MAX_SIZE),
    "ping": termproxy.PING,
}
SHORT = sorted(name for name in MESSAGES if "longest" not in name)
REFUSED = [
    b"3", b"x", b"\0", b"\n", b"0x", b"00", b"0::", b"0:a", b"0:-1:", b"0:+1:", b"0: 1:", b"0:1x", b"0:123456",
    b"0:65537:", b"0:\xb2:", b"1::", b"1:80::", b"1:0:24:", b"1:80:0:", b"1:1001:24:", b"1:80:1001:", b"1:80:2x",
    b"1:123456", b"2x",
]  # fmt: skip


def test_messages_as_proxmoxs_own_page_writes_them() -> None:
    assert termproxy.data("ü".encode()) == b"0:2:\xc3\xbc"
    assert termproxy.resize(80, 24) == b"1:80:24:"


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_passes_when_its_last_byte_has_come(message: bytes) -> None:
    messages = ClientMessages()
    for start in range(len(message) - 1):
        assert messages.feed(message[start : start + 1]) == b""
        assert not messages.between, "a message of our own may not stand here"
    assert messages.feed(message[-1:]) == message
    assert messages.between
    assert ClientMessages().feed(message + b"2" + message) == message + b"2" + message


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_no_message_is_refused_at_once(wrong: bytes) -> None:
    with pytest.raises(TermproxyError):
        ClientMessages().feed(wrong)
    messages = ClientMessages()
    with pytest.raises(TermproxyError):
        b"".join(messages.feed(wrong[start : start + 1]) for start in range(len(wrong)))


@pytest.mark.parametrize(
    "begun", [b"0", b"0:", b"0:6", b"0:65536", b"0:65536:", b"1", b"1:", b"1:1000", b"1:80:", b"1:80:10"]
)
def test_what_may_still_become_one_is_waited_for(begun: bytes) -> None:
    messages = ClientMessages()
    assert messages.feed(begun) == b""
    assert not messages.between


def test_a_view_only_console_passes_signs_of_life_alone() -> None:
    stream = b"".join(MESSAGES.values())
    assert ClientMessages(view_only=True).feed(stream) == b"2"


def test_a_long_message_grows_in_place() -> None:
    messages = ClientMessages()
    messages.feed(b"0:65536:")
    held = messages._buffer
    assert all(messages.feed(b"x" * 64) == b"" for _ in range(1000))
    assert messages._buffer is held


@FEW
@given(st.lists(st.sampled_from(SHORT), max_size=12), st.lists(st.integers(0, 500), max_size=20), st.booleans())
def test_a_stream_cut_anywhere_passes_the_same(names: list[str], places: list[int], view_only: bool) -> None:
    stream = b"".join(MESSAGES[name] for name in names)
    whole = ClientMessages(view_only=view_only).feed(stream)
    for pieces in (cut(stream, places), cut(stream, range(len(stream)))):
        messages = ClientMessages(view_only=view_only)
        assert b"".join(messages.feed(piece) for piece in pieces) == whole
        assert messages.between
    if not view_only:
        assert whole == stream


@FEW
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_garbage_raises_its_own_error_only_and_nothing_is_made_up(pieces: list[bytes]) -> None:
    messages, passed = ClientMessages(), b""
    try:
        for piece in pieces:
            passed += messages.feed(piece)
    except TermproxyError:
        pass
    assert b"".join(pieces).startswith(passed)


@FEW
@given(st.lists(st.sampled_from(SHORT), max_size=8), st.lists(st.integers(0, 500), max_size=10))
def test_what_passes_means_the_same_to_termproxy_however_the_browser_cuts_it(
    names: list[str], places: list[int]
) -> None:
    """It forgets a header that comes in pieces; what goes on are whole messages."""
    stream = b"".join(MESSAGES[name] for name in names)
    messages, reader = ClientMessages(), Reader()
    events = [event for piece in cut(stream, places) for event in reader.feed(messages.feed(piece))]
    typed = b"".join(event for event in events if isinstance(event, bytes))
    sizes = [event for event in events if isinstance(event, Resize)]
    sent = [MESSAGES[name] for name in names]
    assert typed == b"".join(message.split(b":", 2)[2] for message in sent if message[:1] == b"0")
    assert len(sizes) == sum(message[:1] == b"1" for message in sent)


def test_the_line_of_authentication() -> None:
    assert (
        termproxy.login_line("gw@pve!t1", "E^Z:T_RN:PVEVNC:6B02E096::a+/=")
        == b"gw@pve!t1:E^Z:T_RN:PVEVNC:6B02E096::a+/=\n"
    )
    for user, ticket in (("a:b", "t"), ("a", "t\n"), ("a\r", "t"), ("a", "t\0")):
        with pytest.raises(ValueError, match="no user or no ticket"):
            termproxy.login_line(user, ticket)
