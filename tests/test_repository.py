"""What the repository holds, and what it must never hold."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = {
    ".ci",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "alembic.ini",
    "bench",
    "cyberlab",
    "deploy",
    "docs",
    "locale",
    "migrations",
    "package-lock.json",
    "package.json",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "scripts",
    "server.py",
    "static",
    "templates",
    "tests",
}
OPTIONAL = {"LICENSE"}
LONGEST = 400  # lines of Python; files stay near 300
SECRET = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: what is committed cannot be told")
    return [name for name in done.stdout.split("\0") if name]


def _committed() -> list[Path]:
    """Files under version control that are here."""
    return [ROOT / name for name in _git("ls-files", "-z") if (ROOT / name).is_file()]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def _python() -> list[Path]:
    rooms = [ROOT / name for name in ("cyberlab", "tests", "scripts", "bench", "migrations")]
    return sorted([*ROOT.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))])


def test_the_top_level_is_as_agreed() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in _committed()}
    assert top <= TOP | OPTIONAL
    assert not (TOP - OPTIONAL) - top


def test_nothing_of_others_is_committed() -> None:
    """noVNC and Pico CSS come by npm, at set-up."""
    for path in _committed():
        name = str(path.relative_to(ROOT))
        assert not name.startswith(("static/vendor", "node_modules", ".venv", "var/")), name
        assert path == Path(__file__) or "The noVNC Authors" not in _text(path), name


def test_no_private_key_is_committed() -> None:
    for path in _committed():
        assert path == Path(__file__) or not SECRET.search(_text(path)), path


def test_no_content_security_policy_is_unsafe() -> None:
    rooms = [ROOT / name for name in ("cyberlab", "templates", "deploy")]
    for path in [path for room in rooms for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc"]:
        assert not re.search(r"unsafe-(?:inline|eval|hashes)", _text(path)), path


def test_templates_have_no_inline_script_or_style() -> None:
    """What the content security policy forbids would fail in the browser only; here it fails sooner."""
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=[\"']|javascript:", text), path
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), path


@pytest.mark.parametrize("path", _python(), ids=lambda path: str(path.relative_to(ROOT)))
def test_python_files_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST, f"longer than {LONGEST} lines: split it by noun"
    assert not re.search(r"^\s*from \.", text, flags=re.MULTILINE), "relative import"
    assert path.name not in ("utils.py", "helpers.py", "misc.py"), "name it after a noun"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned(name: str) -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    for line in filter(None, lines):
        assert re.fullmatch(r"-r requirements\.txt|[\w.-]+(?:\[[\w,]+\])?==[\w.]+", line), line


def test_npm_packages_are_pinned() -> None:
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == wanted
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, package in lock["packages"].items():
        assert "resolved" not in package, "a lock file that names a registry works on one network only"
        assert not name or package["integrity"].startswith("sha512-"), name


def test_no_package_host_is_named() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "package.json", "package-lock.json", "Makefile"):
        assert "://" not in (ROOT / name).read_text().replace("http://127.0.0.1:8080", ""), name
