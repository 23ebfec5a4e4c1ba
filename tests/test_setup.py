"""scripts/setup, in a folder of its own with a stand-in for npm: what it makes, and that it makes it once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"
PYTHON = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
NPM = """#!/bin/sh
[ "$1" = --version ] && { echo 10.0.0; exit; }
echo "$@" >>calls
[ -e broken ] && { echo 'npm: no network'; exit 1; }
mkdir -p node_modules/@novnc/novnc/core node_modules/@novnc/novnc/vendor node_modules/@picocss/pico/css
echo module >node_modules/@novnc/novnc/core/rfb.js
touch node_modules/@novnc/novnc/LICENSE.txt node_modules/@picocss/pico/LICENSE.md
touch node_modules/@picocss/pico/css/pico.min.css
mkdir -p node_modules/@xterm/xterm/lib node_modules/@xterm/xterm/css node_modules/@xterm/addon-fit/lib
touch node_modules/@xterm/xterm/lib/xterm.mjs node_modules/@xterm/xterm/css/xterm.css node_modules/@xterm/xterm/LICENSE
touch node_modules/@xterm/addon-fit/lib/addon-fit.mjs node_modules/@xterm/addon-fit/LICENSE
"""


class Clone:
    """As much of a clone as the set-up looks at, with requirements that need no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        for name in ("requirements.txt", "requirements-dev.txt", "package-lock.json"):
            (folder / name).write_text("")
        for name in PYTHONS:
            self.program(name, SHIM)
        self.program("npm", NPM)

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def setup(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "HOME": str(self.folder), "PIP_NO_INDEX": "1"}
        return subprocess.run(
            [self.folder / "scripts/setup"], capture_output=True, text=True, timeout=120, check=False, env=environment
        )

    def npm_calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_it_makes_everything_once(clone: Clone) -> None:
    clone.program("python3.12", PYTHON)  # python3.13 comes first, but is a shim that fails when run

    first = clone.setup()
    assert first.returncode == 0, first.stdout + first.stderr
    assert [line[:1] for line in first.stdout.splitlines()] == ["✓", "✓", "✓"]
    assert os.access(clone.folder / ".venv/bin/python", os.X_OK)
    assert (clone.folder / "static/vendor/novnc/core/rfb.js").read_text() == "module\n"
    assert clone.npm_calls() == ["ci --ignore-scripts --no-audit --no-fund"]

    second = clone.setup()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(clone.npm_calls()) == 1

    (clone.folder / "package-lock.json").write_text("another")
    (clone.folder / "broken").touch()
    failed = clone.setup()
    assert failed.returncode == 1
    assert "npm: no network" in failed.stderr
    assert (clone.folder / "static/vendor/novnc/core/rfb.js").exists()

    (clone.folder / "broken").unlink()
    mended = clone.setup()
    assert mended.returncode == 0
    assert mended.stdout.startswith("✓ noVNC, xterm.js and Pico CSS")
    assert mended.stdout.count("\n") == 1


def test_it_says_what_to_install_where_no_python_works(clone: Clone) -> None:
    done = clone.setup()
    assert done.returncode == 1
    assert "No Python 3.11 or newer" in done.stderr
    assert not (clone.folder / ".venv").exists()
