from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.handlers.paths import own_path


@pytest.mark.parametrize("value", ["/", "/student", "/admin/users?q=a&page=2", "/student/console/7#x", "/authors"])
def test_our_own_paths_pass_unchanged(value: str) -> None:
    assert own_path(value) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "student",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " /student",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "/student\r\nSet-Cookie: a=b",
        "/%2f" + "x" * 3000,
        "/stu\x7fdent",
        "/stu\u2028dent",
        "/auth/login",
        "/auth",
    ],
)
def test_everything_else_is_dropped(value: str | None) -> None:
    assert own_path(value) is None


@given(st.text(alphabet=st.sampled_from("/\\:@.?#aev \t\n\r\x00%2fhtps-[]"), max_size=12))
def test_what_passes_stays_on_this_host(value: str) -> None:
    path = own_path(value)
    if path is None:
        return
    # As browsers read it (WHATWG URL): tabs and newlines vanish, a backslash is a slash.
    read = "".join(character for character in path if character not in "\t\n\r").replace("\\", "/").strip()
    there = urlsplit(urljoin("https://portal.example/auth/login", read))
    assert (there.scheme, there.netloc) == ("https", "portal.example")
    assert "\n" not in path
    assert "\r" not in path
