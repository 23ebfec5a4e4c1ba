"""Imports point down only; see docs/architecture.md, "Floors"."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS: dict[str, int] = {
    "settings": 0,
    "blocking": 0,
    "phrases": 0,
    "problems": 0,
    "db": 1,
    "auth": 2,
    "console": 2,
    "proxmox": 2,
    "handlers": 3,
    "access_watch": 3,
    "inventory_watch": 3,
    "app": 4,
    "cli": 5,
}
MODULES = sorted((ROOT / "cyberlab").rglob("*.py"))


def _room(dotted: str) -> str | None:
    """'cyberlab.db.users' -> 'db'; the command modules (cli, cli_check …) are one room, and so are the settings'."""
    parts = dotted.split(".")
    if parts[0] != "cyberlab" or len(parts) < 2:
        return None
    return next((room for room in ("cli", "settings") if parts[1].startswith(room)), parts[1])


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "cyberlab" else [module]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    room = _room(dotted)
    if room is None:
        assert not _imports(path)[1:], "cyberlab/__init__.py imports nothing"
        return
    for imported in _imports(path):
        if imported.startswith("tornado.web") and not imported.startswith("tornado.websocket"):
            assert room in ("handlers", "app"), f"{dotted} imports tornado.web"
        target = _room(imported)
        if target is None or target == room:
            continue
        if room == "simulator":
            assert target in ("problems", "blocking"), f"{dotted} (a stand-in for Proxmox) imports {imported}"
        elif target == "simulator":
            assert room == "cli", f"{dotted} imports the simulator"
        else:
            assert target in FLOORS, f"{imported} is on no floor"
            assert FLOORS[room] > FLOORS[target], f"{dotted} imports {imported}, which is not below it"
