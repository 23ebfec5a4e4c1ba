"""Whom the contexts trust, against real TLS servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.tls import NAME_MISMATCH, Trust, trust_of
from cyberlab.settings import ClusterSettings
from tests.proxmox.authority import Authority, Certificate


def settings(**changes: object) -> ClusterSettings:
    return ClusterSettings(_env_file=None, **({"host": "https://127.0.0.1:8006"} | changes))


@asynccontextmanager
async def served(certificate: Certificate) -> AsyncIterator[int]:
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.context()
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def handshake(certificate: Certificate, trust: Trust, name: str) -> None:
    """As asyncio connects, with the certificate having to be for ``name``."""
    async with served(certificate) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust.context, server_hostname=name)
        writer.close()
        await writer.wait_closed()


async def verify_code(certificate: Certificate, trust: Trust, name: str) -> int:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        await handshake(certificate, trust, name)
    return caught.value.verify_code


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.mark.gen_test
async def test_the_clusters_ca_as_it_came_over_ssh(authority: Authority) -> None:
    trust = trust_of(settings(), authority.pem, ["pve1"])
    assert trust.server_names == ("127.0.0.1", "pve1")
    await handshake(authority.issue("127.0.0.1"), trust, "127.0.0.1")
    await handshake(authority.issue("pve1"), trust, "pve1")


@pytest.mark.gen_test
async def test_a_wrong_name_is_told_from_a_wrong_ca(authority: Authority) -> None:
    """With the first, another name may be tried."""
    trust = trust_of(settings(), authority.pem, ["pve1"])
    assert await verify_code(authority.issue("pve2"), trust, "127.0.0.1") in NAME_MISMATCH
    assert await verify_code(authority.issue("pve2"), trust, "pve1") in NAME_MISMATCH
    assert await verify_code(Authority().issue("127.0.0.1"), trust, "127.0.0.1") not in NAME_MISMATCH


@pytest.mark.gen_test
async def test_nobody_without_a_ca(authority: Authority) -> None:
    trust = trust_of(settings(), "", [])
    assert await verify_code(authority.issue("127.0.0.1"), trust, "127.0.0.1") not in NAME_MISMATCH


@pytest.mark.gen_test
async def test_a_ca_of_an_older_cluster() -> None:
    """Without a key usage, which Python 3.13 asks for by default."""
    old = Authority(key_usage=False)
    await handshake(old.issue("127.0.0.1"), trust_of(settings(), old.pem, []), "127.0.0.1")


@pytest.mark.gen_test
async def test_a_ca_from_a_file(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(authority.pem)
    other = Authority()
    trust = trust_of(settings(tls_ca_file=path), other.pem, [])
    await handshake(authority.issue("127.0.0.1"), trust, "127.0.0.1")
    assert await verify_code(other.issue("127.0.0.1"), trust, "127.0.0.1"), "the file is what was asked for"


@pytest.mark.parametrize("pem", ["nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\u20ac"])
def test_a_ca_that_is_none(tmp_path: Path, pem: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(pem)
    for call in (lambda: trust_of(settings(), pem, []), lambda: trust_of(settings(tls_ca_file=path), "", [])):
        with pytest.raises(Problem) as caught:
            call()
        assert caught.value.code == problems.TLS_MISMATCH


def test_no_file_with_a_ca(tmp_path: Path) -> None:
    with pytest.raises(Problem):
        trust_of(settings(tls_ca_file=tmp_path / "none"), "", [])


@pytest.mark.parametrize("changes", [{}, {"tls_fingerprint": "ab" * 32}, {"tls_insecure_skip_verify": True}])
def test_old_protocols_are_off(changes: dict[str, object]) -> None:
    assert trust_of(settings(**changes), "", []).context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_verification_is_off_for_a_pin_or_the_setting_that_says_so() -> None:
    for changes in ({}, {"tls_ca_file": None}):
        context = trust_of(settings(**changes), "", ["pve1"]).context
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    pinned = trust_of(settings(tls_fingerprint="AB:" * 31 + "AB"), "", ["pve1"])
    assert pinned.fingerprint == "ab" * 32, "the dialler compares it"
    assert pinned.context.verify_mode == ssl.CERT_NONE
    assert trust_of(settings(tls_insecure_skip_verify=True), "", []).context.verify_mode == ssl.CERT_NONE


def test_names_are_tried_once_each() -> None:
    names = trust_of(settings(host="https://PVE1:8006"), "", ["PVE1", "pve2", "pve2"]).server_names
    assert names == ("pve1", "pve2")
