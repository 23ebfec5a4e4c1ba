"""The part of `check` that looks at the ways to sign in; one that fails does not keep the others from being tried."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from cyberlab import problems
from cyberlab.auth import config
from cyberlab.auth.base import BackendContext, Finding
from cyberlab.auth.config import AuthConfig, BackendConfig, Backends
from cyberlab.cli_check_report import FAILED, HELD, Outcome, Report, count
from cyberlab.db.engine import Database
from cyberlab.db.users import LOCAL
from cyberlab.problems import Problem
from cyberlab.settings import Settings, SettingsError

STEP = "sign-in"
_SECONDS = 60.0  # for one backend, however many servers it has; each call of ours ends sooner
_CODES = {
    "bind": problems.SIGN_IN_REFUSED,
    "client": problems.SIGN_IN_REFUSED,
    "service": problems.SIGN_IN_REFUSED,
    "search": problems.SIGN_IN_NOBODY,
    "person": problems.SIGN_IN_NOBODY,
}


def check_sign_in(settings: Settings, report: Report, person: str = "") -> list[Outcome]:
    """Try each configured backend, telling the report; nothing where there are local accounts alone.

    ``person``: whom to look up in directories.
    """
    try:
        auth = config.load(settings.auth_config)
    except SettingsError as error:
        said = (count(len(error.problems), "problem"), *error.problems)
        return [_told(report, Outcome("", STEP, FAILED, 0, said, more="docs/sign-in.md"))]
    if all(item.kind == LOCAL for item in auth.backends):
        return []
    database = Database(settings.database_url, workers=1)
    try:
        return asyncio.run(_check(auth, BackendContext(database, settings), report, person))
    finally:
        database.close()


async def _check(auth: AuthConfig, context: BackendContext, report: Report, person: str) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for item in auth.backends:
        if item.kind == LOCAL:
            continue
        report.begin(item.name)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(_SECONDS):
                async for found in _findings(item, context, person):
                    took = round(1000 * (time.monotonic() - begun))
                    outcomes.append(_told(report, _outcome(item.name, found, took)))
                    begun = time.monotonic()
        except TimeoutError:
            outcomes.append(_told(report, _outcome(item.name, _failed(f"no answer within {_SECONDS:g} s"), 0)))
        except Exception as error:  # a third party's class; the other backends are tried all the same
            words = f"{type(error).__name__}: {error}"[:200]
            outcomes.append(_told(report, _outcome(item.name, _failed(f"its check broke off: {words}"), 0)))
    return outcomes


async def _findings(item: BackendConfig, context: BackendContext, person: str) -> AsyncIterator[Finding]:
    built = config.build(AuthConfig((item,)), context)
    try:
        found = _look(item, built, context, person)
        if isinstance(found, Iterable):
            for finding in found:
                yield finding
        else:
            async for finding in found:
                yield finding
    finally:
        built.close()


def _look(
    item: BackendConfig, built: Backends, context: BackendContext, person: str
) -> AsyncIterator[Finding] | Iterable[Finding]:
    made: list[Any] = [*built.password, *built.redirect, *built.proxy]
    (backend,) = made
    callback = f"{context.settings.public_url}/auth/sso/{item.name}/callback"
    # Each kind's library is imported only where one is configured, as in auth.config.
    if item.kind == "ldap":
        from cyberlab.cli_check_directory import check_directory

        return check_directory(backend, person, item.mapping)
    if item.kind in config.KINDS:
        from cyberlab import cli_check_sso

        if item.kind == "oidc":
            return cli_check_sso.check_issuer(backend, callback)
        if item.kind == "cas":
            return cli_check_sso.check_cas(backend, callback)
        return cli_check_sso.check_proxy(backend)
    check = getattr(backend, "check", None)
    if check is None:
        return [Finding(STEP, True, f"{item.kind} is loaded; it has no check of its own")]
    result: AsyncIterator[Finding] | Iterable[Finding] = check(person)
    return result


def _failed(words: str) -> Finding:
    return Finding(STEP, False, words)


def _outcome(backend: str, found: Finding, took: int) -> Outcome:
    where = f"{backend}, {found.server}" if found.server else backend
    if found.held:
        said = (f"{where}: {found.said}",)
        return Outcome("", found.step, HELD, took, said, found.warnings, backend=backend)
    problem = Problem(_CODES.get(found.step, problems.SIGN_IN_UNREACHABLE), found.said)
    said = (f"{where}: {problem.advice.title}",)
    more = f"docs/troubleshooting.md#{problem.code}"
    return Outcome("", found.step, FAILED, took, said, found.warnings, problem, more, backend)


def _told(report: Report, outcome: Outcome) -> Outcome:
    report.done(outcome)
    return outcome
