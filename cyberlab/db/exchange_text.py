"""CSV files as people make them: whatever encoding and separator, headings in English or German; and ours.

RFC 4180 for the form; what it leaves open is taken from the file itself.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cyberlab.db.text import fold
from cyberlab.phrases import Phrase

MOST_ROWS = 100_000
LONGEST_CELL = 2_000  # characters; the longest that any column takes is shorter
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATORS = ";,\t"
# A cell that begins so is a formula to a spreadsheet (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Unreadable(Exception):
    """The file as a whole cannot be read; ``phrase`` says why."""

    def __init__(self, phrase: Phrase) -> None:
        super().__init__(phrase)
        self.phrase = phrase


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file: (line in the file, cells by column); a column that the file lacks is in no row."""

    columns: frozenset[str]
    rows: list[tuple[int, dict[str, str]]]


def decode(data: bytes) -> str:
    """The text: by its byte order mark, else UTF-8 if it is that, else UTF-16 or Latin-1 (as Windows writes it)."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                raise Unreadable(Phrase("the file is damaged: its text is not what its first bytes say")) from None
    # Before UTF-8, which takes NUL bytes for characters: mostly Latin letters in UTF-16 have one in two of them.
    head = data[:4096]
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if len(head) >= 4 and zeros.count(0) > len(zeros) * 0.6:
            return data.decode(encoding, "replace")
    if b"\0" in head:
        raise Unreadable(Phrase("this is no text file; save the table as CSV and upload that"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def read(data: bytes, headings: Mapping[str, Sequence[str]], required: Iterable[str]) -> Table:
    """Take a file apart. ``headings``: column -> what people may call it; ``required``: columns that must be there.

    Raises Unreadable.
    """
    text = decode(data)
    first, _, _ = text.lstrip("\r\n").partition("\n")
    if first[:4].casefold() == "sep=":  # Excel's own hint
        separator = first[4:5] or ","
        text = text.lstrip("\r\n")[len(first) + 1 :]
        skipped = 1
    else:
        separator = max(_SEPARATORS, key=lambda char: _outside_quotes(first, char))
        skipped = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        return _rows(reader, headings, required, skipped)
    except csv.Error:
        words = Phrase("line %(line)d cannot be read: a quotation mark is missing", line=reader.line_num + skipped)
        raise Unreadable(words) from None


def write(rows: Iterable[Sequence[str]], separator: str) -> str:
    """Lines of CSV; what a spreadsheet would take for a formula gets an apostrophe, which read() takes off again."""
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\r\n").writerows([_safe(cell) for cell in row] for row in rows)
    return out.getvalue()


def _rows(
    reader: Iterator[list[str]], headings: Mapping[str, Sequence[str]], required: Iterable[str], skipped: int
) -> Table:
    names: list[str | None] | None = None
    found: list[tuple[int, dict[str, str]]] = []
    before = skipped
    for cells in reader:
        line, before = before + 1, skipped + reader.line_num  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = _columns(cells, headings, required)
            continue
        if len(found) == MOST_ROWS:
            raise Unreadable(Phrase("the file has more than %(most)d rows; split it", most=MOST_ROWS))
        found.append((line, {name: _plain(cell) for name, cell in zip(names, cells, strict=False) if name}))
    if names is None:
        raise Unreadable(Phrase("the file is empty"))
    return Table(frozenset(name for name in names if name), found)


def _columns(cells: Sequence[str], headings: Mapping[str, Sequence[str]], required: Iterable[str]) -> list[str | None]:
    known = {_heading(name): column for column, names in headings.items() for name in (column, *names)}
    names = [known.get(_heading(cell)) for cell in cells]
    lacking = [column for column in required if column not in names]
    if lacking:
        raise Unreadable(
            Phrase(
                "the first line has to name the columns; %(lacking)s is not among them. It says: %(found)s",
                lacking=", ".join(lacking),
                found=", ".join(cell.strip()[:40] for cell in cells[:12]),
            )
        )
    twice = {name for name in names if name is not None and names.count(name) > 1}
    if twice:
        raise Unreadable(Phrase("the column %(name)s is there twice", name=", ".join(sorted(twice))))
    return names


def _heading(text: str) -> str:
    return "".join(char for char in fold(text) if char.isalnum())


def _outside_quotes(line: str, char: str) -> int:
    return sum(part.count(char) for part in line.split('"')[::2])


def _plain(cell: str) -> str:
    cell = cell.strip()
    return (cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell)[:LONGEST_CELL]


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
