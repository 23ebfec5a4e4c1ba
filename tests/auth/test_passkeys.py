from __future__ import annotations

import pytest

from cyberlab.auth.passkeys import Passkeys
from cyberlab.blocking import BlockingPool
from cyberlab.db.engine import Database


@pytest.mark.parametrize(
    ("public_url", "possible"),
    [
        ("https://lab.example.edu", True),
        ("https://lab.example.edu:8443", True),
        ("http://localhost:8080", True),
        ("http://lab.example.edu", False),
        ("http://127.0.0.1:8080", False),
        ("https://192.0.2.1", False),
        ("https://[2001:db8::1]", False),
    ],
)
def test_passkeys_are_offered_where_browsers_have_them(
    database: Database, auth_pool: BlockingPool, public_url: str, possible: bool
) -> None:
    assert Passkeys(database, auth_pool, public_url).possible == possible
