from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from cyberlab.auth import recovery, totp

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238, appendix B: "12345678901234567890"


@pytest.mark.parametrize(
    ("now", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_the_vectors_of_the_rfc(now: float, code: str) -> None:
    assert totp.matching_step(SECRET, code, now, None) == now // 30


@pytest.mark.parametrize(("late", "right"), [(-31, False), (-30, True), (0, True), (30, True), (59, True), (60, False)])
def test_one_step_to_either_side(late: int, right: bool) -> None:
    assert (totp.matching_step(SECRET, "081804", 1111111080 + late, None) is not None) == right


def test_a_used_step_and_older_ones_are_refused() -> None:
    step = 1111111109 // 30
    assert totp.matching_step(SECRET, "081804", 1111111109, step - 1) == step
    assert totp.matching_step(SECRET, "081804", 1111111109, step) is None
    assert totp.matching_step(SECRET, "081804", 1111111109, step + 1) is None


@pytest.mark.parametrize("code", ["", "08180", "0818044", "08180x", "٠٨١٨٠٤", "081804\n"])
def test_what_is_no_code_is_wrong(code: str) -> None:
    assert totp.matching_step(SECRET, code, 1111111109, None) is None


def test_secrets_are_long_and_never_the_same() -> None:
    made = {totp.new_secret() for _ in range(20)}
    assert len(made) == 20
    assert {len(secret) for secret in made} == {32}


def test_the_picture_is_an_svg_without_style_or_script() -> None:
    picture = totp.picture(totp.address(SECRET, "a. stüdent@uni", "CyberLab"))
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not any("style" in item.attrib or item.tag.endswith(("style", "script")) for item in root.iter())


def test_recovery_codes_are_ten_and_read_however_typed() -> None:
    codes = recovery.new_codes()
    assert len(set(codes)) == 10
    typed = codes[0].upper().replace("-", " ")
    assert recovery.hashed(typed, 7) == recovery.hashed(codes[0], 7)
    assert recovery.hashed(codes[0], 7) != recovery.hashed(codes[0], 8)
    assert codes[0] not in recovery.hashed(codes[0], 7)
