"""What `check` tells of a certificate."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cyberlab.cli_check_certificate import described
from cyberlab.proxmox.cluster import ConsoleTicket
from cyberlab.settings import ClusterSettings

KEY = ec.generate_private_key(ec.SECP256R1())
CLUSTERS = {NameOID.COMMON_NAME: "Proxmox Virtual Environment", NameOID.ORGANIZATION_NAME: "PVE Cluster Manager CA"}
NODE = {NameOID.COMMON_NAME: "pve1.example.edu"}


def _name(parts: dict[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _certificate(
    issuer: dict[x509.ObjectIdentifier, str], subject: dict[x509.ObjectIdentifier, str], days: float = 700
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(_name(issuer))
        .subject_name(_name(subject))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days, minutes=1))
        .sign(KEY, hashes.SHA256())
    )


def _described(certificate: x509.Certificate, node: str = "pve1", **settings: Any) -> tuple[list[str], list[str]]:
    ca = _certificate(CLUSTERS, CLUSTERS).public_bytes(Encoding.PEM).decode()
    ticket = ConsoleTicket(node, 5900, "ticket", "password", "root@pam", ca)
    return described(
        certificate.public_bytes(Encoding.DER), ticket, ClusterSettings(_env_file=None, **settings), {}  # type: ignore[call-arg]
    )  # fmt: skip


def test_proxmoxs_own() -> None:
    certificate = _certificate(CLUSTERS, NODE)
    until = certificate.not_valid_after_utc.date()
    assert _described(certificate) == (
        [
            f"signed by Proxmox Virtual Environment (the cluster's own CA), valid until {until}: 700 days left",
            f"SHA-256: {certificate.fingerprint(hashes.SHA256()).hex()}",
        ],
        [],
    )


def test_of_a_public_ca() -> None:
    """Its name need not be the node's."""
    certificate = _certificate({NameOID.ORGANIZATION_NAME: "Let's Encrypt"}, {NameOID.COMMON_NAME: "lab.example.edu"})
    lines, warnings = _described(certificate)
    assert lines[0].startswith("signed by Let's Encrypt (a CA of this system), ")
    assert warnings == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tls_fingerprint": "0" * 64}, "pinned by PROXMOX_TLS_FINGERPRINT"),
        ({"tls_ca_file": Path("ca.pem")}, "PROXMOX_TLS_CA_FILE"),
        ({"tls_insecure_skip_verify": True}, "not verified"),
        ({"tls_fingerprint": "0" * 64, "tls_insecure_skip_verify": True}, "pinned by"),
    ],
)
def test_why_it_was_accepted(settings: dict[str, Any], words: str) -> None:
    lines, warnings = _described(_certificate({}, NODE), **settings)
    assert f"signed by nobody ({words}" in lines[0] or f"{words} or" in lines[0]
    assert bool(warnings) == (words == "not verified")


def test_it_ends_soon() -> None:
    assert _described(_certificate(CLUSTERS, NODE, days=30))[1] == []
    lines, warnings = _described(_certificate(CLUSTERS, NODE, days=29))
    assert lines[0].endswith(": 29 days left")
    assert warnings == ["it ends in 29 days: `pvecm updatecerts` on the node renews Proxmox's own"]


def test_one_that_only_openssl_reads() -> None:
    ticket = ConsoleTicket("pve1", 5900, "ticket", "password", "root@pam", "")
    lines, warnings = described(b"0", ticket, ClusterSettings(_env_file=None), {})  # type: ignore[call-arg]
    assert lines[0].startswith("accepted, but it cannot be read here: ")
    assert warnings == []


def test_of_another_node() -> None:
    _, warnings = _described(_certificate(CLUSTERS, NODE), node="pve2")
    assert len(warnings) == 1
    assert "it is the certificate of pve1, but pvesh ran on pve2" in warnings[0]
