"""A real sshd, and pools that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab.proxmox.ssh import SshPool
from cyberlab.settings import ClusterSettings
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from tests.proxmox.replay import write_programs
from tests.sshd import Sshd

MakePool = Callable[..., SshPool]
MakeSshd = Callable[..., Sshd]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in ClusterSettings.model_fields:
        monkeypatch.delenv(f"PROXMOX_{name}".upper(), raising=False)


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[MakeSshd]:
    """Starts servers with pvesh and perl behind them; options as of Sshd."""
    made: list[Sshd] = []

    def make(*, host_keys: tuple[str, ...] = ("ed25519",), **options: Any) -> Sshd:
        folder = tmp_path / f"sshd{len(made)}"
        made.append(Sshd(folder, [write_programs(folder)], host_keys=host_keys, **options))
        made[-1].start()
        return made[-1]

    yield make
    for sshd in made:
        sshd.stop()


@pytest.fixture
def sshd(make_sshd: MakeSshd) -> Sshd:
    return make_sshd()


@pytest.fixture
def make_pool(io_loop: IOLoop) -> Iterator[MakePool]:
    """Makes pools of given settings."""
    made: list[SshPool] = []

    def make(settings: ClusterSettings) -> SshPool:
        made.append(SshPool(settings))
        return made[-1]

    yield make
    for pool in made:
        io_loop.run_sync(lambda pool=pool: _close(pool))


async def _close(pool: SshPool) -> None:
    pool.close()


@pytest.fixture
def pool(make_pool: MakePool, sshd: Sshd) -> SshPool:
    """One connection, eight channels."""
    return make_pool(sshd.cluster_settings())


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated cluster's, which take a second to make."""
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture
def node(io_loop: IOLoop, keys: Path) -> Iterator[SimulatedCluster]:
    options = Options(refusal_delay=0.0, stopped_close=0.0, patience=0.3)
    made = SimulatedCluster(keys, qemu=False, options=options)
    io_loop.run_sync(made.start)
    yield made
    io_loop.run_sync(made.close)
