"""Connections to a real sshd: whose it is, and who we are."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import dial
from cyberlab.proxmox.dial import connect, end
from cyberlab.settings import ClusterSettings
from tests.proxmox.conftest import MakeSshd
from tests.sshd import DEADLINE, Sshd, free_port, make_key, public_line


def refusal(settings: ClusterSettings, timeout: float = DEADLINE) -> Problem:
    """The problem; whatever the attempt started has ended with it."""
    before = set(threading.enumerate())
    with pytest.raises(Problem) as caught:
        connect(settings, timeout)
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(0.5)  # the timer of a broken handshake: told to end, and paramiko lets nobody wait for it
    assert not any(thread.is_alive() for thread in left)
    return caught.value


def connects(settings: ClusterSettings) -> None:
    before = set(threading.enumerate())
    transport = connect(settings, DEADLINE)
    assert transport.is_authenticated()
    end(transport)
    assert set(threading.enumerate()) == before


def test_a_known_host(sshd: Sshd) -> None:
    transport = connect(sshd.cluster_settings(), DEADLINE)
    try:
        assert transport.is_authenticated()
        assert isinstance(transport.sock, socket.socket)
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "44 ms a command without it"
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), "hosts vanish without a word"
    finally:
        end(transport)


def test_a_pinned_host(sshd: Sshd) -> None:
    for pin in (sshd.fingerprint(), sshd.host_key()):
        connects(sshd.cluster_settings(ssh_host_key=pin, ssh_known_hosts=None))


def test_another_host_key(sshd: Sshd, tmp_path: Path) -> None:
    """Nobody is authenticated to, and nothing is learnt."""
    other = public_line(make_key(tmp_path / "other"))
    known = f"{sshd.name} {other}\n"
    sshd.known_hosts.write_text(known)
    problem = refusal(sshd.cluster_settings())
    assert problem.code == problems.SSH_HOST_KEY
    assert sshd.fingerprint() in problem.detail
    assert sshd.known_hosts.read_text() == known
    assert refusal(sshd.cluster_settings(ssh_host_key=other)).code == problems.SSH_HOST_KEY
    assert "Accepted" not in (sshd.folder / "log").read_text()


def test_an_unknown_host(sshd: Sshd) -> None:
    sshd.known_hosts.write_text(f"[127.0.0.1]:1 {sshd.host_key()}\n")
    assert refusal(sshd.cluster_settings()).code == problems.SSH_HOST_KEY
    assert sshd.known_hosts.read_text().count("\n") == 1


def test_a_host_with_several_keys_shows_the_one_that_is_known(make_sshd: MakeSshd) -> None:
    """It would show its Ed25519 key first."""
    sshd = make_sshd(host_keys=("ed25519", "rsa"))
    sshd.known_hosts.write_text(f"{sshd.name} {sshd.host_key('rsa')}\n")
    connects(sshd.cluster_settings())
    connects(sshd.cluster_settings(ssh_host_key=sshd.host_key("rsa")))


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_pin_of_either_key_of_a_host_with_two(make_sshd: MakeSshd, kind: str) -> None:
    """A fingerprint does not tell of what kind its key is, and the host shows one key only."""
    sshd = make_sshd(host_keys=("ed25519", "rsa"))
    connects(sshd.cluster_settings(ssh_host_key=sshd.fingerprint(kind), ssh_known_hosts=None))
    problem = refusal(sshd.cluster_settings(ssh_host_key="SHA256:" + "A" * 43))
    assert problem.code == problems.SSH_HOST_KEY
    assert sshd.fingerprint() in problem.detail, "the one that it shows of itself"


@pytest.mark.parametrize("hashed", [False, True])
def test_what_ssh_keyscan_says(make_sshd: MakeSshd, hashed: bool) -> None:
    """The documentation tells admins to make the file so."""
    sshd = make_sshd(host_keys=("ed25519", "rsa"))
    words = ["ssh-keyscan", *(["-H"] if hashed else []), "-p", str(sshd.port), "127.0.0.1"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert said.count("|1|") == (2 if hashed else 0)
    sshd.known_hosts.write_text(said)
    connects(sshd.cluster_settings())
    sshd.known_hosts.write_text(said.replace(sshd.host_key(), sshd.host_key().replace("A", "B")))
    connects(sshd.cluster_settings())  # by the other key
    sshd.known_hosts.write_text("\n".join(line for line in said.splitlines() if "ssh-rsa" not in line))
    connects(sshd.cluster_settings())


def test_a_host_without_the_kind_of_key_that_is_known(sshd: Sshd, tmp_path: Path) -> None:
    sshd.known_hosts.write_text(f"{sshd.name} {public_line(make_key(tmp_path / 'rsa', 'rsa'))}\n")
    assert refusal(sshd.cluster_settings()).code == problems.SSH_HOST_KEY


def test_a_key_that_the_host_does_not_accept(sshd: Sshd, tmp_path: Path) -> None:
    problem = refusal(sshd.cluster_settings(ssh_key_path=make_key(tmp_path / "wrong")))
    assert problem.code == problems.SSH_AUTH


def test_a_host_that_wants_more_than_the_key(make_sshd: MakeSshd) -> None:
    sshd = make_sshd(extra="KbdInteractiveAuthentication yes\nAuthenticationMethods publickey,publickey")
    assert refusal(sshd.cluster_settings()).code == problems.SSH_AUTH


def test_keys_that_cannot_be_used(sshd: Sshd, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text("no key at all")
    encrypted = make_key(tmp_path / "encrypted", password=b"secret")
    for path in (tmp_path / "none", garbage, encrypted, tmp_path, None):
        assert refusal(sshd.cluster_settings(ssh_key_path=path)).code == problems.SSH_AUTH, path


def test_an_rsa_key(sshd: Sshd, tmp_path: Path) -> None:
    path = make_key(tmp_path / "rsa", "rsa")
    (sshd.folder / "authorized_keys").write_text(public_line(path))
    connects(sshd.cluster_settings(ssh_key_path=path))


def test_nobody_listens(sshd: Sshd) -> None:
    port = free_port()
    problem = refusal(sshd.cluster_settings(ssh_port=port, ssh_host_key=sshd.fingerprint()))
    assert problem.code == problems.SSH_REFUSED
    assert f"127.0.0.1:{port}" in problem.detail


@pytest.mark.parametrize("host", ["", "no such host", "x" * 70 + ".example", "127.0.0.1.nowhere.invalid"])
def test_no_such_host(sshd: Sshd, host: str) -> None:
    assert refusal(sshd.cluster_settings(ssh_host=host, ssh_host_key=sshd.fingerprint())).code == problems.SSH_REFUSED


def test_the_second_address_of_a_name(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name has an IPv6 address too, as a rule, and sshd may listen on the other one only."""
    found = [(socket.AF_INET, ("127.0.0.1", free_port())), (socket.AF_INET, ("127.0.0.1", sshd.port))]
    monkeypatch.setattr(dial, "resolve", lambda host, port, timeout: found)
    connects(sshd.cluster_settings())
    found.pop()
    assert refusal(sshd.cluster_settings()).code == problems.SSH_REFUSED
    found.clear()
    assert refusal(sshd.cluster_settings()).code == problems.SSH_REFUSED


def test_a_name_server_that_hangs(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolve(host: str, port: int, timeout: float) -> object:
        asked.append(timeout)
        raise TimeoutError(f"no answer about {host}")

    monkeypatch.setattr(dial, "resolve", resolve)
    problem = refusal(sshd.cluster_settings(), timeout=3.0)
    assert (problem.code, "no answer about 127.0.0.1" in problem.detail) == (problems.SSH_REFUSED, True)
    assert asked[0] <= 3.0


SILENCE = b""


@pytest.fixture
def rude_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Says what the test's parameter holds, and nothing more."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as sock:
                sock.sendall(request.param)
                done.wait(DEADLINE)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        done.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)


@pytest.mark.parametrize(
    "rude_port",
    [
        SILENCE,
        b"HTTP/1.1 400 Bad Request\r\n" * 200,
        b"SSH-2.0-x\r\n" + b"\xff" * 100,
        b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14" + b"\0" * 10,
        b"SSH-1.0-old\r\n",
    ],
    ids=["silence", "http", "garbage", "empty kexinit", "version 1"],
    indirect=True,
)
def test_something_else_listens(
    sshd: Sshd, rude_port: int, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = sshd.cluster_settings(ssh_port=rude_port, ssh_host_key=sshd.fingerprint())
    silent = request.node.callspec.params["rude_port"] == SILENCE
    assert refusal(settings, timeout=0.5 if silent else DEADLINE).code == problems.SSH_REFUSED
    assert not caplog.records, "a Problem says it all: no traceback of paramiko's beside it"
