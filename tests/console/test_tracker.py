"""What Proxmox sends, followed from frame to frame without touching a byte."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.console import frames
from cyberlab.console.frames import BINARY, CLOSE, PING, PONG, TEXT, Control
from cyberlab.console.tracker import FrameTracker, complete_control
from tests.console.test_frames import FEW, cut

Piece = Control | bytes


def follow(pieces: list[bytes]) -> list[Piece]:
    """Do what a relay does: pass on what may pass, hold the rest, take control frames out."""
    tracker, out, held = FrameTracker(), [], b""
    for piece in pieces:
        data, held = held + piece, b""
        while data:
            at_gap = tracker.between
            control = complete_control(data) if at_gap else None
            if control is not None:
                out.append(control[0])
                data = data[control[1] :]
                continue
            passed = tracker.track(data, len(data))
            if passed == 0:
                assert at_gap, "only a header may be held back"
                assert len(data) < 127
                held = data
                break
            if out and isinstance(out[-1], bytes):
                out[-1] += data[:passed]
            else:
                out.append(data[:passed])
            data = data[passed:]
    return [*out, *([held] if held else [])]


def sizes() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 140), st.sampled_from((125, 126, 127, 128, 65_535, 65_536)))


@st.composite
def streams(draw: st.DrawFn) -> list[Piece]:
    """Runs of data frames and single control frames, in turn."""
    pieces: list[Piece] = []
    for _ in range(draw(st.integers(1, 5))):
        run = b"".join(
            frames.header(draw(st.sampled_from((BINARY, BINARY, TEXT))), size) + bytes((size & 0xFF,)) * size
            for size in draw(st.lists(sizes(), min_size=1, max_size=3))
        )
        pieces.append(run)
        if draw(st.booleans()):
            pieces.append(Control(draw(st.sampled_from((PING, PONG, CLOSE))), draw(st.binary(max_size=125))))
    return pieces


def wire(pieces: list[Piece]) -> bytes:
    return b"".join(p if isinstance(p, bytes) else frames.server_frame(p.opcode, p.payload) for p in pieces)


def merged(pieces: list[Piece]) -> list[Piece]:
    out: list[Piece] = []
    for piece in pieces:
        if out and isinstance(piece, bytes) and isinstance(out[-1], bytes):
            out[-1] += piece
        else:
            out.append(piece)
    return out


@FEW
@given(streams(), st.lists(st.integers(0, 200_000), max_size=30))
def test_a_stream_cut_anywhere_passes_unchanged_and_its_control_frames_are_seen(
    pieces: list[Piece], places: list[int]
) -> None:
    data = wire(pieces)
    assert follow(cut(data, places)) == merged(pieces)


@FEW
@given(st.lists(st.integers(0, 130), min_size=1, max_size=4), st.booleans())
def test_fed_byte_by_byte(lengths: list[int], ping: bool) -> None:
    pieces: list[Piece] = [frames.server_frame(BINARY, bytes(size)) for size in lengths]
    pieces += [Control(PING, b"?")] * ping
    data = wire(pieces)
    assert follow(cut(data, range(len(data)))) == merged(pieces)


@FEW
@given(st.lists(sizes(), min_size=1, max_size=6), st.integers(0, 400_000))
def test_it_knows_at_every_place_whether_a_frame_of_ours_may_stand_there(lengths: list[int], place: int) -> None:
    data = b"".join(frames.server_frame(BINARY, bytes(size)) for size in lengths)
    edges, at = {0}, 0
    for size in lengths:
        at += len(frames.header(BINARY, size)) + size
        edges.add(at)
    place %= len(data) + 1
    tracker = FrameTracker()
    passed = tracker.track(data, place)
    assert tracker.between == (passed in edges)
    assert passed == place or (passed in edges and place - passed < 10)


@FEW
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_garbage_raises_frame_errors_only(data: bytes, places: list[int]) -> None:
    with suppress(frames.FrameError):
        assert wire(follow(cut(data, places))) == data


@pytest.mark.parametrize(
    "head", ["8280", "8281", "c200", "a200", "9200", "8300", "8700", "8b00", "8f00", "82ff0000000000010000"]
)
def test_what_a_server_may_not_send_is_stopped_at_and_what_came_before_passes(head: str) -> None:
    before, data = frames.server_frame(BINARY, b"before"), bytes.fromhex(head)
    tracker = FrameTracker()
    assert tracker.track(before + data, len(before + data)) == len(before)
    assert tracker.between
    with pytest.raises(frames.FrameError):
        complete_control(data)


@pytest.mark.parametrize("head", ["0900", "897e0080", "89ff", "8880"])
def test_a_control_frame_that_breaks_the_rules(head: str) -> None:
    with pytest.raises(frames.FrameError):
        complete_control(bytes.fromhex(head))


def test_a_control_frame_is_complete_or_not() -> None:
    data = frames.server_frame(PING, b"abc")
    assert all(complete_control(data[:size]) is None for size in range(len(data)))
    assert complete_control(data + b"more") == (Control(PING, b"abc"), len(data))
    assert complete_control(frames.server_frame(BINARY, b"abc")) is None


RUNS = st.lists(st.tuples(st.sampled_from((0, 1, 50, 125, 126, 1024)), st.integers(1, 30)), min_size=1, max_size=5)


@FEW
@given(RUNS, st.lists(st.integers(0, 1 << 20), max_size=8))
def test_runs_of_equal_frames_are_followed_like_any_others(runs: list[tuple[int, int]], cuts: list[int]) -> None:
    # The payload looks like headers, so that a wrong step would find one.
    wire = [
        frames.header(BINARY, size) + (b"\x82\x7e\x04\x00" * 256)[:size] for size, count in runs for _ in range(count)
    ]
    ends, at = set(), 0
    for frame in wire:
        at += len(frame)
        ends.add(at)
    tracker, passed, held = FrameTracker(), 0, b""
    for piece in cut(b"".join(wire), cuts):
        data = held + piece
        done = tracker.track(data, len(data))
        held = data[done:]
        passed += done
        assert tracker.between == (passed in ends or passed == 0)
    assert (passed, held) == (at, b"")


def test_lengths_that_are_not_in_their_shortest_form_do_not_pass_for_a_run() -> None:
    long, longer = (b"\x82\x7e" + size.to_bytes(2, "big") + b"\xff" * size for size in (20, 22))
    data = long * 3 + longer
    tracker = FrameTracker()
    assert tracker.track(data, len(data)) == len(data)
    assert tracker.between
