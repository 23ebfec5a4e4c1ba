"""Whom we trust on port 8006: the cluster's own CA, the system's, or one pinned certificate; never just anybody."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.settings import ClusterSettings


@dataclass(frozen=True, slots=True)
class Trust:
    """What a connection to the API is verified against."""

    context: ssl.SSLContext = field(repr=False)
    server_names: tuple[str, ...]  # the certificate must be for one of these; tried in order
    fingerprint: str = ""  # SHA-256 of the certificate, lower-case hex; the dialler compares before it sends


def trust_of(settings: ClusterSettings, ca_pem: str, node: str) -> Trust:
    """What to trust for one cluster; raise Problem(TLS_MISMATCH) for certificates that cannot be read.

    ``ca_pem``: the cluster's CA as it came over SSH, whose host key has been verified. ``node``: the name of the node
    that answers there; Proxmox's own certificates are made for it, not for whatever address we were given.
    """
    host = urlsplit(settings.host).hostname or ""
    if settings.tls_fingerprint or settings.tls_insecure_skip_verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the pin is the verification; without one, the setting said so
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return Trust(context, (host,), settings.tls_fingerprint)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 asks for extensions that the certificates of older clusters lack.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    try:
        if settings.tls_ca_file is not None:
            context.load_verify_locations(cafile=settings.tls_ca_file)
        elif ca_pem:
            context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, OSError) as error:
        raise Problem(problems.TLS_MISMATCH, f"the CA cannot be read: {error}") from None
    names = tuple(dict.fromkeys(name for name in (host, node) if name))
    return Trust(context, names)


class FingerprintMismatch(ssl.SSLCertVerificationError):
    """The certificate is not the pinned one."""


class _PinnedSocket(ssl.SSLSocket):
    """Compares the certificate, or its name, within the handshake: with a wrong one no byte of ours goes out."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        context = self.context
        assert isinstance(context, _PinnedContext)
        certificate = self.getpeercert(binary_form=True) or b""
        if context.pin and hashlib.sha256(certificate).hexdigest() != context.pin:
            # The first argument must be SSL_ERROR_SSL, or Tornado takes it for a programming error.
            raise FingerprintMismatch(ssl.SSL_ERROR_SSL, "the certificate is not the pinned one")
        if context.names and not context.names & _names(self.getpeercert() or {}):
            raise FingerprintMismatch(ssl.SSL_ERROR_SSL, "the certificate is for another name")


class _PinnedContext(ssl.SSLContext):
    """A context for Tornado's HTTP client, which knows neither pins nor second names."""

    pin = ""
    names: frozenset[str] = frozenset()
    sslsocket_class = _PinnedSocket


def pinned_context(trust: Trust) -> ssl.SSLContext:
    """The same trust for a client that takes a context and nothing else."""
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = trust.context.verify_mode
    context.verify_flags = trust.context.verify_flags
    if trust.context.verify_mode == ssl.CERT_REQUIRED:
        for der in trust.context.get_ca_certs(binary_form=True):
            context.load_verify_locations(cadata=der)
        context.load_default_certs()
        context.names = frozenset(name.lower() for name in trust.server_names)
    context.pin = trust.fingerprint
    return context


def _names(certificate: Mapping[str, object]) -> frozenset[str]:
    """The DNS names and addresses of a verified certificate, without wildcards."""
    entries = certificate.get("subjectAltName", ())
    assert isinstance(entries, tuple)
    return frozenset(str(value).lower() for kind, value in entries if kind in ("DNS", "IP Address"))
