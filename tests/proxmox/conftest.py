"""A real sshd, and pools that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab.proxmox.ssh import SshPool
from cyberlab.settings import ClusterSettings
from tests.proxmox.sshd import Sshd

MakePool = Callable[..., SshPool]
MakeSshd = Callable[..., Sshd]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in ClusterSettings.model_fields:
        monkeypatch.delenv(f"PROXMOX_{name}".upper(), raising=False)


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[MakeSshd]:
    """Starts servers; ``extra`` is added to the configuration."""
    made: list[Sshd] = []

    def make(**options: Any) -> Sshd:
        folder = tmp_path / f"sshd{len(made)}"
        folder.mkdir()
        made.append(Sshd(folder, **options))
        return made[-1].start()

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
    return make_pool(sshd.settings())
