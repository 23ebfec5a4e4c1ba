"""The shell command ``rekey``: the secrets of authenticator apps under another key."""

from __future__ import annotations

import argparse
import sys

from cyberlab.auth import factors
from cyberlab.auth.vault import Vault
from cyberlab.cli_common import CommandError, Parsers, command, opened


def add_commands(commands: Parsers) -> None:
    """Declare ``rekey``."""
    command(
        commands,
        "rekey",
        _rekey,
        "encrypt the second factors' secrets with the present key",
        "Encrypt the secrets of all authenticator apps with the first key of FACTOR_KEYS. To change the key, put the "
        "new one in front of the old one, restart the portal, run this, and take the old one away. Signs nobody out.",
    )


def _rekey(arguments: argparse.Namespace) -> int:
    with opened() as (database, portal):
        if not portal.factor_keys and not portal.secret_key.get_secret_value():
            raise CommandError("neither FACTOR_KEYS nor SECRET_KEY is set")
        done, lost = database.call(factors.change_keys, Vault.of(portal))
    print(f"Encrypted {done} secret{'' if done == 1 else 's'} with the present key.")
    if lost:
        print(f"{lost} cannot be read with any key of FACTOR_KEYS; nothing was changed there.", file=sys.stderr)
    return 1 if lost else 0
