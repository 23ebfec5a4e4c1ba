"""`check` of several nodes and clusters side by side, and again and again."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyberlab import cli_check
from cyberlab.cli_check import Verdict
from cyberlab.cli_check_report import FAILED, HELD, Kept, Outcome, Report
from cyberlab.cli_check_watch import pause, watch
from cyberlab.problems import VM_STOPPED, Problem
from cyberlab.settings import load_for_check
from cyberlab.simulator.certificates import Certificates
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.state import classroom
from tests.cli.conftest import SERVER, Shell, environment
from tests.simulated_thread import running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clusters keep their keys."""
    return tmp_path_factory.mktemp("clusters")


@pytest.fixture
def clusters(folder: Path) -> Iterator[Path]:
    """Two clusters in one file: "west" is well, "east" has a skewed node, an offline one, and few sessions."""
    west = SimulatedCluster(
        folder / "west", qemu=False, state=classroom("west", 2, 4),
        addresses={"pve1": "127.0.0.31", "pve2": "127.0.0.32"},
    )  # fmt: skip
    state = classroom("east", 3, 6)
    names = list(state.nodes)
    state.nodes[names[1]].skew = 90.0
    state.nodes[names[2]].online = False
    east = SimulatedCluster(
        folder / "east", qemu=False, state=state, options=Options(max_sessions=4, max_startups=(1, 30, 100)),
        addresses=dict(zip(names, ("127.0.0.41", "127.0.0.42", "127.0.0.43"), strict=True)),
    )  # fmt: skip
    with running(west), running(east):
        file = folder / "clusters.toml"
        file.write_text(west.environment_toml() + "\n" + east.environment_toml())
        yield file


@pytest.fixture
def told(unmigrated: Shell, clusters: Path) -> dict[tuple[str, str, str], dict[str, object]]:
    """What --json says, by cluster, node and step."""
    unmigrated.monkeypatch.setenv("CLUSTERS_CONFIG", str(clusters))
    unmigrated.monkeypatch.setenv("CONSOLE_HANDSHAKE_TIMEOUT", "3")
    assert unmigrated.run("check", "--json") == 1
    return {(row["cluster"], row["node"], row["step"]): row for row in json.loads(unmigrated.out)}


def test_one_broken_node_leaves_the_others_verdicts(told: dict[tuple[str, str, str], dict[str, object]]) -> None:
    failed = {key[:2] for key, row in told.items() if row["state"] == "failed"}
    assert failed == {("east", "pve3")}
    assert told["east", "pve3", "SSH"]["problem"]["code"] == "ssh-refused"  # type: ignore[index]
    assert told["west", "pve2", "first pixels"]["state"] == "held"
    assert told["west", "pve1", "ticket"]["found"] == {"ticket_format": "new", "clock_skew": 0}
    assert told["west", "pve1", "sshd"]["found"] == {
        "max_sessions": 10, "max_startups": 10, "forced_command": False
    }  # fmt: skip
    assert told["west", "pve1", "sshd"]["warnings"] == []
    assert told["west", "pve1", "TLS"]["found"]["certificate_days"] > 700  # type: ignore[index]
    sessions, startups = told["east", "pve1", "sshd"]["warnings"]  # type: ignore[misc]
    assert sessions.startswith("MaxSessions is 4; ")
    assert startups.startswith("MaxStartups begins to refuse at 1 ")
    assert told["east", "pve1", "auth cookie"]["warnings"] == []
    (clock,) = told["east", "pve2", "auth cookie"]["warnings"]  # type: ignore[misc]
    assert re.match(r"the clock of pve2 is (8\d|9\d) s ahead of this machine's", clock)
    assert told["east", "pve1", "inventory"]["found"] == {"nodes": 3, "nodes_offline": ["pve3"]}


def test_people_read_it_by_cluster_and_node(unmigrated: Shell, clusters: Path) -> None:
    unmigrated.monkeypatch.setenv("CLUSTERS_CONFIG", str(clusters))
    assert unmigrated.run("check", "west/100") == 0
    headings = [line for line in unmigrated.out.splitlines() if re.match(r"west\b", line)]
    assert [line.split()[0] for line in headings] == ["west", "west/pve1", "west/pve2"]
    assert re.search(r"All 29 steps held at 2 nodes, in \d+ ms: consoles open\.", unmigrated.out)


def test_an_end_that_nobody_expected_is_that_nodes_alone(
    unmigrated: Shell, clusters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> list[Outcome]:
        raise ZeroDivisionError

    unmigrated.monkeypatch.setenv("CLUSTERS_CONFIG", str(clusters))
    monkeypatch.setattr(cli_check, "walk_through", breaks)
    kept = Kept()
    verdict = cli_check.look(load_for_check, ("west", 100), kept, "")
    assert verdict.status == 1
    assert [outcome.problem.code for outcome in verdict.outcomes if outcome.problem] == ["internal", "internal"]


def test_a_certificate_that_has_expired(tmp_path: Path, unmigrated: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyberlab.simulator import certificates

    made = certificates._builder
    monkeypatch.setattr(
        certificates, "_builder",
        lambda subject, issuer, key, now, days: made(
            subject, issuer, key, now - certificates.dt.timedelta(days=800 if days == 730 else 0), days
        ),
    )  # fmt: skip
    monkeypatch.setattr(Certificates, "_kept", staticmethod(lambda path, now: None))
    cluster = SimulatedCluster(tmp_path / "old", qemu=False, state=classroom("old", 1, 1))
    with running(cluster):
        for name, value in cluster.environment().items():
            unmigrated.monkeypatch.setenv(name, value)
        assert unmigrated.run("check", "--json") == 1
        step = next(row for row in json.loads(unmigrated.out) if row["step"] == "TLS")
    assert step["problem"]["code"] == "tls-mismatch"
    assert "expired" in step["problem"]["detail"]


class _Rounds:
    """Looks that are made up; the last one is ended by Ctrl-C."""

    def __init__(self, *rounds: list[Outcome]) -> None:
        self.rounds = list(rounds)

    def __call__(self, report: Report) -> Verdict:
        if not self.rounds:
            raise KeyboardInterrupt
        outcomes = self.rounds.pop(0)
        for outcome in outcomes:
            report.done(outcome)
        return Verdict(int(any(outcome.state == FAILED for outcome in outcomes)), outcomes)


GOOD = Outcome("west", "VM", HELD, 5, ("runs",), node="pve1")
STILL = Outcome("west", "VM", HELD, 7, ("runs still",), node="pve1")
BAD = Outcome("west", "VM", FAILED, 5, ("off",), problem=Problem(VM_STOPPED, "west/100 is stopped"), node="pve1")


def test_in_a_pipe_it_tells_changes_alone() -> None:
    out = io.StringIO()
    assert watch(_Rounds([GOOD], [STILL], [BAD], [BAD], [GOOD]), 0, as_json=False, out=out) == 0
    first, *changes = out.getvalue().splitlines()
    assert first.startswith("✓ VM")
    assert [line.partition(" ")[2] for line in changes] == [
        "west/pve1 VM: held → failed: This machine is switched off (vm-stopped: west/100 is stopped)",
        "west/pve1 VM: failed → held",
    ]


def test_as_json_each_change_is_a_line() -> None:
    out = io.StringIO()
    assert watch(_Rounds([GOOD], [STILL], [BAD]), 0, as_json=True, out=out) == 1
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["state"] for row in rows] == ["held", "failed"]
    assert all(row["at"] and row["node"] == "pve1" for row in rows)


def test_on_a_terminal_it_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    watch(_Rounds([GOOD], [BAD]), 0, as_json=False, out=out)
    assert out.getvalue().count("\x1b[H\x1b[2J") == 3
    assert "VM: held → failed" in out.getvalue()
    assert "Ctrl-C ends it" in out.getvalue()


def test_ctrl_c_ends_it_in_order(unmigrated: Shell, clusters: Path) -> None:
    unmigrated.monkeypatch.setenv("CLUSTERS_CONFIG", str(clusters))
    argv = [sys.executable, "-W", "error", SERVER, "check", "--watch", "--json", "west/100"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=Path(SERVER).parent
    ) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            rows = [json.loads(process.stdout.readline()) for _ in range(29)]
            os.kill(process.pid, signal.SIGINT)
            rest, errors = process.communicate()
        finally:
            killer.cancel()
            killer.join()
    assert {row["state"] for row in rows} == {"held"}
    assert (process.returncode, rest, errors) == (0, "", "")


def test_ctrl_c_that_another_thread_takes_ends_the_pause() -> None:
    """As one does that comes between Python's last look for signals and the system call that sleeps."""
    ended = threading.Event()
    in_time: list[bool] = []

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        in_time.append(ended.wait(20))

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    other = threading.Thread(target=press)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come as soon as this thread is deaf
            other.start()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            pause(60)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        ended.set()
        other.join()
    assert in_time == [True]


def test_a_pause_must_be_sensible(unmigrated: Shell) -> None:
    assert unmigrated.run("check", "--watch", "--every", "0") == 2
    assert "between 1 and 86400 seconds" in unmigrated.err
