"""The files under static/: addresses that change with their content, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

_TEXT = re.compile(r'\bt\(\s*"((?:[^"\\]|\\.)*)"')
_IMPORT = re.compile(r'^(?:import|export)\b[^"\n]*"(\.[^"\n]+)"', re.MULTILINE)
_OTHERS = "vendor"  # scripts that are not ours say nothing to people


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
        self._texts: dict[str, frozenset[str]] = {}

    def url(self, name: str) -> str:
        """The address of ``static/<name>``."""
        return f"/static/v-{self.version}/{name}"

    def texts(self, name: str) -> frozenset[str]:
        """The texts for people in a script and in those that it imports: ``t("…")`` of static/words.js."""
        if name not in self._texts:
            self._texts[name] = self._collect(name)
        return self._texts[name]

    def _collect(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        seen: set[Path] = set()
        left = [self.folder / name]
        while left:
            path = left.pop().resolve()
            if path in seen or self.folder / _OTHERS in path.parents:
                continue
            seen.add(path)
            source = path.read_text()
            found.update(json.loads(f'"{text}"') for text in _TEXT.findall(source))
            left += [path.parent / other for other in _IMPORT.findall(source)]
        return frozenset(found)
