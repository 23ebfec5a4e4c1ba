"""What a browser sends, taken apart by the rules of RFC 6455, section 5; the tracker has test_tracker.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyberlab.console import frames
from cyberlab.console.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, ClientFrames, Control, Data, Event

FEW = settings(max_examples=50, deadline=None)
KEY = b"\x12\xf4\x00\x5a"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes = KEY) -> bytes:
    """A masked frame, also one that no client may send."""
    head = bytearray(frames.header(opcode, len(payload), fin=fin, masked=True))
    head[0] |= rsv
    return bytes(head) + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def run(*pieces: bytes, max_frame: int = 1 << 20) -> tuple[list[Event], int]:
    """The events, and the code of the error at their end or 0."""
    parser, events = ClientFrames(max_frame), []
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                events.append(event)  # noqa: PERF402 - those before an error count as well
    except frames.FrameError as error:
        return events, error.code
    return events, 0


def joined(events: Iterable[Event]) -> list[Event]:
    """Pieces of data put together up to the next control frame or the end of the message, as if fed whole."""
    whole: list[Event] = []
    for event in events:
        before = whole[-1] if whole else None
        if isinstance(event, Data) and isinstance(before, Data) and not before.last:
            assert event.opcode == before.opcode
            whole[-1] = Data(event.opcode, before.payload + event.payload, event.last)
        else:
            whole.append(event)
    return whole


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


# --- writing


def test_the_example_of_the_rfc() -> None:
    """RFC 6455, 5.7: "Hello", masked and not; a fragmented one; a ping; 256 and 65,536 bytes."""
    assert run(bytes.fromhex("818537fa213d7f9f4d5158")) == ([Data(TEXT, b"Hello", True)], 0)
    assert frames.server_frame(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frames.server_frame(PING, b"Hello") == bytes.fromhex("890548656c6c6f")
    assert frames.header(BINARY, 256) == bytes.fromhex("827e0100")
    assert frames.header(BINARY, 65_536) == bytes.fromhex("827f0000000000010000")
    assert frames.header(TEXT, 3, fin=False) == bytes.fromhex("0103")


@pytest.mark.parametrize(
    ("size", "length"), [(125, "7d"), (126, "7e007e"), (65_535, "7effff"), (65_536, "7f0000000000010000")]
)
def test_a_length_takes_its_shortest_form(size: int, length: str) -> None:
    assert frames.header(BINARY, size).hex() == "82" + length


@FEW
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.integers(0, 300))
def test_a_mask_turns_with_its_place_in_the_frame(payload: bytes, key: bytes, place: int) -> None:
    place %= len(payload) + 1
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    assert frames.xor(payload, key) == masked
    assert frames.xor(masked[:place], key) + frames.xor(masked[place:], key, place) == payload


def test_every_frame_to_proxmox_is_masked_with_a_fresh_key_and_within_its_limit() -> None:
    payload = bytes(range(256)) * 257  # two frames of 32 KiB and a rest
    sent = frames.client_frames(payload)
    events, error = run(sent, max_frame=frames.MAX_TO_PROXMOX)
    assert not error
    assert [len(event.payload) for event in events] == [32_768, 32_768, 256]
    assert all(isinstance(event, Data) and event.opcode == BINARY and event.last for event in events)
    assert b"".join(event.payload for event in events) == payload
    assert len({frames.client_frame(BINARY, b"")[2:] for _ in range(20)}) > 15, "a key was used again"


# --- reading: every rule once


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
def test_a_message_of_any_size(size: int) -> None:
    payload = (bytes(range(256)) * 257)[:size]
    assert run(frame(BINARY, payload)) == ([Data(BINARY, payload, True)], 0)
    assert joined(run(*cut(frame(BINARY, payload), range(12)))[0]) == [Data(BINARY, payload, True)]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 1, 2, 125])
def test_a_control_frame_comes_whole(opcode: int, size: int) -> None:
    data = frame(opcode, bytes(size))
    assert run(*cut(data, range(len(data)))) == ([Control(opcode, bytes(size))], 0)


def test_control_frames_within_a_fragmented_message() -> None:
    data = frame(BINARY, b"a", fin=False) + frame(PING, b"!") + frame(CONTINUATION, b"", fin=False)
    data += frame(PONG) + frame(CONTINUATION, b"b", fin=False) + frame(CONTINUATION, b"")
    assert run(data + frame(TEXT, b"t")) == (
        [
            Data(BINARY, b"a", False), Control(PING, b"!"), Control(PONG, b""), Data(BINARY, b"b", False),
            Data(BINARY, b"", True), Data(TEXT, b"t", True),
        ],
        0,
    )  # fmt: skip


def test_an_empty_frame_is_told_with_its_header_and_not_later() -> None:
    assert run(frame(PING)) == ([Control(PING, b"")], 0)
    assert run(frame(BINARY)) == ([Data(BINARY, b"", True)], 0)
    assert run(frame(BINARY, fin=False)) == ([], 0)


def test_pieces_of_a_frame_are_handed_on_as_they_come() -> None:
    data = frame(BINARY, b"abcdef")
    parser = ClientFrames()
    assert list(parser.feed(data[:8])) == [Data(BINARY, b"ab", False)]
    assert list(parser.feed(data[8:11])) == [Data(BINARY, b"cde", False)]
    assert list(parser.feed(data[11:])) == [Data(BINARY, b"f", True)]


BROKEN = {
    "rsv1": frame(BINARY, b"x", rsv=0x40),
    "rsv2": frame(BINARY, b"x", rsv=0x20),
    "rsv3 on a ping": frame(PING, rsv=0x10),
    "not masked": frames.server_frame(BINARY, b"x"),
    "not masked, empty": frames.server_frame(BINARY, b""),
    "not masked, long": frames.server_frame(BINARY, bytes(70_000)),
    "126 in the long form": bytes.fromhex("82fe007d") + KEY,
    "65535 in the longest form": bytes.fromhex("82ff000000000000ffff") + KEY,
    "0 in the longest form": bytes.fromhex("82ff0000000000000000") + KEY,
    "a negative length": bytes.fromhex("82ff8000000000000000") + KEY,
    **{f"opcode {opcode}": frame(opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a fragmented ping": frame(PING, fin=False),
    "a fragmented close": frame(CLOSE, fin=False),
    "a ping of 126 bytes": frame(PING, bytes(126)),
    "a ping of 70000 bytes": frame(PING, bytes(70_000)),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a continuation of nothing, empty": frame(CONTINUATION),
    "a message within a message": frame(BINARY, fin=False) + frame(BINARY),
    "text within binary": frame(BINARY, fin=False) + frame(TEXT),
    "a continuation after the end": frame(BINARY, fin=False) + frame(CONTINUATION) + frame(CONTINUATION),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_an_error_at_once_and_what_came_before_it_counts(data: bytes) -> None:
    before = frame(TEXT, b"before")
    for pieces in ([before + data], cut(before + data, range(len(before) + 16))):
        events, error = run(*pieces)
        assert error == 1002
        assert joined(events)[0] == Data(TEXT, b"before", True)


def test_an_unmasked_frame_is_refused_before_its_payload() -> None:
    assert run(b"\x82\x01")[1] == 1002


@pytest.mark.parametrize(("size", "code"), [(1000, 0), (1001, 1009), (1 << 40, 1009)])
def test_a_frame_above_the_limit_is_refused_by_its_header(size: int, code: int) -> None:
    assert run(frames.header(BINARY, size, masked=True) + KEY, max_frame=1000)[1] == code


def test_the_limit_is_for_one_frame_and_not_for_control_frames() -> None:
    data = frame(BINARY, bytes(8), fin=False) + frame(PING, bytes(99)) + frame(CONTINUATION, bytes(8))
    assert run(data, max_frame=8)[1] == 0
    assert run(frame(BINARY, bytes(8), fin=False) + frame(CONTINUATION, bytes(9)), max_frame=8)[1] == 1009


# --- close frames


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_a_close_code_that_may_be_sent(code: int) -> None:
    assert frames.parse_close(code.to_bytes(2, "big") + "Füße".encode()) == (code, "Füße")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_a_close_code_that_may_not(code: int) -> None:
    with pytest.raises(frames.FrameError) as caught:
        frames.parse_close(code.to_bytes(2, "big"))
    assert caught.value.code == 1002


def test_close_frames_without_a_code_with_half_of_one_and_with_a_broken_reason() -> None:
    assert frames.parse_close(b"") == (1005, "")
    for payload, code in ((b"\x03", 1002), (b"\x03\xe8\xff", 1007), (b"\x03\xe8" + "é".encode()[:1], 1007)):
        with pytest.raises(frames.FrameError) as caught:
            frames.parse_close(payload)
        assert caught.value.code == code


@FEW
@given(st.text(max_size=200))
def test_a_reason_is_cut_on_the_edge_of_a_character(reason: str) -> None:
    payload = frames.close_payload(4000, reason)
    code, kept = frames.parse_close(payload)
    assert (code, len(payload) <= 125) == (4000, True)
    assert reason.startswith(kept)
    assert len(payload) > 125 - 4 or kept == reason


# --- any stream, cut anywhere


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Frames that keep the rules: messages in fragments, control frames between them."""
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
        opcode = draw(st.sampled_from((TEXT, BINARY)))
        for index, part in enumerate(parts):
            if draw(st.booleans()):
                data += frame(draw(st.sampled_from((PING, PONG, CLOSE))), draw(st.binary(max_size=125)))
            key = draw(st.binary(min_size=4, max_size=4))
            data += frame(opcode if index == 0 else CONTINUATION, part, fin=index == len(parts) - 1, key=key)
    return data


PLACES = st.lists(st.integers(0, 5000), max_size=30)


@FEW
@given(streams(), PLACES)
def test_a_stream_cut_anywhere_gives_the_same_events(data: bytes, places: list[int]) -> None:
    whole, error = run(data)
    assert not error
    assert joined(run(*cut(data, places))[0]) == joined(whole)
    assert joined(run(*cut(data, range(len(data))))[0]) == joined(whole)


@FEW
@given(streams(), st.sampled_from(sorted(BROKEN)), PLACES)
def test_a_stream_that_breaks_off_is_the_same_wherever_it_is_cut(data: bytes, name: str, places: list[int]) -> None:
    whole, error = run(data + BROKEN[name])
    again, same = run(*cut(data + BROKEN[name], places))
    assert (error, same) == (1002, 1002)
    assert joined(again) == joined(whole)


@FEW
@given(st.lists(st.binary(max_size=60), max_size=20))
def test_garbage_raises_frame_errors_only_and_hands_out_no_more_than_came(pieces: list[bytes]) -> None:
    events, _ = run(*pieces, max_frame=1000)
    assert sum(len(event.payload) for event in events) <= sum(map(len, pieces))


# --- the short way of keystrokes


@pytest.mark.parametrize("payload", [bytes(range(4)), bytes(range(8)), bytes(125)])
def test_a_small_message_alone_need_not_be_taken_apart(payload: bytes) -> None:
    received = ClientFrames()
    assert received.is_lone(frame(BINARY, payload))
    assert list(received.feed(frame(BINARY, b"next"))) == [Data(BINARY, b"next", True)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82",
        frame(BINARY, b""),
        frame(BINARY, b"bit"),
        frame(BINARY, bytes(126)),
        frame(BINARY, b"twice") * 2,
        frame(BINARY, b"cut off")[:-1],
        frame(BINARY, b"and more") + b"\x82",
        frame(BINARY, b"fragment", fin=False),
        frame(BINARY, b"reserved", rsv=0x40),
        frame(TEXT, b"text"),
        frame(PING, b"ping"),
        b"\x82\x0aunmasked..",
    ],
)
def test_anything_else_must(data: bytes) -> None:
    assert not ClientFrames().is_lone(data)


@pytest.mark.parametrize("before", [frame(BINARY, b"half")[:3], frame(BINARY, b"half")[:-1], frame(BINARY, fin=False)])
def test_and_so_must_what_belongs_to_something_begun(before: bytes) -> None:
    received = ClientFrames()
    list(received.feed(before))
    assert not received.is_lone(frame(BINARY, b"whole"))


def test_and_what_is_too_large() -> None:
    assert ClientFrames(max_frame=8).is_lone(frame(BINARY, bytes(8)))
    assert not ClientFrames(max_frame=8).is_lone(frame(BINARY, bytes(9)))
