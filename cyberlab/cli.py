"""The shell commands: their arguments, and how they end (0 done, 1 refused, 2 bad settings or arguments)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cyberlab import cli_assign, cli_keys, cli_users, settings
from cyberlab.cli_common import CommandError, Parsers, command, opened
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, DatabaseUnavailable, NotFound
from cyberlab.problems import Problem
from cyberlab.settings import Configuration, SettingsError

_CLUSTER = [f"PROXMOX_{name.upper()}" for name in settings.ClusterSettings.model_fields]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status. What was to be expected ends in one line, without a traceback."""
    try:
        arguments = make_parser().parse_args(argv)
    except SystemExit as error:  # argparse has said everything
        return error.code if isinstance(error.code, int) else 2
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SettingsError as error:
        return _say(*error.problems, status=2)
    except (CommandError, Conflict, NotFound, DatabaseUnavailable) as error:
        return _say(str(error))
    except Problem as error:
        return _say(f"{error.advice.title} ({error})", error.advice.admin)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `user list | head`: nobody reads on, also not what the interpreter flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _say(*lines: str, status: int = 1) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return status


def make_parser() -> argparse.ArgumentParser:
    """Every command with its arguments and its help."""
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="CyberLab: consoles of the lab's virtual machines in the browser.",
        epilog="Settings come from the environment or .env; docs/settings.md lists them. "
        "Every command has a --help of its own.",
    )
    commands: Parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command(
        commands,
        "serve",
        _serve,
        "run the portal",
        "Run the portal until SIGINT or SIGTERM. Refuses to start, and lists every reason at once, with bad or missing "
        "settings, the demo's secret, or a database that is not migrated.",
    )
    command(
        commands,
        "demo",
        _demo,
        "run the portal with a simulated Proxmox cluster",
        "Run the portal with a simulated Proxmox node, demo accounts and a database of its own; prints the address "
        "and the accounts. Ctrl-C ends all of it.",
    )
    check = command(
        commands,
        "check",
        _check,
        "test the way to the configured cluster, step by step",
        "Take the way to a console at every node of every configured cluster, step by step: SSH, sshd, pvesh, "
        "inventory, ports, auth cookie, rights, VM, ticket, TLS, websocket, VNC sign-in, screen, first pixels. Says of "
        "each step whether it held and how long it took, and of one that failed the cause and how to mend it; "
        "docs/troubleshooting.md has more on each. Then looks at each way to sign in that AUTH_CONFIG names, also "
        "where no cluster could be tried. Changes nothing on the cluster, types nothing into the VM, and prints no "
        "secret. Exit status: 0 all held, 1 a step failed, 2 the settings cannot be used.",
    )
    check.epilog = "For example: server.py check pve/100, or server.py check --demo"
    which = check.add_mutually_exclusive_group()
    which.add_argument(
        "vm",
        nargs="?",
        type=cli_assign.reference,
        metavar="CLUSTER/VMID",
        help="the running VM whose console is opened; without it, one is chosen",
    )
    which.add_argument(
        "--vm", dest="named", type=cli_assign.reference, metavar="CLUSTER/VMID", help="the same by its name"
    )
    check.add_argument(
        "--demo",
        action="store_true",
        help="check the simulated cluster of the demo that runs (also done when no cluster is configured)",
    )
    check.add_argument(
        "--sign-in", action="store_true", help="look at the ways to sign in (AUTH_CONFIG) alone, and at no cluster"
    )
    check.add_argument(
        "--user", metavar="NAME", default="", help="whose entry and groups to look up in the directories"
    )
    check.add_argument("--json", action="store_true", help="print a list of the steps for programs")
    check.add_argument(
        "--watch",
        action="store_true",
        help="look again and again until Ctrl-C, and say what has changed; with --json an object a line",
    )
    check.add_argument(
        "--every", metavar="SECONDS", type=_pause, default=60.0, help="between two looks of --watch (60)"
    )
    command(
        commands,
        "migrate",
        _migrate,
        "bring the database to this version",
        "Create or migrate the database that DATABASE_URL names. Does nothing if it is at this version already.",
    )
    cli_users.add_commands(commands)
    cli_keys.add_commands(commands)
    cli_assign.add_commands(commands)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    found: list[str] = []
    configuration = None
    try:
        configuration = settings.load(production=True)
    except SettingsError as error:
        found += error.problems
    if configuration is not None:
        found += _sign_in_problems(configuration)
    found += _database_problems()
    if found or configuration is None:
        raise SettingsError(found)
    from cyberlab import app

    return app.serve(configuration)


def _sign_in_problems(configuration: Configuration) -> list[str]:
    from cyberlab.auth import config

    try:
        config.load(configuration.portal.auth_config)
    except SettingsError as error:
        return error.problems
    return []


def _database_problems() -> list[str]:
    """What keeps the portal from starting on its database; nothing if its address is bad, which is said already."""
    try:
        database = Database(settings.load_portal().database_url)
    except SettingsError:
        return []
    except DatabaseUnavailable as error:
        return [f"DATABASE_URL: {error}"]
    try:
        problem = database.head_problem()
    finally:
        database.close()
    return [f"DATABASE_URL: {problem}"] if problem else []


def _demo(arguments: argparse.Namespace) -> int:
    from cyberlab import cli_demo

    return cli_demo.run()


def _check(arguments: argparse.Namespace) -> int:
    from cyberlab import cli_check, cli_demo

    if arguments.sign_in:
        return cli_check.run_sign_in(as_json=arguments.json, person=arguments.user)
    load = cli_demo.load_for_check if arguments.demo else _configured_or_demo
    vm = arguments.vm or arguments.named
    if arguments.watch:
        from cyberlab import cli_check_watch

        return cli_check_watch.watch(
            lambda report: cli_check.look(load, vm, report, arguments.user), arguments.every, as_json=arguments.json
        )
    return cli_check.run(load, vm, as_json=arguments.json, person=arguments.user)


def _pause(text: str) -> float:
    """Seconds; argparse says what is wrong."""
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("between 1 and 86400 seconds")
    return seconds


def _configured_or_demo() -> Configuration:
    """The cluster of the settings; where there is none at all, that of a demo which runs."""
    from cyberlab import cli_demo

    try:
        return settings.load_for_check()
    except SettingsError as error:
        missing = {line.partition(": missing")[0] for line in error.problems}
        if not {"PROXMOX_HOST", "PROXMOX_SSH_HOST"} <= missing <= set(_CLUSTER) or not cli_demo.runs():
            raise
    print("No cluster is configured: this is the demo's, which runs.", file=sys.stderr)
    return cli_demo.load_for_check()


def _migrate(arguments: argparse.Namespace) -> int:
    with opened(migrated=False) as (database, _):
        before = database.head_problem()
        if before is None:
            print("The database is at this version already.")
            return 0
        database.upgrade()
        after = database.head_problem()
    if after is not None:
        raise CommandError(after)
    print("The database is at this version now.")
    return 0
