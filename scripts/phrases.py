"""Puts locale/*.csv in order: sorted by the English text, every row once, and none that nothing shows any more.

    .venv/bin/python scripts/phrases.py

To be run after adding a translation, and after a merge (two branches' rows are both kept, in any order).
Two different translations of one text are kept; tests/test_locale.py asks somebody to choose.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
    sys.path.insert(0, str(ROOT))
    from tests.phrases import needed

    for each in sorted((ROOT / "locale").glob("*.csv")):
        shown = needed()
        kept = [row for row in rows_of(each) if (row[0], row[2] if len(row) > 2 else "") in shown]
        for row in kept:
            row[1] = row[1].replace(" …", "\u00a0…")  # an ellipsis does not begin a line
        each.write_text(in_order(kept), encoding="utf-8")
