"""docs/sign-in.md: each configuration that it shows is one that the portal takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cyberlab.auth import config

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "sign-in.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_configuration_that_the_page_shows_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    text = BLOCKS[number]
    if "[[backend]]" not in text:
        text = '[[backend]]\nname = "local"\nkind = "local"\n' + text
    for name in re.findall(r'_env = "(.+)"', text):
        monkeypatch.setenv(name, "a secret")
    file = tmp_path / "sign-in.toml"
    file.write_text(text)
    assert config.load(file).backends
