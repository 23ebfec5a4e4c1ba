from __future__ import annotations

import pytest
from pydantic import SecretStr

from cyberlab.auth.vault import Vault, VaultError
from cyberlab.settings import Settings

OLD, NEW = "o" * 40, "n" * 40


def test_what_was_sealed_opens_again_for_its_owner() -> None:
    vault = Vault([OLD])
    sealed = vault.seal("JBSWY3DP", "totp:7")
    assert vault.open(sealed, "totp:7") == "JBSWY3DP"
    assert "JBSWY3DP" not in sealed
    assert vault.seal("JBSWY3DP", "totp:7") != sealed
    with pytest.raises(VaultError):
        vault.open(sealed, "totp:8")


def test_damage_is_noticed() -> None:
    vault = Vault([OLD])
    sealed = vault.seal("JBSWY3DP", "totp:7")
    last = "A" if sealed[-2] != "A" else "B"
    for spoilt in (sealed[:-2] + last + sealed[-1], sealed[:30], "", "v2" + sealed[2:], sealed + "é"):
        with pytest.raises(VaultError):
            vault.open(spoilt, "totp:7")


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    sealed = Vault([OLD]).seal("JBSWY3DP", "totp:7")
    both = Vault([NEW, OLD])
    assert both.open(sealed, "totp:7") == "JBSWY3DP"
    assert not both.is_present(sealed)
    fresh = both.seal("JBSWY3DP", "totp:7")
    assert both.is_present(fresh)
    assert Vault([NEW]).open(fresh, "totp:7") == "JBSWY3DP"
    with pytest.raises(VaultError, match="FACTOR_KEYS"):
        Vault([NEW]).open(sealed, "totp:7")


def test_without_factor_keys_the_secret_key_does_it() -> None:
    plain = Settings(_env_file=None, secret_key=SecretStr(OLD))
    named = Settings(_env_file=None, secret_key=SecretStr(OLD), factor_keys=(SecretStr(NEW), SecretStr(OLD)))
    sealed = Vault.of(plain).seal("JBSWY3DP", "totp:7")
    assert Vault.of(named).open(sealed, "totp:7") == "JBSWY3DP"
    assert not Vault.of(named).is_present(sealed)
