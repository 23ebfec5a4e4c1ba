"""RFB without I/O: the DES challenge, and what a browser's bytes are cut into."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.console import rfb
from cyberlab.console.rfb import ClientMessages, RfbError
from tests.console.test_frames import FEW, cut


def test_the_challenge_of_fips_81() -> None:
    """FIPS 81's example of DES-ECB ("Now is the time ", key 0123456789abcdef), each key byte mirrored as VNC has it."""
    password = bytes.fromhex("80c4a2e691d5b3f7").decode("latin-1")
    response = rfb.vnc_response(password, b"Now is the time ")
    assert response.hex() == "3fa40e8a984d4815" + "6a271787ab8883f9"


def test_only_eight_characters_of_a_password_count() -> None:
    challenge = bytes(range(16))
    assert rfb.vnc_response("PVEVNC:6", challenge) == rfb.vnc_response("PVEVNC:68A4C3D2::sig", challenge)
    assert rfb.vnc_response("short", challenge) != rfb.vnc_response("shorter", challenge)
    assert len(rfb.vnc_response("", challenge)) == 16
    assert len(rfb.vnc_response("пароль", challenge)) == 16  # what Latin-1 lacks cannot be right, but must not fail


def test_a_failure_carries_its_reason() -> None:
    assert rfb.failure("no") == b"\0\0\0\2no"


# --- one message of each kind, by its bytes

EXTENDED_POINTER = struct.pack(">BxHii", rfb.SET_ENCODINGS, 2, 7, rfb.PSEUDO_EXTENDED_MOUSE_BUTTONS)
MESSAGES = {
    "SetPixelFormat": b"\x00\0\0\0" + bytes(16),
    "SetEncodings, none": b"\x02\0\0\0",
    "SetEncodings": struct.pack(">BxH3i", 2, 3, 7, 16, -239),
    "FramebufferUpdateRequest": struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 400),
    "KeyEvent": struct.pack(">BBxxI", 4, 1, 0xFF0D),
    "PointerEvent": struct.pack(">BBHH", 5, 0x81, 10, 20),
    "ClientCutText": b"\x06\0\0\0\0\0\0\x03abc",
    "ClientCutText, empty": b"\x06\0\0\0\0\0\0\0",
    "extended clipboard": struct.pack(">B3xiI", 6, -8, 1 << 24) + b"zlib",
    "EnableContinuousUpdates": struct.pack(">BBHHHH", 150, 1, 0, 0, 640, 400),
    "Fence": b"\xf8\0\0\0\0\0\0\x01\x05hello",
    "Fence, empty": b"\xf8\0\0\0\0\0\0\x01\0",
    "xvp": b"\xfa\0\x01\x02",
    "SetDesktopSize": struct.pack(">BxHHBx", 251, 800, 600, 2) + bytes(32),
    "SetDesktopSize, no screen": struct.pack(">BxHHBx", 251, 800, 600, 0),
    "QEMU key": struct.pack(">BBHII", 255, 0, 1, 0x61, 0x1E),
    "QEMU audio on": b"\xff\x01\0\0",
    "QEMU audio off": b"\xff\x01\0\x01",
    "QEMU audio format": b"\xff\x01\0\x02\x03\x02\0\0\xac\x44",
}
INPUTS = (
    "KeyEvent", "PointerEvent", "ClientCutText", "ClientCutText, empty", "extended clipboard", "xvp",
    "SetDesktopSize", "SetDesktopSize, no screen", "QEMU key", "QEMU audio on", "QEMU audio off", "QEMU audio format",
)  # fmt: skip
MARK = struct.pack(">BBHHHH", 3, 0, 1, 2, 3, 4)  # a message of known size: what follows is in step only if it passes


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_passes_when_its_last_byte_has_come(message: bytes) -> None:
    messages = ClientMessages()
    for byte in message[:-1]:
        assert messages.feed(bytes((byte,))) == b""
        assert not messages.between, "a message of our own may not stand here"
    assert messages.feed(message[-1:]) == message
    assert messages.between
    assert ClientMessages().feed(message + MARK) == message + MARK


@pytest.mark.parametrize("name", MESSAGES)
def test_a_view_only_console_drops_what_changes_the_guest(name: str) -> None:
    stream = MARK + MESSAGES[name] + MARK
    kept = MARK + MARK if name in INPUTS else stream
    assert ClientMessages(view_only=True).feed(stream) == kept
    slow = ClientMessages(view_only=True)
    assert b"".join(slow.feed(bytes((byte,))) for byte in stream) == kept


def test_a_pointer_event_is_longer_once_extended_buttons_were_agreed_on() -> None:
    plain, extended = b"\x05\x01\0\x0a\0\x14", b"\x05\x81\0\x0a\0\x14\x01"
    messages = ClientMessages()
    assert messages.feed(EXTENDED_POINTER + plain + extended + MARK) == EXTENDED_POINTER + plain + extended + MARK
    assert messages.feed(extended[:-1]) == b""
    assert messages.feed(extended[-1:]) == extended
    assert messages.feed(b"\x05") == b""  # too little to tell
    assert messages.feed(plain[1:]) == plain
    # The next list of encodings counts alone.
    assert messages.feed(MESSAGES["SetEncodings"] + b"\x05\x81\0\x0a\0\x14") != b""
    assert messages.between


@pytest.mark.parametrize("kind", [1, 7, 100, 149, 151, 249, 252, 254])
def test_an_unknown_message_is_an_error_and_not_guessed_at(kind: int) -> None:
    with pytest.raises(RfbError):
        ClientMessages().feed(bytes((kind,)))


def test_an_unknown_qemu_message() -> None:
    with pytest.raises(RfbError):
        ClientMessages().feed(b"\xff\x02\0\0")


@pytest.mark.parametrize("length", [93, -93, 0x7FFFFFFF, -0x80000000])
def test_a_message_above_the_limit_is_refused_by_its_header(length: int) -> None:
    with pytest.raises(RfbError):
        ClientMessages(max_message=100).feed(struct.pack(">B3xi", 6, length))


def test_a_message_at_the_limit_passes() -> None:
    message = struct.pack(">B3xi", 6, 92) + bytes(92)
    assert ClientMessages(max_message=100).feed(message) == message


def test_a_long_message_grows_in_place() -> None:
    """A paste in tiny frames: were all that has come copied for each byte, one browser would hold up the others."""
    messages = ClientMessages()
    messages.feed(struct.pack(">B3xi", 6, 1 << 19))
    held = messages._buffer
    assert all(messages.feed(b"x" * 64) == b"" for _ in range(1000))
    assert messages._buffer is held
    assert len(held) == 8 + 64_000


@FEW
@given(
    st.lists(st.sampled_from(sorted(MESSAGES)), max_size=12),
    st.lists(st.integers(0, 500), max_size=20),
    st.booleans(),
)
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
def test_garbage_raises_rfb_errors_only_and_nothing_is_made_up(pieces: list[bytes]) -> None:
    messages, passed = ClientMessages(max_message=1000), b""
    try:
        for piece in pieces:
            passed += messages.feed(piece)
    except RfbError:
        pass
    assert b"".join(pieces).startswith(passed)


def test_the_keepalive_is_a_request_for_one_pixel() -> None:
    assert ClientMessages(view_only=True).feed(rfb.KEEPALIVE) == rfb.KEEPALIVE
    assert struct.unpack(">BBHHHH", rfb.KEEPALIVE) == (3, 1, 0, 0, 1, 1)


# --- the short way: one whole message that passes as it is


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_what_passes_as_it_is_would_have_passed_taken_apart(message: bytes, extended: bool) -> None:
    messages = ClientMessages()
    if extended:
        messages.feed(EXTENDED_POINTER)
    for data in (message, message + b"\0", message[:-1], message * 2):
        one = messages.is_one(data[0], data[1], len(data)) if len(data) > 1 else False
        apart = ClientMessages()
        if extended:
            apart.feed(EXTENDED_POINTER)
        try:
            whole = apart.feed(data) == data and apart.between
        except RfbError:
            whole = False
        assert whole or not one


@pytest.mark.parametrize("name", ["FramebufferUpdateRequest", "KeyEvent", "PointerEvent", "QEMU key"])
def test_what_comes_often_passes_as_it_is(name: str) -> None:
    message = MESSAGES[name]
    assert ClientMessages().is_one(message[0], message[1], len(message))
    assert not ClientMessages(view_only=True).is_one(message[0], message[1], len(message))
    begun = ClientMessages()
    begun.feed(message[:-1])
    assert not begun.is_one(message[0], message[1], len(message))


def test_a_pointer_event_with_more_buttons_is_one_byte_longer() -> None:
    messages = ClientMessages()
    assert not messages.is_one(5, 0x81, 7)
    messages.feed(EXTENDED_POINTER)
    assert messages.is_one(5, 0x81, 7)
    assert messages.is_one(5, 0x01, 6)
    assert not messages.is_one(5, 0x81, 6)
    assert not messages.is_one(5, 0x01, 7)
