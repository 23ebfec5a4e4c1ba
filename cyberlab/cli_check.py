"""`server.py check`: the way to a console, step by step, with the parts that the portal itself takes it with.

A step that fails does not end the check: what does not need it is still tried, so that one run tells as much as it can.
Each node of each cluster is walked to by itself, all at once: what is broken at one says nothing of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cyberlab import problems, settings
from cyberlab.cli_check_auth import check_sign_in
from cyberlab.cli_check_node import STEPS
from cyberlab.cli_check_report import FAILED, HELD, SKIPPED, Kept, Outcome, Report, count, report_for
from cyberlab.cli_check_steps import Step, Turns, Walk
from cyberlab.cli_common import CommandError
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster, settings_problems
from cyberlab.settings import ClusterSettings, Configuration, SettingsError
from cyberlab.settings_cluster import NodeSettings

log = logging.getLogger(__name__)

_AT_ONCE = 16  # nodes that are looked at
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
                outcomes[step.name] = Outcome(walk.cluster.name, step.name, SKIPPED, node=walk.node)
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
    walk.found = {}
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
        return Outcome(name, step.name, HELD, took, tuple(said), warnings, node=walk.node, found=walk.found)
    problem = await _explained(walk, problem)
    title, more = (problem.advice.title,), f"docs/troubleshooting.md#{problem.code}"
    return Outcome(
        name, step.name, FAILED, took, title, warnings, problem, more, node=walk.node, found=walk.found
    )  # fmt: skip


async def _explained(walk: Walk, problem: Problem) -> Problem:
    """The cluster's own word on the machine, where ours is only a symptom."""
    if problem.code in problems.UNCLEAR and walk.explain is not None:
        with contextlib.suppress(Problem, TimeoutError):
            async with asyncio.timeout(_EXPLAIN_SECONDS):
                if better := await walk.explain():
                    return Problem(better.code, f"{better.detail} (seen first: {problem})")
    return problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one look at everything ended; ``status``: the exit status that says so."""

    status: int
    outcomes: Sequence[Outcome]


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
    return look(load, vm, report_for(as_json), person).status


def look(
    load: Callable[[], Configuration], vm: tuple[str, int] | None, report: Report, person: str
) -> Verdict:  # fmt: skip
    """The same once, told to ``report``."""
    begun = time.monotonic()
    try:
        configuration = load()
    except SettingsError as error:
        found = (count(len(error.problems), "problem"), *error.problems)
        outcomes = [Outcome("", "settings", FAILED, 0, found, more="docs/settings.md")]
        outcomes += [Outcome("", step.name, SKIPPED) for step in STEPS]
        for outcome in outcomes:
            report.done(outcome)
        with contextlib.suppress(SettingsError):  # said already
            outcomes += check_sign_in(settings.load_portal(), report, person)
        report.end("No cluster was tried: the settings come first.")
        return Verdict(2, outcomes)
    clusters = configuration.clusters
    if vm is not None and not (clusters := tuple(known for known in clusters if known.cluster == vm[0])):
        names = ", ".join(known.cluster for known in configuration.clusters)
        raise CommandError(f"no cluster “{vm[0]}” is configured; there is {names}")
    took = round(1000 * (time.monotonic() - begun))
    walked = asyncio.run(_walk_all(clusters, configuration, vm, report, took))
    signing_in = check_sign_in(configuration.portal, report, person)
    many = sum(len(known.nodes) for known in clusters) > 1
    outcomes = [*walked, *signing_in]
    report.end(_summary(outcomes, ": consoles open", places=many))
    return Verdict(1 if any(outcome.state == FAILED for outcome in outcomes) else 0, outcomes)


def run_sign_in(*, as_json: bool = False, person: str = "") -> int:
    """Check the ways to sign in alone, without any cluster; return the exit status as run() does.

    Raises SettingsError.
    """
    report = report_for(as_json)
    outcomes = check_sign_in(settings.load_portal(), report, person)
    report.end(_summary(outcomes, "") if outcomes else "Local accounts alone: there is nothing to reach.")
    return 1 if any(outcome.state == FAILED for outcome in outcomes) else 0


async def _walk_all(
    clusters: Sequence[ClusterSettings], configuration: Configuration, vm: tuple[str, int] | None, report: Report,
    took: int,
) -> list[Outcome]:  # fmt: skip
    """Walk to every node at once, and tell of them in the settings' order; of an only one, step by step as it goes."""
    outcomes: list[Outcome] = []
    vmid, patience = vm[1] if vm else None, configuration.portal.console_handshake_timeout
    many = sum(len(cluster.nodes) for cluster in clusters) > 1
    free = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        walks: dict[tuple[str, str], asyncio.Task[list[Outcome]]] = {}
        for cluster in clusters if many else ():
            turns: Turns = defaultdict(asyncio.Lock)
            for node in cluster.nodes:
                walk = _at_node(cluster, node, vmid, patience, turns, Kept(), free)
                walks[cluster.cluster, node.name] = group.create_task(walk)
        for cluster in clusters:
            outcomes.append(_complete(cluster, took))
            if many:
                report.heading(cluster.cluster)
            report.done(outcomes[-1])
            for node in cluster.nodes:
                if not many:
                    outcomes += await _at_node(cluster, node, vmid, patience, defaultdict(asyncio.Lock), report, free)
                    continue
                place = f"{cluster.cluster}/{node.name}" if node.name else cluster.cluster
                report.begin(place)
                found = await walks[cluster.cluster, node.name]
                report.heading(f"{place}  {node.settings.host}")
                for outcome in found:
                    report.done(outcome)
                outcomes += found
    return outcomes


def _complete(cluster: ClusterSettings, took: int) -> Outcome:
    nodes = f", {count(len(cluster.nodes), 'node')}" if len(cluster.nodes) > 1 else f" at {cluster.host}"
    said = f"complete: cluster {cluster.cluster}{nodes}"
    return Outcome(cluster.cluster, "settings", HELD, took, (said,), warnings=tuple(settings_problems(cluster)))


async def _at_node(
    cluster: ClusterSettings, node: NodeSettings, vmid: int | None, patience: float, turns: Turns, report: Report,
    free: asyncio.Semaphore,
) -> list[Outcome]:  # fmt: skip
    """Walk by way of this node alone; nothing that goes wrong reaches the other walks."""
    async with free:
        alone = Cluster(node.settings.with_nodes([(node.name, {})]))
        try:
            return await walk_through(Walk(alone, vmid, patience, node.name, turns), report)
        except Exception as error:
            log.exception("check of %s %s broke off", cluster.cluster, node.name)
            problem = Problem(problems.INTERNAL, type(error).__name__)
            broken = Outcome(
                cluster.cluster, "SSH", FAILED, 0, (problem.advice.title,), problem=problem, node=node.name
            )  # fmt: skip
            report.done(broken)
            return [broken]
        finally:
            alone.close()


def _summary(outcomes: Sequence[Outcome], means: str, *, places: bool = False) -> str:
    failed = [
        f"{outcome.place} {outcome.name}".strip() if places else outcome.name
        for outcome in outcomes
        if outcome.state == FAILED
    ]
    if failed:
        skipped = sum(outcome.state == SKIPPED for outcome in outcomes)
        words = f"Failed: {', '.join(failed)}."
        return f"{words} Not tried, as they need what failed: {count(skipped, 'step')}." if skipped else words
    took = sum(outcome.milliseconds for outcome in outcomes)
    nodes = len({outcome.place for outcome in outcomes if outcome.node})
    where = f" at {count(nodes, 'node')}" if nodes > 1 else ""
    return f"All {len(outcomes)} steps held{where}, in {took} ms{means}."
