"""`make bench`: the gateway beside six other ways to carry a console, in one run on one machine.

    .venv/bin/python bench/run.py [--quick] [--only gateway,haproxy] [--repeat N] [--report | --no-report]

Each contender has one core to itself, the load generator (both ends) another. All stay up; measurement by measurement
each has its turn, so that what drifts on a shared machine drifts for all. Figures go to var/bench/result.json; a full
run of all contenders also writes docs/performance.md and its plots.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import ssl
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report
from contenders import KINDS, Contender, Kind, Missing, Place, venv_python
from driver import Load, LoadError, Window, build, make_certificate

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "bench"
KIB, MB, GB = 1024, 1e6, 1e9
CONSOLES = 51  # open at every contender throughout
IDLE_GROUP, DIRECT_GROUP = 14, 15
_FILES = 65_536

BULK = {"16k1": (16_384, 1), "16k50": (16_384, 50), "1k1": (1024, 1), "1k50": (1024, 50)}
FAIR = {"paced": 10 * MB, "unlimited": 0.0}


@dataclass(frozen=True)
class Pace:
    """How long everything takes."""

    window: float = 2.0  # seconds of a measurement
    fair_window: float = 3.0
    warm: float = 0.4
    repeat: int = 3
    idle: int = 1000
    many: int = 5000
    quiet: float = 30.0  # seconds over which the many are left alone


QUICK = Pace(window=0.7, fair_window=1.0, warm=0.25, repeat=1, idle=300, many=1000, quiet=10.0)


@dataclass
class Bench:
    """One run: what is up, and what was found so far."""

    load: Load
    ca_file: Path
    pace: Pace
    cores: tuple[int, int]
    running: dict[str, Contender] = field(default_factory=dict)
    found: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)  # streams that arrived with bytes missing

    def place(self, name: str, machines: int = 64) -> Place:
        directory = STATE / "run" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return Place(directory, self.cores[0], self.load.websocket, self.load.raw, self.ca_file, machines)

    def note(self, name: str, measurement: str, **figures: float) -> None:
        """Keep one round's figures."""
        self.found.setdefault(name, {}).setdefault(measurement, []).append(figures)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        print(f"  {measurement:<10} {name:<11} {shown}", flush=True)

    def start(self, names: list[str]) -> None:
        """Bring the contenders up with their consoles open; those that are missing are named and left out."""
        for group, name in enumerate(names):
            try:
                self.running[name] = KINDS[name].start(self.place(name))
            except Missing as missing:
                print(f"  left out: {missing}", flush=True)
                continue
            self.load.open(group, self.running[name], CONSOLES)

    def stop(self) -> None:
        for contender in self.running.values():
            contender.stop()
        self.running.clear()

    def measure(self, name: str, group: int, **arguments: Any) -> Window:
        """One measurement; consoles that could not be emptied afterwards are opened anew."""
        contender = self.running[name]
        window = self.load.run(group, contender.cpu, warm=self.pace.warm, **arguments)
        if window.result["broken"]:
            # A defect, not a matter of speed: Flask-Sock's library forgets what a full socket did not take.
            self.broken[name] = self.broken.get(name, 0) + int(window.result["broken"])
            if name == "gateway":
                raise LoadError(f"the gateway broke {window.result['broken']} streams")
        if window.result["lost"]:
            self.load.close_group(group)
            self.load.open(group, contender, CONSOLES)
        return window


def rounds(bench: Bench) -> list[list[tuple[int, str]]]:
    """Every round's order: each begins with another contender, so that being first or last is nobody's lot."""
    names = list(enumerate(bench.running))
    return [names[turn % len(names) :] + names[: turn % len(names)] for turn in range(bench.pace.repeat)]


def bulk(bench: Bench) -> None:
    """Streams without limit: bytes a second, and CPU seconds per gigabyte."""
    for measurement, (frame, streams) in BULK.items():
        for order in rounds(bench):
            for group, name in order:
                window = bench.measure(name, group, streams=streams, frame=frame, seconds=bench.pace.window)
                rate = window.result["bytes_s"]
                bench.note(
                    name, measurement, mb_s=rate / MB, cpu_gb=window.cpu / rate * GB if rate else float("nan"),
                    cpu=window.cpu, load_cpu=window.load_cpu,
                )  # fmt: skip


def keystrokes(bench: Bench) -> None:
    """Typists who press the next key as soon as the last one shows: CPU per keystroke, and the wait."""
    for typists in (1, 50):
        for order in rounds(bench):
            for group, name in order:
                window = bench.measure(name, group, keys=typists, seconds=bench.pace.window)
                rate = window.result["keys"] / window.result["seconds"]
                bench.note(
                    name, f"keys{typists}", cpu_us=window.cpu / rate * 1e6 if rate else float("nan"), keys_s=rate,
                    p50_ms=window.result["p50_us"] / 1e3, p99_ms=window.result["p99_us"] / 1e3,
                )  # fmt: skip


def fairness(bench: Bench) -> None:
    """One typist beside twenty streams, paced and not."""
    streams = 20
    for measurement, rate in FAIR.items():
        for order in rounds(bench):
            for group, name in order:
                window = bench.measure(
                    name, group, keys=1, gap=1000, streams=streams, frame=16_384, rate=rate,
                    seconds=bench.pace.fair_window,
                )  # fmt: skip
                result = window.result
                starved = result["keys"] == 0
                bench.note(
                    name, measurement,
                    p50_ms=float("inf") if starved else result["p50_us"] / 1e3,
                    p99_ms=float("inf") if starved else result["p99_us"] / 1e3,
                    mb_s=result["bytes_s"] / MB,
                    slowest=result["slowest"] * streams / result["bytes_s"] if result["bytes_s"] else 0.0,
                    keys=result["keys"],
                )  # fmt: skip


def idle(bench: Bench, names: list[str]) -> None:
    """A fresh instance of each opens many consoles, then leaves them alone."""
    for name in names:
        if name not in bench.running:
            continue
        kind = KINDS[name]
        count = min(bench.pace.idle, kind.idle)
        contender = kind.start(bench.place(f"{name}-idle", machines=count))
        try:
            settle(bench, contender)
            before, cpu = contender.memory(), contender.cpu()
            opening = bench.load.open(IDLE_GROUP, contender, count)
            cpu = contender.cpu() - cpu
            time.sleep(2.0)
            after = contender.memory()
            quiet = bench.load.run(IDLE_GROUP, contender.cpu, seconds=3, warm=0)
            picture = bench.load.run(
                IDLE_GROUP, contender.cpu, streams=count, frame=16_384, rate=0.2 * MB, seconds=1, warm=0.1
            )
            time.sleep(2.0)
            drawn = contender.memory()
            bench.note(
                name, "idle", consoles=count, rss_kib=(after["rss"] - before["rss"]) / count / KIB,
                pss_kib=(after["pss"] - before["pss"]) / count / KIB,
                drawn_kib=(drawn["pss"] - before["pss"]) / count / KIB,
                openings_s=count / opening["seconds"], opening_cpu_ms=cpu / count * 1e3,
                opening_p50_ms=opening["p50_us"] / 1e3, quiet_cpu=quiet.cpu * 100,
                lost=quiet.result["lost"] + picture.result["lost"],
            )  # fmt: skip
            bench.load.close_group(IDLE_GROUP)
        finally:
            contender.stop()


def settle(bench: Bench, contender: Contender) -> None:
    """Whatever is loaded or allocated once, at the first consoles, is no console's memory."""
    bench.load.open(IDLE_GROUP, contender, 20)
    bench.load.run(IDLE_GROUP, contender.cpu, streams=20, frame=16_384, rate=1 * MB, seconds=0.3, warm=0.1)
    bench.load.close_group(IDLE_GROUP)
    time.sleep(0.5)


def many(bench: Bench) -> None:
    """Thousands of idle consoles in one gateway."""
    count = bench.pace.many
    contender = KINDS["gateway"].start(bench.place("gateway-many", machines=count))
    try:
        settle(bench, contender)
        before = contender.memory()
        opened, opening_cpu, seconds = 0, contender.cpu(), 0.0
        while opened < count:
            seconds += bench.load.open(IDLE_GROUP, contender, min(1000, count - opened))["seconds"]
            opened = min(opened + 1000, count)
        opening_cpu = contender.cpu() - opening_cpu
        time.sleep(3.0)
        quiet = bench.load.run(IDLE_GROUP, contender.cpu, seconds=bench.pace.quiet, warm=0)
        after = contender.memory()
        bench.note(
            "gateway", "many", consoles=count, quiet_cpu=quiet.cpu * 100, lost=quiet.result["lost"],
            pss_kib=(after["pss"] - before["pss"]) / count / KIB, openings_s=count / seconds,
            opening_cpu_ms=opening_cpu / count * 1e3,
        )  # fmt: skip
        bench.load.close_group(IDLE_GROUP)
    finally:
        contender.stop()


def direct(bench: Bench) -> None:
    """No proxy: both ends of the load generator, encrypting and decrypting, on its one core."""
    bench.load.open_directly(DIRECT_GROUP, CONSOLES)
    for measurement, (frame, streams) in BULK.items():
        window = bench.load.run(DIRECT_GROUP, lambda: 0.0, streams=streams, frame=frame, seconds=bench.pace.window)
        bench.note("direct", measurement, mb_s=window.result["bytes_s"] / MB)
    window = bench.load.run(DIRECT_GROUP, lambda: 0.0, keys=1, seconds=bench.pace.window)
    bench.note("direct", "keys1", p50_ms=window.result["p50_us"] / 1e3, p99_ms=window.result["p99_us"] / 1e3)
    bench.load.close_group(DIRECT_GROUP)


def summary(found: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, Any]:
    """The medians over the rounds, and the median of each round's ratio of the gateway to HAProxy."""
    medians = {
        name: {
            measurement: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
            for measurement, turns in measurements.items()
        }
        for name, measurements in found.items()
    }
    ratios: dict[str, dict[str, float]] = {}
    for measurement, turns in found.get("gateway", {}).items():
        others = found.get("haproxy", {}).get(measurement, [])
        if len(others) == len(turns):
            ratios[measurement] = {
                key: statistics.median(ours[key] / theirs[key] for ours, theirs in zip(turns, others, strict=True))
                for key in turns[0]
                if all(theirs[key] for theirs in others)
            }
    return {"medians": medians, "ratios": ratios}


def make_venv() -> None:
    """The contenders' own environment, made anew when bench/requirements.txt has changed."""
    wanted = (ROOT / "bench" / "requirements.txt").read_text()
    stamp = STATE / "venv" / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(STATE / "venv", with_pip=True, clear=True)
    pip = [venv_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-r", str(ROOT / "bench" / "requirements.txt")], capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"pip could not install bench/requirements.txt:\n{done.stderr}")
    stamp.write_text(wanted)


def machine() -> dict[str, str]:
    """What the figures were measured on; nothing that names the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    model = next(names, platform.machine())
    versions = {
        "processor": model,
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
    }
    for name in ("tornado", "aiofastnet"):
        versions[name] = __import__(name).version if name == "tornado" else __import__(name).__version__
    for name, kind in KINDS.items():
        if kind.version:
            versions[name] = program_version(kind)
    for line in (ROOT / "bench" / "requirements.txt").read_text().splitlines():
        package, _, version = line.partition("#")[0].strip().partition("==")
        if version:
            versions[package] = version
    return versions


def program_version(kind: Kind) -> str:
    try:
        done = subprocess.run(kind.version, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "not installed"
    words = (done.stdout + done.stderr).replace("/", " ").split()
    return next((word.lstrip("v").partition("-")[0] for word in words if word.lstrip("v")[:1].isdigit()), "?")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the console gateway beside other proxies.")
    parser.add_argument("--quick", action="store_true", help="rough figures in under four minutes")
    parser.add_argument("--only", default=",".join(KINDS), help=f"some of {','.join(KINDS)}")
    parser.add_argument("--phases", default="bulk,keys,fair,idle,many", help="some of bulk,keys,fair,idle,many")
    parser.add_argument("--repeat", type=int, help="rounds; the medians count")
    parser.add_argument("--no-report", action="store_true", help="leave docs/performance.md as it is")
    parser.add_argument("--report", action="store_true", help="write docs/performance.md from whatever was measured")
    chosen = parser.parse_args()
    chosen.names = chosen.only.split(",")
    if unknown := set(chosen.names) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return chosen


def raise_limits() -> None:
    """Thousands of consoles are tens of thousands of descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, max(hard, _FILES)))
    except (ValueError, OSError):
        # As far as it goes without root's leave.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    chosen = arguments()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("the benchmark needs two cores: one for the contender, one for the load", file=sys.stderr)
        return 1
    STATE.mkdir(parents=True, exist_ok=True)
    raise_limits()
    try:
        make_venv()
        program = build(STATE)
    except LoadError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    ca_file, certificate, key = make_certificate(STATE)
    pace = QUICK if chosen.quick else Pace()
    if chosen.repeat:
        pace = Pace(**{**pace.__dict__, "repeat": chosen.repeat})
    os.sched_setaffinity(0, {cores[1]})  # this process and the load generator
    bench = Bench(Load(program, certificate, key), ca_file, pace, (cores[0], cores[1]))
    phases = chosen.phases.split(",")
    began = time.monotonic()
    try:
        direct(bench)
        bench.start(chosen.names)
        if "bulk" in phases:
            bulk(bench)
        if "keys" in phases:
            keystrokes(bench)
        if "fair" in phases:
            fairness(bench)
        if "idle" in phases:
            idle(bench, chosen.names)
        if "many" in phases and "gateway" in chosen.names:
            many(bench)
    except (LoadError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        bench.load.stop()  # first: some say goodbye in ways that it does not forgive
        bench.stop()
    result = {**summary(bench.found), "machine": machine(), "pace": pace.__dict__, "broken": bench.broken}
    result["rounds"] = bench.found
    (STATE / "result.json").write_text(json.dumps(result, indent=1))
    print(f"{time.monotonic() - began:.0f} s; figures in var/bench/result.json")
    whole = set(chosen.names) == set(KINDS) and set(phases) == {"bulk", "keys", "fair", "idle", "many"}
    report.show(result)
    if chosen.report or (whole and not chosen.quick and not chosen.no_report):
        report.write(result, ROOT / "docs")
        print("docs/performance.md is written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
