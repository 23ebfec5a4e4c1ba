"""Keys and certificates of the simulated node, made once and kept in its state directory.

As in Proxmox: a cluster CA (pve-root-ca.pem) signs the node's certificate (pve-ssl.pem); authkey.key signs tickets.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cyberlab.simulator.tickets import new_key

Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
LOOPBACK = ("127.0.0.1", "::1")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    scratch.replace(path)


def rsa_key(path: Path) -> rsa.RSAPrivateKey:
    """The RSA key in that file, made when it is missing."""
    if not path.exists():
        write_private(path, _pem(new_key(), serialization.PrivateFormat.PKCS8))
    # We wrote it ourselves: the check of its primes would take longer than all the rest of a start.
    key = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def ed25519_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """The Ed25519 key in that file, in OpenSSH's format, made when it is missing."""
    if not path.exists():
        write_private(path, _pem(ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.OpenSSH))
    key = serialization.load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key


def public_line(key: ed25519.Ed25519PrivateKey) -> str:
    """``ssh-ed25519 AAAA…``, as in known_hosts and authorized_keys."""
    formats = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(*formats).decode()


def _pem(key: Key, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class Certificates:
    """The cluster's CA and one node's certificate."""

    def __init__(self, folder: Path, node: str, addresses: Sequence[str], own: Path) -> None:
        """``folder``: the cluster's; ``own``: where the node's is kept."""
        own.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "pve-root-ca.pem"
        self.node_file = own / "pve-ssl.pem"
        self.node_key_file = own / "pve-ssl.key"
        self._make(folder, node, (*LOOPBACK, *(address for address in addresses if address not in LOOPBACK)))
        self.ca_pem = self.ca_file.read_text()
        self._ca = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        self._node = x509.load_pem_x509_certificate(self.node_file.read_bytes())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the node's certificate, in colons."""
        return self._node.fingerprint(hashes.SHA256()).hex(":").upper()

    def _make(self, folder: Path, name: str, addresses: Sequence[str]) -> None:
        now = dt.datetime.now(dt.UTC)
        ca = self._kept(self.ca_file, now)
        node = self._kept(self.node_file, now) if ca is not None and self.node_key_file.exists() else None
        if ca is not None and node is not None and _fits(node, ca, name, addresses):
            return
        ca_key, node_key = rsa_key(folder / "pve-root-ca.key"), rsa_key(self.node_key_file)
        if ca is None:
            ca = _ca_certificate(ca_key, now)
            write_private(self.ca_file, ca.public_bytes(serialization.Encoding.PEM))
        node = _node_certificate(node_key, ca_key, ca, now, name, addresses)
        write_private(self.node_file, node.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _kept(path: Path, now: dt.datetime) -> x509.Certificate | None:
        """The certificate in that file if it holds for another day."""
        if not path.exists():
            return None
        found = x509.load_pem_x509_certificate(path.read_bytes())
        return found if found.not_valid_after_utc > now + dt.timedelta(days=1) else None

    def describe(self) -> list[dict[str, object]]:
        """What /nodes/N/certificates/info answers."""
        return [_facts("pve-root-ca.pem", self._ca), _facts("pve-ssl.pem", self._node)]


def _fits(node: x509.Certificate, ca: x509.Certificate, name: str, addresses: Sequence[str]) -> bool:
    """Whether a kept certificate is this node's, by this CA."""
    try:
        node.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    names = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return name in names.get_values_for_type(x509.DNSName) and known == set(addresses)


def _ca_certificate(key: rsa.RSAPrivateKey, now: dt.datetime) -> x509.Certificate:
    name = _name(
        (NameOID.COMMON_NAME, "Proxmox Virtual Environment"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "09086fe5-a858-413a-bdb8-28edc415c550"),
        (NameOID.ORGANIZATION_NAME, "PVE Cluster Manager CA"),
    )
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return (
        _builder(name, name, key, now, 3650)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(usage, False)
        .sign(key, hashes.SHA256())
    )


def _node_certificate(
    key: rsa.RSAPrivateKey,
    ca_key: rsa.RSAPrivateKey,
    ca: x509.Certificate,
    now: dt.datetime,
    node: str,
    addresses: Sequence[str],
) -> x509.Certificate:
    name = _name(
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "PVE Cluster Node"),
        (NameOID.ORGANIZATION_NAME, "Proxmox Virtual Environment"),
        (NameOID.COMMON_NAME, node),
    )
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    names += [x509.DNSName("localhost"), x509.DNSName(node)]
    return (
        _builder(name, ca.subject, key, now, 730)
        .add_extension(x509.BasicConstraints(False, None), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )


def _name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _facts(filename: str, certificate: x509.Certificate) -> dict[str, object]:
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives: list[str] = []
    else:
        alternatives = [str(address.exploded) for address in names.get_values_for_type(x509.IPAddress)]
        alternatives += names.get_values_for_type(x509.DNSName)
    return {
        "filename": filename,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        "issuer": _path(certificate.issuer),
        "notafter": int(certificate.not_valid_after_utc.timestamp()),
        "notbefore": int(certificate.not_valid_before_utc.timestamp()),
        "pem": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "public-key-bits": key.key_size,
        "public-key-type": "rsaEncryption",
        "san": alternatives,
        "subject": _path(certificate.subject),
    }


def _path(name: x509.Name) -> str:
    return "".join("/" + attribute.rfc4514_string({}) for attribute in name)
