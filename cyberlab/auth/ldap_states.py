"""What a directory's answer to a bind says of the account, pure: locked, disabled, expired, must change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cyberlab.auth.base import DISABLED, EXPIRED, LOCKED, MUST_CHANGE_PASSWORD

INVALID_CREDENTIALS = 49  # RFC 4511, appendix A
# draft-behera-ldap-password-policy-10: asked for with a bind, answered by OpenLDAP's ppolicy overlay and by 389 DS.
POLICY_CONTROL = "1.3.6.1.4.1.42.2.27.8.5.1"
_POLICY = {0: EXPIRED, 1: LOCKED, 2: MUST_CHANGE_PASSWORD}  # section 6.2, "error"
_SEQUENCE, _ERROR = 0x30, 0x81
# Active Directory says why in the message of "invalid credentials": Win32 error codes, in hexadecimal.
_DATA = re.compile(r"\bdata ([0-9a-f]+)\b", re.IGNORECASE)
_STATES = {
    0x530: DISABLED,  # not at this time
    0x531: DISABLED,  # not from this workstation
    0x532: EXPIRED,  # the password
    0x533: DISABLED,
    0x701: EXPIRED,  # the account
    0x773: MUST_CHANGE_PASSWORD,
    0x775: LOCKED,
}
NOTED = (
    *("nsAccountLock", "userAccountControl", "lockoutTime", "pwdLastSet"),
    *("pwdAccountLockedTime", "pwdReset", "passwordExpirationTime"),
)
_ACCOUNTDISABLE = 2  # MS-ADTS, section 2.2.16
# 389 DS says it by the result code, and in its control calls a disabled account locked.
_CODES = {19: LOCKED, 53: DISABLED}


class BindAnswer(NamedTuple):
    """``code``, ``message``: the directory's; ``state``: a code of AccountProblem, or "" if it says nothing of it."""

    code: int
    message: str
    state: str = ""

    @property
    def words(self) -> str:
        """For the log and the audit."""
        if data := _DATA.search(self.message):
            return f"the directory says data {data[1].lower()}"
        return f"the directory says result {self.code} {self.message}".rstrip()


def bind_answer(result: Mapping[str, Any]) -> BindAnswer:
    """Read ldap3's result of a bind."""
    code, message = int(result["result"]), str(result["message"])
    control = (result.get("controls") or {}).get(POLICY_CONTROL, {}).get("value")
    state = _CODES.get(code, "")
    if not state and code == INVALID_CREDENTIALS and (data := _DATA.search(message)):
        state = _STATES.get(int(data[1], 16), "")
    if not state and isinstance(control, bytes):
        state = _POLICY.get(policy_error(control), "")
    return BindAnswer(code, message, state)


def noted(attributes: Mapping[str, Sequence[bytes]]) -> list[str]:
    """What an entry itself says against a sign-in, in words for an admin; ``attributes``: NOTED, as far as readable."""
    values = {name: b"".join(attributes.get(name.casefold(), ())).decode("utf-8", "replace") for name in NOTED}
    control, locked = values["userAccountControl"], values["lockoutTime"]
    found = {
        "nsAccountLock": (DISABLED, values["nsAccountLock"].lower() == "true"),  # 389 DS, FreeIPA
        "userAccountControl": (DISABLED, control.isdecimal() and int(control) & _ACCOUNTDISABLE),
        "lockoutTime": (LOCKED, locked not in ("", "0")),
        "pwdLastSet": (MUST_CHANGE_PASSWORD, values["pwdLastSet"] == "0"),
        "pwdAccountLockedTime": (LOCKED, values["pwdAccountLockedTime"]),  # OpenLDAP's ppolicy overlay
        "pwdReset": (MUST_CHANGE_PASSWORD, values["pwdReset"].lower() == "true"),
        "passwordExpirationTime": (MUST_CHANGE_PASSWORD, values["passwordExpirationTime"].startswith("1970")),
    }
    return [f"its entry says {state} ({name}: {values[name]})" for name, (state, says) in found.items() if says]


def policy_error(value: bytes) -> int:
    """The error in a PasswordPolicyResponseValue, SEQUENCE { warning [0] OPTIONAL, error [1] OPTIONAL }; -1 for none.

    What cannot be read is none: the result code of the bind counts anyway.
    """
    try:
        ((tag, content),) = _elements(value)
        inner = dict(_elements(content)) if tag == _SEQUENCE else {}
    except (ValueError, IndexError):
        return -1
    return int.from_bytes(inner[_ERROR]) if len(inner.get(_ERROR, b"")) == 1 else -1


def _elements(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents in BER; 389 DS writes even short lengths in the long form (X.690, section 8.1.3.5)."""
    while octets:
        tag, length, begin = octets[0], octets[1], 2
        if length > 0x7F:
            begin += length & 0x7F
            length = int.from_bytes(octets[2:begin])
        if begin + length > len(octets):
            raise ValueError("cut off")
        yield tag, octets[begin : begin + length]
        octets = octets[begin + length :]
