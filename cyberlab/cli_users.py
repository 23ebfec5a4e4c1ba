"""The shell commands of ``user``: add, passwd, sign-out, disable, enable, unlock, reset-factors, list."""

from __future__ import annotations

import argparse
import getpass
import secrets
import sys

from cyberlab.auth import config, passwords, strength
from cyberlab.cli_common import CommandError, Parsers, actor, command, opened, user_named
from cyberlab.db import factors, throttle, users
from cyberlab.db.models import Role
from cyberlab.db.page import MAX_LIMIT
from cyberlab.settings import Settings

_ATTEMPTS = 3


def add_commands(commands: Parsers) -> None:
    """Declare ``user`` and what stands behind it."""
    parser = commands.add_parser("user", help="keep local accounts", description="Keep local accounts.")
    nested: Parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = command(nested, "add", _add, "create an account", f"Create a local account. {_ASKING}")
    add.add_argument("name", metavar="NAME", help="user name; upper and lower case are the same")
    add.add_argument(
        "--role", choices=[role.value for role in Role], default=Role.STUDENT.value, help="default: student"
    )
    add.add_argument("--display-name", metavar="NAME", default="", help="the name that pages show")
    add.add_argument("--email", metavar="ADDRESS")
    _add_backend(add, "whose account: its owner claims it at the first sign-in there; default: local")
    _add_password_options(add)
    passwd = command(
        nested,
        "passwd",
        _passwd,
        "set a password",
        f"Set a password, and end all of the user's sign-ins. {_ASKING}",
    )
    passwd.add_argument("name", metavar="NAME")
    _add_password_options(passwd)
    out = command(
        nested,
        "sign-out",
        _sign_out,
        "sign somebody out everywhere",
        "End somebody's sign-ins and open consoles within a second, and forget their remembered browsers. They can "
        "sign in again if their directory and its groups still let them: for the day somebody has left.",
    )
    out.add_argument("name", metavar="NAME")
    _add_backend(out)
    disable = command(
        nested,
        "disable",
        _disable,
        "close an account",
        "Close an account: its sign-ins and open consoles end within a second, its assignments stay.",
    )
    disable.add_argument("name", metavar="NAME")
    _add_backend(disable)
    enable = command(nested, "enable", _enable, "reopen an account", "Reopen an account that was disabled.")
    enable.add_argument("name", metavar="NAME")
    _add_backend(enable)
    unlock = command(
        nested,
        "unlock",
        _unlock,
        "let somebody in who has to wait",
        "Forget the failed sign-ins with a name, also of its second factor, so that its owner need not wait.",
    )
    unlock.add_argument("name", metavar="NAME", help="user name, in whichever backend")
    reset = command(
        nested,
        "reset-factors",
        _reset_factors,
        "take away second factors",
        "Remove somebody's second factors, recovery codes and remembered devices, and end their sign-ins: for the day "
        "the phone is gone. Where the role needs a second factor, they enrol a new one at the next sign-in.",
    )
    reset.add_argument("name", metavar="NAME")
    _add_backend(reset)
    listing = command(
        nested, "list", _list, "list accounts", "List accounts: name, role, state, backend, display name."
    )
    listing.add_argument("search", nargs="?", default="", metavar="SEARCH", help="words in the name or mail address")
    listing.add_argument("--role", choices=[role.value for role in Role], help="only this role")


_ASKING = (
    "The password is asked for twice on a terminal, read from standard input with --password-stdin, and otherwise "
    "(--generate, or no terminal) made up and printed. It never stands on the command line."
)


def _add_backend(parser: argparse.ArgumentParser, words: str = "whose account; default: local") -> None:
    parser.add_argument("--backend", metavar="NAME", default=users.LOCAL, help=words)


def _add_password_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--password-stdin", action="store_true", help="read the password from the first line of stdin")
    source.add_argument("--generate", action="store_true", help="make up a password and print it")


def _add(arguments: argparse.Namespace) -> int:
    backend = arguments.backend
    asks = backend == users.LOCAL
    if not asks and (arguments.password_stdin or arguments.generate):
        raise CommandError(f"the password is kept by {backend}, not here")
    with opened() as (database, portal):
        _check_backend(backend, portal)
        if database.call(users.by_name, arguments.name, backend) is not None:  # before anybody types a password twice
            raise CommandError(f"there already is a user “{arguments.name}”; server.py user passwd sets a password")
        known = (arguments.name, arguments.display_name, arguments.email)
        password, made_up = _new_password(arguments, *known) if asks else ("", False)
        user = database.call(
            users.create,
            actor(),
            username=arguments.name,
            role=Role(arguments.role),
            password_hash=passwords.hash_password(password, portal.bcrypt_cost) if asks else None,
            display_name=arguments.display_name,
            email=arguments.email,
            backend=backend,
        )
    print(f"Created {user.username} ({user.role})." if asks else f"Created {user.username} of {backend} ({user.role}).")
    _tell(password, made_up)
    return 0


def _check_backend(backend: str, portal: Settings) -> None:
    if backend == users.LOCAL:  # whatever is wrong with the file: these accounts are for that day
        return
    names = [item.name for item in config.load(portal.auth_config).backends]
    if backend not in names:
        raise CommandError(f"AUTH_CONFIG has no backend “{backend}”, only {', '.join(names)}")


def _passwd(arguments: argparse.Namespace) -> int:
    with opened() as (database, portal):
        user = user_named(database, arguments.name)
        password, made_up = _new_password(arguments, user.username, user.display_name, user.email)
        hashed = passwords.hash_password(password, portal.bcrypt_cost)
        database.call(users.set_password, actor(), user.id, hashed)
    print(f"Set the password of {user.username}; they have to sign in again.")
    _tell(password, made_up)
    return 0


def _sign_out(arguments: argparse.Namespace) -> int:
    with opened() as (database, _):
        user = user_named(database, arguments.name, arguments.backend)
        database.call(users.sign_out, actor(), user.id)
    print(f"Signed {user.username} out everywhere.")
    return 0


def _disable(arguments: argparse.Namespace) -> int:
    with opened() as (database, _):
        user = user_named(database, arguments.name, arguments.backend)
        database.call(users.set_active, actor(), user.id, False)
    print(f"Disabled {user.username}.")
    return 0


def _enable(arguments: argparse.Namespace) -> int:
    with opened() as (database, _):
        user = user_named(database, arguments.name, arguments.backend)
        database.call(users.set_active, actor(), user.id, True)
    print(f"Enabled {user.username}.")
    return 0


def _unlock(arguments: argparse.Namespace) -> int:
    with opened() as (database, _):
        known = database.call(users.backends_of, arguments.name)
        done = database.call(throttle.unlock, actor(), arguments.name)
    if not known:
        print(f"Nobody here is called {arguments.name} (yet); failed sign-ins with that name are forgotten.")
    elif done:
        print(f"Unlocked {arguments.name}.")
    else:
        print(f"{arguments.name} was not locked.")
    return 0


def _reset_factors(arguments: argparse.Namespace) -> int:
    with opened() as (database, _):
        user = user_named(database, arguments.name, arguments.backend)
        done = database.call(factors.reset, actor(), user.id)
        database.call(throttle.unlock, actor(), user.username)
    print(f"Removed the second factors of {user.username}." if done else f"{user.username} had no second factor.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    role = Role(arguments.role) if arguments.role else None
    offset = 0
    with opened() as (database, _):
        while True:
            page = database.call(users.page, search=arguments.search, role=role, offset=offset, limit=MAX_LIMIT)
            for user in page.rows:
                state = "active" if user.active else "disabled"
                line = f"{user.username:<24} {user.role:<8} {state:<9} {user.backend:<12} {user.display_name}"
                print(line.rstrip())
            offset += len(page.rows)
            if not page.rows or offset >= page.total:
                return 0


def _new_password(arguments: argparse.Namespace, *known: str | None) -> tuple[str, bool]:
    """The password, and whether it was made up here (and has to be told); ``known``: what others know of its owner."""
    if arguments.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if problem := strength.problem(password, known):
            raise CommandError(problem)
        return password, False
    if arguments.generate or not sys.stdin.isatty():
        return secrets.token_urlsafe(12), True
    for _ in range(_ATTEMPTS):
        try:
            password = getpass.getpass("Password: ")
            problem = strength.problem(password, known)
            if problem is None and getpass.getpass("Once more: ") != password:
                problem = "the two are not the same"
        except EOFError:
            raise CommandError("no password was given") from None
        if problem is None:
            return password, False
        print(problem, file=sys.stderr)
    raise CommandError("no password was set")


def _tell(password: str, made_up: bool) -> None:
    if made_up:
        print(f"Password: {password}")
