"""`server.py check`: the way to a console, step by step, with the parts that the portal itself takes it with.

A step that fails does not end the check: what does not need it is still tried, so that one run tells as much as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from cyberlab import problems, settings
from cyberlab.cli_check_auth import check_sign_in
from cyberlab.cli_check_report import FAILED, HELD, SKIPPED, Outcome, Report, count, report_for
from cyberlab.cli_check_steps import STEPS, Step, Walk
from cyberlab.cli_common import CommandError
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster, settings_problems
from cyberlab.settings import ClusterSettings, Configuration, SettingsError

_EXPLAIN_SECONDS = 10.0


async def walk_through(walk: Walk, report: Report) -> list[Outcome]:
    """Try every step that can be tried; the caller closes the cluster."""
    outcomes: dict[str, Outcome] = {}
    try:
        for step in STEPS:
            if all(outcomes[name].state == HELD for name in step.needs):
                report.begin(step.name)
                outcomes[step.name] = await _try(step, walk)
            else:
                outcomes[step.name] = Outcome(walk.cluster.name, step.name, SKIPPED)
            report.done(outcomes[step.name])
    finally:
        walk.closing.close()
    return list(outcomes.values())


async def _try(step: Step, walk: Walk) -> Outcome:
    begun = time.monotonic()
    seconds = step.seconds(walk)
    said: list[str] = []
    problem: Problem | None = None
    walk.warnings.clear()
    try:
        async with asyncio.timeout(seconds):
            said = await step.run(walk)
    except TimeoutError:
        problem = Problem(step.silence, f"no answer within {seconds:g} s")
    except Problem as raised:
        problem = raised
    took = round(1000 * (time.monotonic() - begun))
    name, warnings = walk.cluster.name, tuple(walk.warnings)
    if problem is None:
        return Outcome(name, step.name, HELD, took, tuple(said), warnings)
    problem = await _explained(walk, problem)
    more = f"docs/troubleshooting.md#{problem.code}"
    return Outcome(name, step.name, FAILED, took, (problem.advice.title,), warnings, problem, more)


async def _explained(walk: Walk, problem: Problem) -> Problem:
    """The cluster's own word on the machine, where ours is only a symptom."""
    if problem.code in problems.UNCLEAR and walk.explain is not None:
        with contextlib.suppress(Problem, TimeoutError):
            async with asyncio.timeout(_EXPLAIN_SECONDS):
                if better := await walk.explain():
                    return Problem(better.code, f"{better.detail} (seen first: {problem})")
    return problem


def run(
    load: Callable[[], Configuration],
    vm: tuple[str, int] | None = None,
    *,
    as_json: bool = False,
    person: str = "",
) -> int:
    """Check the configured clusters, or the one of ``vm``, and the ways to sign in; return the exit status.

    ``person``: whom to look up in directories. 0: every step held, 1: one failed, 2: the settings cannot be used.
    Raises CommandError for an unknown cluster.
    """
    report = report_for(as_json)
    begun = time.monotonic()
    try:
        configuration = load()
    except SettingsError as error:
        found = (count(len(error.problems), "problem"), *error.problems)
        report.done(Outcome("", "settings", FAILED, 0, found, more="docs/settings.md"))
        for step in STEPS:
            report.done(Outcome("", step.name, SKIPPED))
        with contextlib.suppress(SettingsError):  # said already
            check_sign_in(settings.load_portal(), report, person)
        report.end("No cluster was tried: the settings come first.")
        return 2
    clusters = configuration.clusters
    if vm is not None and not (clusters := tuple(known for known in clusters if known.cluster == vm[0])):
        names = ", ".join(known.cluster for known in configuration.clusters)
        raise CommandError(f"no cluster “{vm[0]}” is configured; there is {names}")
    took = round(1000 * (time.monotonic() - begun))
    outcomes: list[Outcome] = []
    for cluster in clusters:
        said = f"complete: cluster {cluster.cluster} at {cluster.host}"
        outcomes.append(
            Outcome(cluster.cluster, "settings", HELD, took, (said,), warnings=tuple(settings_problems(cluster)))
        )
        report.done(outcomes[-1])
        outcomes += asyncio.run(_check(cluster, configuration, vm, report))
    outcomes += check_sign_in(configuration.portal, report, person)
    report.end(_summary(outcomes, ": consoles open"))
    return 1 if any(outcome.state == FAILED for outcome in outcomes) else 0


def run_sign_in(*, as_json: bool = False, person: str = "") -> int:
    """Check the ways to sign in alone, without any cluster; return the exit status as run() does.

    Raises SettingsError.
    """
    report = report_for(as_json)
    outcomes = check_sign_in(settings.load_portal(), report, person)
    report.end(_summary(outcomes, "") if outcomes else "Local accounts alone: there is nothing to reach.")
    return 1 if any(outcome.state == FAILED for outcome in outcomes) else 0


async def _check(
    settings: ClusterSettings, configuration: Configuration, vm: tuple[str, int] | None, report: Report
) -> list[Outcome]:
    cluster = Cluster(settings)
    try:
        walk = Walk(cluster, vm[1] if vm else None, configuration.portal.console_handshake_timeout)
        return await walk_through(walk, report)
    finally:
        cluster.close()


def _summary(outcomes: list[Outcome], means: str) -> str:
    failed = [outcome.name for outcome in outcomes if outcome.state == FAILED]
    if failed:
        skipped = sum(outcome.state == SKIPPED for outcome in outcomes)
        words = f"Failed: {', '.join(failed)}."
        return f"{words} Not tried, as they need what failed: {count(skipped, 'step')}." if skipped else words
    took = sum(outcome.milliseconds for outcome in outcomes)
    return f"All {len(outcomes)} steps held, in {took} ms{means}."
