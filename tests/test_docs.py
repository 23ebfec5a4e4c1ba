"""The documentation keeps up with the code: nothing unnamed, nothing named that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from cyberlab.handlers.help import topics
from cyberlab.problems import CATALOGUE
from cyberlab.settings import ClusterSettings, Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TROUBLE = DOCS / "troubleshooting.md"
SETTINGS = [name.upper() for name in Settings.model_fields]
SETTINGS += [f"PROXMOX_{name.upper()}" for name in ClusterSettings.model_fields]
# A path in the text, as `cyberlab/console/session.py`; a pattern or a placeholder is none.
PATH = re.compile(r"`((?:cyberlab|tests|docs|deploy|scripts|bench|migrations|static|templates|\.ci)/[\w./-]*)`")
NOT_COMMITTED = ("static/vendor",)


def _sections(text: str) -> dict[str, str]:
    """Heading (level 3) → what stands below it."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    plain = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_problem_has_its_section(code: str) -> None:
    section = _sections(TROUBLE.read_text()).get(code)
    assert section is not None, f"docs/troubleshooting.md has no section ### {code}"
    assert f"**{CATALOGUE[code].title}.**" in section, "the title differs from the one that the page shows"
    assert "- **Cause:**" in section
    assert "- **Mend:**" in section


def test_no_section_for_a_problem_that_is_none() -> None:
    assert _sections(TROUBLE.read_text()).keys() == CATALOGUE.keys()


def test_the_portal_s_help_has_the_sections_in_the_same_chapters() -> None:
    chapters = re.split(r"^## .+$", TROUBLE.read_text(), flags=re.MULTILINE)
    in_chapters = [list(_sections(chapter)) for chapter in chapters]
    assert [codes for codes in in_chapters if codes] == [topic.codes for topic in topics(looks_after=True)]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", (DOCS / "settings.md").read_text()), f"docs/settings.md does not name {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_pages_name_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:PROXMOX|CONSOLE|LOGIN|LISTEN|TRUSTED|BCRYPT|DATABASE)_[A-Z_]+)", page.read_text()))
    assert named <= set(SETTINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path), f"{page.name} links to {target}, where no heading has that anchor"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_that_pages_name_exist(page: Path) -> None:
    for path in PATH.findall(page.read_text()):
        if not path.startswith(NOT_COMMITTED):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_that_pages_name_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), flags=re.DOTALL))
    named = set(re.findall(r"(?:^|[`\s])make ([a-z][a-z-]*)", code))
    assert named <= targets, f"{page.name} names targets that the Makefile lacks"


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == set(re.findall(r"^([a-z-]+):.*## \S", makefile, flags=re.MULTILINE))
