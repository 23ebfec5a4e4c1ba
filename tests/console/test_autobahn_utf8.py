"""Section 6 of the Autobahn testsuite: text, and what is none. A console refuses text; the echo shows that pieces come
in time for a decoder to fail at the first wrong byte."""

from __future__ import annotations

import pytest

from cyberlab.console import client
from cyberlab.console.frames import CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.console.test_autobahn import Case, broken, echoed, echoing, fragments, frame, play

GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")
GERMAN = "Hello-µ@ßöäüàá-UTF-8!!".encode()
SURROGATE = GREEK + b"\xed\xa0\x80edited"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that only the grace ends is not closed as it must be."""
    monkeypatch.setattr(client, "CLOSE_GRACE", 600.0)


def by_octet(payload: bytes) -> list[bytes]:
    return fragments(*(payload[at : at + 1] for at in range(len(payload))))


# Markus Kuhn's UTF-8 decoder test, section by section: sequences in hex, and whether they are UTF-8.
SEQUENCES: list[tuple[bool | list[bool], list[str]]] = [
    (True, ["hello$world", "hello¢world", "hello€world", "hello𤭢world", GREEK.decode()]),
    ([length in (2, 5, 7, 9, 11) for length in range(1, 12)], [GREEK[:length].hex() for length in range(1, 12)]),
    (True, ["00", "c280", "e0a080", "f0908080"]),
    (False, ["f888808080", "fc8480808080"]),
    (True, ["7f", "dfbf", "efbfbf", "f48fbfbf"]),
    (False, ["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"]),
    ([True, True, True, True, False], ["ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"]),
    (False, ["80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf", bytes(range(0x80, 0xBF)).hex()]),
    (
        False,
        [
            "".join(f"{start:02x}20" for start in range(*limits))
            for limits in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
        ],
    ),
    (
        False,
        ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"],
    ),
    (False, ["c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"]),
    (False, ["fe", "ff", "fefeffff"]),
    (False, ["c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"]),
    (False, ["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"]),
    (False, ["c080", "e08080", "f0808080", "f880808080", "fc8080808080"]),
    (False, ["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"]),
    (False, [high + low for high in ("eda080", "edadbf", "edae80", "edafbf") for low in ("edb080", "edbfbf")]),
    (
        True,
        ["efbfbe", "efbfbf"]
        + [
            f"{first}{second}bf{last}"
            for first in ("f0", "f1", "f2", "f3", "f4")
            for second in ("8f", "9f", "af", "bf")
            for last in ("be", "bf")
            if first in ("f1", "f2", "f3") or (first == "f0") == (second != "8f")
        ],
    ),
    (True, [f"efbf{last:02x}" for last in range(0xB9, 0xC0)]),
]
SEQUENCES[0] = (True, [text.encode().hex() for text in SEQUENCES[0][1]])

CASES: dict[str, Case] = {
    "6.1.1": echoed(TEXT, b""),
    "6.1.2": Case(fragments(b"", b"", b""), [(TEXT, b"")]),
    "6.1.3": Case(fragments(b"", b"middle", b""), [(TEXT, b"middle")]),
    "6.2.1": echoed(TEXT, GERMAN),
    "6.2.2": Case(fragments(GERMAN[:14], GERMAN[14:]), [(TEXT, GERMAN)]),
    "6.2.3": Case(by_octet(GERMAN), [(TEXT, GERMAN)]),
    "6.2.4": Case(by_octet(GREEK), [(TEXT, GREEK)]),
    "6.3.1": broken(frame(TEXT, SURROGATE), code=1007),
    "6.3.2": broken(*by_octet(SURROGATE), code=1007),
}
for _section, (_valid, _sequences) in enumerate(SEQUENCES, 5):
    for _number, _hex in enumerate(_sequences, 1):
        _is_valid = _valid if isinstance(_valid, bool) else _valid[_number - 1]
        _payload = bytes.fromhex(_hex)
        CASES[f"6.{_section}.{_number}"] = (
            echoed(TEXT, _payload) if _is_valid else broken(frame(TEXT, _payload), code=1007)
        )


def test_the_number_of_cases() -> None:
    assert [len(sequences) for _, sequences in SEQUENCES] == [
        5, 11, 4, 2, 4, 3, 5, 8, 5, 10, 1, 3, 5, 5, 5, 7, 8, 34, 7,
    ]  # fmt: skip


@pytest.mark.parametrize("number", CASES)
@pytest.mark.gen_test
async def test_case(number: str) -> None:
    await play(CASES[number])


WRONG = b"\xf4\x90\x80\x80"  # beyond U+10FFFF, as can be told from its second byte on
TEXT_IN_ONE = frame(TEXT, GREEK + WRONG + b"edited")
HEADER = 6


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (frame(TEXT, GREEK, fin=False), frame(CONTINUATION, WRONG, fin=False)),
        (frame(TEXT, GREEK + WRONG[:1], fin=False), frame(CONTINUATION, WRONG[1:2], fin=False)),
        (TEXT_IN_ONE[: HEADER + 11], TEXT_IN_ONE[HEADER + 11 : HEADER + 15]),
        (TEXT_IN_ONE[: HEADER + 12], TEXT_IN_ONE[HEADER + 12 : HEADER + 13]),
    ],
    ids=["6.4.1", "6.4.2", "6.4.3", "6.4.4"],
)
@pytest.mark.gen_test
async def test_it_fails_at_the_first_wrong_byte_with_the_rest_still_to_come(begun: bytes, more: bytes) -> None:
    async with echoing() as browser:
        browser.writer.write(begun)
        if begun[0] < 0x80:  # between two frames: what has come is good so far
            browser.send(b"still there?", PING)
            assert await browser.frame() == (PONG, b"still there?")
        browser.writer.write(more)
        assert (await browser.payload(CLOSE))[:2] == (1007).to_bytes(2, "big")
