"""Puts locale/*.csv in order: sorted by the English text, every field quoted, rows that stand twice once.

    .venv/bin/python scripts/phrases.py

To be run after adding a translation, and after a merge (two branches' lines are both kept, in any order).
Two different translations of one text are kept; tests/test_locale.py asks somebody to choose.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "locale"


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a file: English, translation, and for texts with a plural "singular" or "plural"."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if row]


def in_order(rows: list[list[str]]) -> str:
    """What the file is to hold."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(sorted(map(list, set(map(tuple, rows)))))
    return out.getvalue()


if __name__ == "__main__":
    for each in sorted(FOLDER.glob("*.csv")):
        each.write_text(in_order(rows_of(each)), encoding="utf-8")
