"""What `check` tells of the certificate on port 8006: who signed it, how long it holds, whose it is."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from cyberlab.proxmox.answers import ConsoleTicket
from cyberlab.settings import ClusterSettings

_CLUSTERS_CA = "PVE Cluster Manager CA"  # the organization of a pve-root-ca.pem (PVE/Cluster/Setup.pm)
_SOON = 30  # days; Proxmox renews its own two weeks ahead: one that is nearer to its end than that was not


def described(
    der: bytes, ticket: ConsoleTicket, settings: ClusterSettings, found: dict[str, object]
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Lines for the admin, and warnings, about a certificate that has been accepted.

    ``ticket`` came from the node whose certificate this should be, and brought the cluster's CA along.
    ``found`` gets what programs may want to know.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:  # OpenSSL is more lenient
        return [f"accepted, but it cannot be read here: {error}"], []
    ends = certificate.not_valid_after_utc
    days = (ends - datetime.now(UTC)).days
    found |= {"certificate_days": days, "certificate_ends": f"{ends:%Y-%m-%d}"}
    lines = [
        f"signed by {_name(certificate.issuer)} ({_trust(certificate, ticket, settings)}), "
        f"valid until {ends:%Y-%m-%d}: {days} days left",
        f"SHA-256: {certificate.fingerprint(hashes.SHA256()).hex()}",
    ]
    warnings = []
    if settings.tls_insecure_skip_verify and not settings.tls_fingerprint:
        warnings.append("PROXMOX_TLS_INSECURE_SKIP_VERIFY is set: whoever answers there gets the cluster's cookie")
    if days < _SOON:
        warnings.append(f"it ends in {days} days: `pvecm updatecerts` on the node renews Proxmox's own")
    node = _node(certificate)
    if node and node != ticket.node_host:
        warnings.append(
            f"it is the certificate of {node}, but pvesh ran on {ticket.node_host}: PROXMOX_HOST and PROXMOX_SSH_HOST "
            "must be the same node"
        )
    return lines, warnings


def _trust(certificate: x509.Certificate, ticket: ConsoleTicket, settings: ClusterSettings) -> str:
    if settings.tls_fingerprint:
        return "pinned by PROXMOX_TLS_FINGERPRINT"
    if settings.tls_insecure_skip_verify:
        return "not verified"
    if settings.tls_ca_file is not None:
        return "verified with PROXMOX_TLS_CA_FILE or the system's CAs"
    if ticket.certificate and x509.load_pem_x509_certificate(ticket.certificate.encode()).subject == certificate.issuer:
        return "the cluster's own CA"
    return "a CA of this system"


def _name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(kind):
            return str(found[0].value)
    return name.rfc4514_string() or "nobody"


def _node(certificate: x509.Certificate) -> str:
    """The node that a certificate of the cluster's own CA was made for; one of another CA may have any name."""
    organizations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if not any(found.value == _CLUSTERS_CA for found in organizations):
        return ""
    return _name(certificate.subject).partition(".")[0]
