"""bcrypt's edges: 72 bytes, malformed hashes, two ways to write é."""

from __future__ import annotations

import bcrypt
import pytest

from cyberlab.auth import passwords

COST = 4


def test_a_hash_verifies_its_password_only() -> None:
    hashed = passwords.hash_password("correct horse", COST)
    assert hashed.startswith("$2b$04$")
    assert passwords.verify("correct horse", hashed)
    assert not passwords.verify("correct horse ", hashed)
    assert not passwords.verify("", hashed)
    assert hashed != passwords.hash_password("correct horse", COST)


@pytest.mark.parametrize("fits", ["x" * 72, "ü" * 36, "€" * 24])
def test_72_bytes_are_read_to_the_last(fits: str) -> None:
    hashed = passwords.hash_password(fits, COST)
    assert passwords.verify(fits, hashed)
    assert not passwords.verify(fits[:-1] + "?", hashed)


@pytest.mark.parametrize("long", ["x" * 73, "ü" * 37, "x" * 100_000])
def test_more_is_refused_and_never_cut(long: str) -> None:
    with pytest.raises(passwords.PasswordTooLong, match="at most 72 bytes"):
        passwords.hash_password(long, COST)
    assert not passwords.verify(long, passwords.hash_password(long[:36], COST))


@pytest.mark.parametrize("hashed", ["", "x", "$2b$04$short", "$2b$99$" + "x" * 53, "sha1$abc", "\udcff", "ü" * 60])
def test_a_hash_that_is_none_matches_nothing(hashed: str) -> None:
    assert not passwords.verify("", hashed)
    assert not passwords.verify("anything", hashed)


def test_one_password_on_every_keyboard() -> None:
    assert passwords.verify("cafe\u0301", passwords.hash_password("caf\u00e9", COST))


def test_bytes_that_are_no_text_do_not_crash() -> None:
    assert passwords.verify("\udcff\x00", passwords.hash_password("\udcff\x00", COST))


def test_the_cost_is_read_back() -> None:
    assert passwords.cost_of(passwords.hash_password("x", 5)) == 5
    for broken in ("", "nonsense", "$2b$04$short", "$2b$99$" + "." * 53):
        assert passwords.cost_of(broken) is None


def test_new_passwords_have_a_length() -> None:
    assert passwords.problem("x" * 8) is None
    assert passwords.problem("x" * 72) is None
    assert "at least 8" in (passwords.problem("x" * 7) or "")
    assert "at most 72 bytes" in (passwords.problem("ü" * 37) or "")


def test_the_dummy_costs_what_a_real_one_does() -> None:
    assert passwords.cost_of(passwords.dummy_hash(COST)) == COST
    assert passwords.cost_of(passwords.dummy_hash(12)) == 12
    assert not bcrypt.checkpw(b"anything", passwords.dummy_hash(COST).encode())  # takes it, does not raise
