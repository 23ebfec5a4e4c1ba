"""What the answer to a bind says of an account: bytes that OpenLDAP, 389 DS and Active Directory have sent."""

from __future__ import annotations

from typing import Any

import pytest

from cyberlab.auth.base import DISABLED, EXPIRED, LOCKED, MUST_CHANGE_PASSWORD
from cyberlab.auth.ldap_states import POLICY_CONTROL, bind_answer, noted, policy_error

# 389 DS writes every length in the long form, OpenLDAP in the short one.
LONG_LOCKED = bytes.fromhex("308400000003810101")
LONG_CHANGE = bytes.fromhex("30840000000ca0840000000380010081010 2".replace(" ", ""))
LONG_EXPIRED = bytes.fromhex("308400000003810100")


def _result(code: int, message: str = "", policy: bytes | None = None) -> dict[str, Any]:
    controls = {} if policy is None else {"controls": {POLICY_CONTROL: {"value": policy}}}
    return {"result": code, "message": message} | controls


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("3003810100", 0),
        ("3003810101", 1),
        ("3008a003800104810102", 2),
        ("3000", -1),
        ("3005a003800104", -1),  # a warning alone: it ends soon, or grace
        ("", -1),
        ("30", -1),
        ("3084", -1),
        ("3005810101", -1),
        ("308100", -1),
        ("30ff810101", -1),
        ("3003810101ff", -1),
        ("0403810101", -1),
        ("30048102ffff", -1),
    ],
)
def test_the_policys_error(value: str, error: int) -> None:
    assert policy_error(bytes.fromhex(value)) == error


def test_the_policys_error_in_long_form() -> None:
    assert [policy_error(value) for value in (LONG_EXPIRED, LONG_LOCKED, LONG_CHANGE)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (_result(0), ""),
        (_result(49), ""),
        (_result(0, policy=LONG_CHANGE), MUST_CHANGE_PASSWORD),
        (_result(49, "password expired!", LONG_EXPIRED), EXPIRED),
        (_result(49, policy=LONG_LOCKED), LOCKED),
        (_result(19, "Exceed password retry limit. Please try later.", LONG_LOCKED), LOCKED),
        (_result(53, "Account inactivated. Contact system administrator.", LONG_LOCKED), DISABLED),
        (_result(49, "80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data 773, v3839"),
         MUST_CHANGE_PASSWORD),
        (_result(49, "80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data 52e, v3839"), ""),
        (_result(0, "data 773"), ""),
    ],
)  # fmt: skip
def test_the_state_of_an_account(result: dict[str, Any], state: str) -> None:
    assert bind_answer(result).state == state


def test_its_words_are_the_directorys() -> None:
    assert bind_answer(_result(53, "Account inactivated.")).words == "the directory says result 53 Account inactivated."
    assert bind_answer(_result(49, "x, data 533, v1")).words == "the directory says data 533"


@pytest.mark.parametrize(
    ("attributes", "states"),
    [
        ({}, []),
        ({"nsaccountlock": [b"true"]}, [DISABLED]),
        ({"nsaccountlock": [b"false"], "useraccountcontrol": [b"512"], "lockouttime": [b"0"]}, []),
        ({"useraccountcontrol": [b"514"], "pwdlastset": [b"0"]}, [DISABLED, MUST_CHANGE_PASSWORD]),
        ({"useraccountcontrol": [b"\xff"], "lockouttime": [b"133"]}, [LOCKED]),
        ({"passwordexpirationtime": [b"19700101000000Z"]}, [MUST_CHANGE_PASSWORD]),
    ],
)
def test_what_an_entry_says_itself(attributes: dict[str, list[bytes]], states: list[str]) -> None:
    assert [words.split()[3] for words in noted(attributes)] == states
