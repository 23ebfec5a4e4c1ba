"""Whom we trust on port 8006: the cluster's own CA, the system's, or one pinned certificate; never just anybody."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.settings import ClusterSettings

NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@dataclass(frozen=True, slots=True)
class Trust:
    """What a connection to the API is verified against."""

    context: ssl.SSLContext = field(repr=False)
    server_names: tuple[str, ...]  # the certificate must be for one of these; tried in order
    fingerprint: str = ""  # SHA-256 of the certificate, lower-case hex; compared before a byte is sent


def trust_of(settings: ClusterSettings, ca_pem: str, nodes: Sequence[str]) -> Trust:
    """What to trust for one cluster (blocking: reads files); raise Problem(TLS_MISMATCH) for a CA that is none.

    ``ca_pem``: the cluster's CA as it came over SSH, whose host key has been verified. ``nodes``: the names that
    the node which answers there may have; Proxmox's own certificates are made for them, not for whatever address we
    were given.
    """
    host = urlsplit(settings.host).hostname or ""
    if settings.tls_fingerprint or settings.tls_insecure_skip_verify:
        pinned = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
        pinned.check_hostname = False
        pinned.verify_mode = ssl.CERT_NONE  # the pin is the verification; without one, the setting said so
        pinned.minimum_version = ssl.TLSVersion.TLSv1_2
        pinned.pin = settings.tls_fingerprint
        return Trust(pinned, (host,), settings.tls_fingerprint)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 asks for extensions that the certificates of older clusters lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        if settings.tls_ca_file is not None:
            context.load_verify_locations(cafile=settings.tls_ca_file)
        elif ca_pem:
            context.load_verify_locations(cadata=ca_pem)
    except (OSError, TypeError, ValueError) as error:
        raise Problem(problems.TLS_MISMATCH, f"the CA cannot be read: {error}") from None
    names = tuple(dict.fromkeys(name for name in (host, *(node.lower() for node in nodes)) if name))
    return Trust(context, names)


class FingerprintMismatch(ssl.SSLCertVerificationError):
    """The certificate is not the pinned one."""

    verify_code = 0
    verify_message = "the certificate is not the pinned one"


class _PinnedSocket(ssl.SSLSocket):
    """For Tornado's HTTP client: compares within the handshake, so that with a wrong certificate no byte goes out.

    (The consoles' dialler uses asyncio, which knows no such class, and compares by itself.)
    """

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        context = self.context
        assert isinstance(context, _PinnedContext)
        shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
        if context.pin and shown != context.pin:
            # The first argument must be SSL_ERROR_SSL, or Tornado takes it for a programming error.
            raise FingerprintMismatch(ssl.SSL_ERROR_SSL, FingerprintMismatch.verify_message)


class _PinnedContext(ssl.SSLContext):
    pin = ""  # lower-case hex; none: the setting for no verification
    sslsocket_class = _PinnedSocket
