"""A running cluster for each test, all with the same keys, which take a second to make."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options

MakeCluster = Callable[..., Awaitable[SimulatedCluster]]


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture
def make_cluster(io_loop: IOLoop, state_dir: Path) -> Iterator[MakeCluster]:
    """Starts clusters; 401s come at once unless a test asks otherwise."""
    made = []

    async def make(**settings: Any) -> SimulatedCluster:
        settings.setdefault("qemu", False)
        settings.setdefault("options", Options(refusal_delay=0.0, stopped_close=0.0, patience=0.3))
        cluster = SimulatedCluster(state_dir, **settings)
        made.append(cluster)
        await cluster.start()
        return cluster

    yield make
    for cluster in made:
        io_loop.run_sync(cluster.close)


@pytest.fixture
def cluster(io_loop: IOLoop, make_cluster: MakeCluster) -> SimulatedCluster:
    return io_loop.run_sync(make_cluster)
