"""The single sign-on configurations that docs/sign-in.md shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from cyberlab.auth import config
from cyberlab.auth.cas import CasOptions
from cyberlab.auth.oidc import OidcOptions
from cyberlab.auth.proxy import ProxyOptions

SECTION = (Path(__file__).resolve().parents[2] / "docs" / "sign-in.md").read_text().split("\n## Single sign-on\n")[1]
SECTION = SECTION.split("\n## ")[0]
SHOWN = re.findall(r"```toml\n(.*?)```", SECTION, flags=re.DOTALL)


def test_they_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_SECRET", "s3cret")
    read = config.parse(tomllib.loads("\n".join(SHOWN)))
    assert [item.kind for item in read.backends] == ["oidc", "cas", "proxy"]
    assert read.backends[0].options.label == "Sign in with Uni"


@pytest.mark.parametrize("model", [OidcOptions, CasOptions, ProxyOptions])
def test_every_option_is_named(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        assert f"`{name}`" in SECTION or f"`{name}_env`" in SECTION or name == "label", name
