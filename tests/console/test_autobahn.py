"""The cases of the Autobahn testsuite 0.8.2, by their numbers, against an echo on ClientFrames and ClientLink.

Sections 1-5, 7 and the binary cases of 9; section 6 is in test_autobahn_utf8.py. The suite itself can be asked too:
see echo.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from cyberlab.console import client, frames, transports
from cyberlab.console.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.console.echo import EchoLink
from tests.console.ends import BrowserEnd

NORMAL = b"\x03\xe8"
HELLO, RAW = b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
BY_FRAME = -1  # a way to cut what is sent: each frame in a segment of its own


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    data = bytearray(frames.client_frame(opcode, payload))
    data[0] = (data[0] & 0x7F) | fin << 7 | rsv << 4
    return bytes(data)


@dataclass(frozen=True)
class Case:
    """What is sent, and what must come back before the close frame with ``code``; ``cut``: bytes in a segment."""

    sent: list[bytes]
    back: list[tuple[int, bytes]] = field(default_factory=list)
    code: int = 1000
    cut: int = 0


@asynccontextmanager
async def echoing() -> AsyncIterator[BrowserEnd]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader, writer = await asyncio.open_connection(*server.getsockname(), limit=1 << 20)
        sock, _ = server.accept()
    sock.setblocking(False)
    link, lost = EchoLink(), asyncio.Event()
    link.on_lost = lost.set
    await transports.adopt(lambda: link, sock)
    try:
        yield BrowserEnd(reader, writer)
    finally:
        writer.close()
        await lost.wait()


async def send(browser: BrowserEnd, pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    if cut > 0:
        pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    elif cut == 0:
        pieces = [data]
    for piece in pieces:
        browser.writer.write(piece)
        await browser.writer.drain()
        await asyncio.sleep(0)


async def play(case: Case) -> None:
    """Send; read what comes back; the connection is then closed with the case's code, by the server first."""
    async with echoing() as browser:
        broken = case.code in (1002, 1007)
        closes = any(piece[0] & 0x0F == CLOSE for piece in case.sent)
        sent = case.sent if broken or closes else [*case.sent, frame(CLOSE, NORMAL)]
        sending = asyncio.ensure_future(send(browser, sent, case.cut))
        for wanted in case.back:
            assert await browser.frame() == wanted
        opcode, payload = await browser.frame()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, case.code)
        await sending
        if broken and not closes:
            browser.send(payload[:2], CLOSE)
        assert await browser.reader.read() == b""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that only the grace ends is not closed as it must be."""
    monkeypatch.setattr(client, "CLOSE_GRACE", 600.0)


def echoed(opcode: int, payload: bytes, cut: int = 0) -> Case:
    return Case([frame(opcode, payload)], [(opcode, payload)], cut=cut)


def fragments(*payloads: bytes, opcode: int = TEXT) -> list[bytes]:
    last = len(payloads) - 1
    return [
        frame(CONTINUATION if index else opcode, payload, fin=index == last) for index, payload in enumerate(payloads)
    ]


def broken(*sent: bytes, back: tuple[tuple[int, bytes], ...] = (), code: int = 1002, cut: int = 0) -> Case:
    return Case(list(sent), list(back), code, cut)


SIZES = (0, 125, 126, 127, 128, 65_535, 65_536)
PING_10 = [b"payload-%d" % index for index in range(10)]
SAID = ((TEXT, HELLO),)
NOTHING_TO_CONTINUE = {
    fin: (frame(CONTINUATION, b"non-continuation payload", fin=fin), frame(TEXT, HELLO)) for fin in (True, False)
}
WITH_PING = [frame(TEXT, b"fragment1", fin=False), frame(PING, b"ping payload"), frame(CONTINUATION, b"fragment2")]
PONGED = [(PONG, b"ping payload"), (TEXT, b"fragment1fragment2")]
TWO_PINGS = [
    *fragments(b"fragment1", b"fragment2", b"")[:2], frame(PING, b"pongme 1!"),
    *fragments(b"", b"fragment3", b"fragment4", b"")[1:3], frame(PING, b"pongme 2!"), frame(CONTINUATION, b"fragment5"),
]  # fmt: skip
TWO_PONGS = [(PONG, b"pongme 1!"), (PONG, b"pongme 2!"), (TEXT, b"".join(b"fragment%d" % i for i in range(1, 6)))]

CASES: dict[str, Case] = {
    **{f"1.1.{n}": echoed(TEXT, b"*" * size) for n, size in enumerate(SIZES, 1)},
    "1.1.8": echoed(TEXT, b"*" * 65_536, 997),
    **{f"1.2.{n}": echoed(BINARY, b"\xfe" * size) for n, size in enumerate(SIZES, 1)},
    "1.2.8": echoed(BINARY, b"\xfe" * 65_536, 997),
    # Pings and pongs
    **{
        f"2.{n}": Case([frame(PING, payload)], [(PONG, payload)])
        for n, payload in enumerate((b"", HELLO, RAW, b"\xfe" * 125), 1)
    },
    "2.5": broken(frame(PING, b"\xfe" * 126)),
    "2.6": Case([frame(PING, b"\xfe" * 125)], [(PONG, b"\xfe" * 125)], cut=1),
    "2.7": Case([frame(PONG)]),
    "2.8": Case([frame(PONG, b"unsolicited")]),
    "2.9": Case([frame(PONG, b"unsolicited"), frame(PING, b"ping")], [(PONG, b"ping")]),
    "2.10": Case([frame(PING, p) for p in PING_10], [(PONG, p) for p in PING_10]),
    "2.11": Case([frame(PING, p) for p in PING_10], [(PONG, p) for p in PING_10], cut=1),
    # Reserved bits
    "3.1": broken(frame(TEXT, HELLO, rsv=1)),
    "3.2": broken(frame(TEXT, HELLO), frame(TEXT, HELLO, rsv=2), frame(PING), back=SAID),
    "3.3": broken(frame(TEXT, HELLO), frame(TEXT, HELLO, rsv=3), frame(PING), back=SAID, cut=BY_FRAME),
    "3.4": broken(frame(TEXT, HELLO), frame(TEXT, HELLO, rsv=4), frame(PING), back=SAID, cut=1),
    "3.5": broken(frame(BINARY, RAW, rsv=5)),
    "3.6": broken(frame(PING, HELLO, rsv=6)),
    "3.7": broken(frame(CLOSE, rsv=7)),
    # Opcodes
    **{f"4.1.{n}": broken(frame(opcode, payload)) for n, opcode, payload in ((1, 3, b""), (2, 4, HELLO))},
    **{f"4.2.{n}": broken(frame(opcode, payload)) for n, opcode, payload in ((1, 11, b""), (2, 12, HELLO))},
    **{
        f"4.{section}.{n}": broken(
            frame(TEXT, HELLO), frame(first + n, b"" if n == 3 else HELLO), frame(PING), back=SAID, cut=n == 5
        )
        for section, first in ((1, 2), (2, 10))
        for n in (3, 4, 5)
    },
    # Fragmentation
    "5.1": broken(frame(PING, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2")),
    "5.2": broken(frame(PONG, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2")),
    **{
        f"5.{n}": Case(fragments(b"fragment1", b"fragment2"), [(TEXT, b"fragment1fragment2")], cut=cut)
        for n, cut in ((3, 0), (4, BY_FRAME), (5, 1))
    },
    **{f"5.{n}": Case(WITH_PING, PONGED, cut=cut) for n, cut in ((6, 0), (7, BY_FRAME), (8, 1))},
    **{
        f"5.{first + n}": broken(*NOTHING_TO_CONTINUE[fin], cut=cut)
        for first, fin in ((9, True), (12, False))
        for n, cut in enumerate((0, BY_FRAME, 1))
    },
    "5.15": broken(
        *fragments(b"fragment1", b"fragment2"), frame(CONTINUATION, b"fragment3", fin=False), frame(TEXT, b"fragment4"),
        back=((TEXT, b"fragment1fragment2"),),
    ),
    **{
        f"5.{n}": broken(*[frame(CONTINUATION, b"fragment1", fin=fin), *fragments(b"fragment2", b"fragment3")] * 2)
        for n, fin in ((16, False), (17, True))
    },
    "5.18": broken(frame(TEXT, b"fragment1", fin=False), frame(TEXT, b"fragment2")),
    "5.19": Case(TWO_PINGS, TWO_PONGS),
    "5.20": Case(TWO_PINGS, TWO_PONGS, cut=BY_FRAME),
    # Closing
    "7.1.1": echoed(TEXT, HELLO),
    "7.1.2": Case([frame(CLOSE, NORMAL), frame(CLOSE)]),
    "7.1.3": Case([frame(CLOSE, NORMAL), frame(PING)]),
    "7.1.4": Case([frame(CLOSE, NORMAL), frame(TEXT, HELLO)]),
    "7.1.5": Case([fragments(b"1", b"2")[0], frame(CLOSE, NORMAL), fragments(b"1", b"2")[1]]),
    "7.1.6": Case(
        [frame(TEXT, b"BAsd7&jh23" * 26_214), frame(TEXT, HELLO), frame(CLOSE, NORMAL), frame(PING)],
        [(TEXT, b"BAsd7&jh23" * 26_214), (TEXT, HELLO)],
    ),
    "7.3.1": Case([frame(CLOSE)]),
    "7.3.2": broken(frame(CLOSE, b"a")),
    "7.3.3": Case([frame(CLOSE, NORMAL)]),
    "7.3.4": Case([frame(CLOSE, NORMAL + HELLO)]),
    "7.3.5": Case([frame(CLOSE, NORMAL + b"*" * 123)]),
    "7.3.6": broken(frame(CLOSE, NORMAL + b"*" * 124)),
    "7.5.1": broken(frame(CLOSE, NORMAL + b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), code=1007),
    **{
        f"7.7.{n}": Case([frame(CLOSE, code.to_bytes(2, "big"))], code=code)
        for n, code in enumerate((*range(1000, 1004), *range(1007, 1012), 3000, 3999, 4000, 4999), 1)
    },
    **{
        f"7.9.{n}": broken(frame(CLOSE, code.to_bytes(2, "big")))
        for n, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    },
    **{f"7.13.{n}": broken(frame(CLOSE, code.to_bytes(2, "big"))) for n, code in enumerate((5000, 65_535), 1)},
}  # fmt: skip


@pytest.mark.parametrize("number", CASES)
@pytest.mark.gen_test
async def test_case(number: str) -> None:
    await play(CASES[number])


MEGA = 1 << 20


@pytest.mark.parametrize(
    ("size", "fragment", "cut"),
    [
        *[
            pytest.param(size, 0, 0, id=f"9.2.{n}")
            for n, size in enumerate((MEGA // 16, MEGA // 4, MEGA, 4 * MEGA, 8 * MEGA, 16 * MEGA), 1)
        ],
        *[pytest.param(4 * MEGA, 64 << 2 * n, 0, id=f"9.4.{n + 1}") for n in range(9)],
        *[pytest.param(MEGA, 0, 64 << n, id=f"9.6.{n + 1}") for n in range(6)],
    ],
)
@pytest.mark.gen_test
async def test_large_binary_message(size: int, fragment: int, cut: int) -> None:
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]
    key = b"\x37\xfa\x21\x3d"
    masked, parts = frames.xor(payload, key), []
    for at in range(0, size, fragment or size):
        piece = masked[at : at + (fragment or size)]
        head = frames.header(CONTINUATION if at else BINARY, len(piece), fin=at + len(piece) == size, masked=True)
        parts.append(head + key + piece)
    await play(Case([b"".join(parts)], [(BINARY, payload)], cut=cut))


@pytest.mark.parametrize(
    "size", [pytest.param(size, id=f"9.8.{n}") for n, size in enumerate((0, 16, 64, 256, 1024, 4096), 1)]
)
@pytest.mark.gen_test
async def test_a_thousand_round_trips(size: int) -> None:
    async with echoing() as browser:
        for _ in range(1000):
            browser.send(b"\xfe" * size)
            assert await browser.frame() == (BINARY, b"\xfe" * size)
        browser.send(NORMAL, CLOSE)
        assert await browser.frame() == (CLOSE, NORMAL)
