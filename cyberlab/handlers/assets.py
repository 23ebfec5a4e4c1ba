"""The files under static/: addresses that change with their content, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Assets:
    """One digest over the whole folder stands in every address.

    One for all, not one a file: ES modules name each other by relative paths, and inherit it that way.
    """

    def __init__(self, folder: Path) -> None:
        """``folder``: read once, at the start (some 60 files)."""
        self.folder = folder
        seen = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            seen.update(f"{path.relative_to(folder)}\0".encode())
            seen.update(hashlib.sha256(path.read_bytes()).digest())
        self.version = seen.hexdigest()[:12]

    def url(self, name: str) -> str:
        """The address of ``static/<name>``."""
        return f"/static/v-{self.version}/{name}"
