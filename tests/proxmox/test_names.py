"""Names: answered in time or not at all, and a name server that hangs costs one thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cyberlab.proxmox import names

REAL = socket.getaddrinfo


class Resolver:
    """The system's, which a test may hold up."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()

    def getaddrinfo(self, host: str, port: int, *, type: int, flags: int = 0) -> object:
        if flags & socket.AI_NUMERICHOST:
            return REAL(host, port, type=type, flags=flags)
        self.asked += 1
        assert self.answers.wait(20)
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.2", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(names.socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.answers.set()


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 22)),
        ("::1", socket.AF_INET6, ("::1", 22, 0, 0)),
    ],
)
def test_an_address_needs_no_name_server(
    resolver: Resolver, host: str, family: int, address: tuple[object, ...]
) -> None:
    assert names.resolve(host, 22, 0.0) == [(family, address)]
    assert resolver.asked == 0


def test_a_name(resolver: Resolver) -> None:
    resolver.answers.set()
    assert names.resolve("pve1.example", 22, 20.0) == [(socket.AF_INET, ("192.0.2.2", 22))]
    assert names.resolve("pve1.example", 8006, 20.0) == [(socket.AF_INET, ("192.0.2.2", 8006))]
    assert resolver.asked == 2


def test_a_name_that_is_none(resolver: Resolver) -> None:
    resolver.answers.set()
    with pytest.raises(socket.gaierror, match="not known"):
        names.resolve("nowhere.example", 22, 20.0)


def test_a_name_that_cannot_be_one() -> None:
    with pytest.raises(OSError, match="label"):
        names.resolve("x" * 64 + ".example", 22, 20.0)


def test_a_name_server_that_hangs_costs_one_thread(resolver: Resolver) -> None:
    before = set(threading.enumerate())
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(names.resolve, "pve1.example", 22, 0.2) for _ in range(10)]
        for answer in waiting:
            with pytest.raises(TimeoutError):
                answer.result()
    assert resolver.asked == 1
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon, "nor does it hold up our own end"
    with ThreadPoolExecutor(2) as pool:
        late = [pool.submit(names.resolve, "pve1.example", 22, 20.0) for _ in range(2)]
        resolver.answers.set()
        assert {answer.result()[0][1] for answer in late} == {("192.0.2.2", 22)}
    thread.join()
    assert names.resolve("pve1.example", 22, 20.0)
    assert resolver.asked >= 2, "an old answer is not kept"
