"""What the shell commands share: how they fail, how they are declared, and the database they work on."""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from cyberlab import settings
from cyberlab.db import users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import User
from cyberlab.settings import Settings

Run: TypeAlias = Callable[[argparse.Namespace], int]
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class CommandError(Exception):
    """The command cannot be done; the message is the one line that its user reads."""


def command(commands: Parsers, name: str, run: Run, summary: str, description: str) -> argparse.ArgumentParser:
    """Declare a command: ``summary`` stands in the list of all, ``description`` in its own --help."""
    parser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=run)
    return parser


def actor() -> Actor:
    """Who the audit says did it: the account of the shell."""
    try:
        return Actor(None, f"cli {os.environ.get('SUDO_USER') or getpass.getuser()}")
    except (KeyError, OSError):  # a uid without an account, as in containers
        return Actor(None, f"cli uid {os.getuid()}")


@contextmanager
def opened(*, migrated: bool = True) -> Iterator[tuple[Database, Settings]]:
    """Give the configured database; raise CommandError if it is to be ``migrated`` and is not."""
    portal = settings.load_portal()
    database = Database(portal.database_url, workers=1)
    try:
        problem = database.head_problem() if migrated else None
        if problem is not None:
            raise CommandError(problem)
        yield database, portal
    finally:
        database.close()


def user_named(database: Database, name: str, backend: str = users.LOCAL) -> User:
    """The user of that name in that backend; raise CommandError if there is none."""
    user = database.call(users.by_name, name, backend)
    if user is None:
        of = "" if backend == users.LOCAL else f" of {backend}"
        raise CommandError(f"there is no user “{name}”{of}; server.py user list shows all")
    return user
