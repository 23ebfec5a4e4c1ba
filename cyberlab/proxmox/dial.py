"""An SSH connection to a node: TCP, whose host it is, our key. Blocking; on the pool's threads."""

from __future__ import annotations

import contextlib
import logging
import socket
import time

import paramiko

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.hostkeys import HostKeys
from cyberlab.settings import ClusterSettings

_KEEPALIVE_SECONDS = 15
_UNANSWERED_MS = 20_000  # bytes (a keepalive's, too) that nobody acknowledges: then the connection counts as dead
# Still on offer in paramiko 5.1, and broken or nearly so.
_DISABLED = {"ciphers": ["3des-cbc"], "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"]}
# paramiko writes tracebacks of what connect() reports as a Problem.
_SILENT = "cyberlab.proxmox.paramiko"
logging.getLogger(_SILENT).setLevel(logging.CRITICAL + 1)


def connect(settings: ClusterSettings, timeout: float) -> paramiko.Transport:
    """Connect, verify the host key, authenticate, in ``timeout`` seconds (a name server's silence may add to them).

    Raises Problem(SSH_REFUSED), Problem(SSH_HOST_KEY), Problem(SSH_AUTH).
    """
    until = time.monotonic() + timeout
    where = f"{settings.ssh_host}:{settings.ssh_port}"
    keys = HostKeys(settings)
    key = _private_key(settings)
    try:
        sock = socket.create_connection((settings.ssh_host, settings.ssh_port), _left(until))
    except (OSError, ValueError) as error:
        raise Problem(problems.SSH_REFUSED, f"{where}: {getattr(error, 'strerror', None) or error}") from None
    transport: paramiko.Transport | None = None
    try:
        # Without it every command waits 40 ms for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)
        transport = paramiko.Transport(sock, disabled_algorithms=_DISABLED)
        transport.set_log_channel(_SILENT)
        keys.prefer(transport)
        transport.banner_timeout = transport.handshake_timeout = _left(until)
        transport.start_client(timeout=_left(until))
        if not transport.initial_kex_done:  # its own timeout is no exception
            raise Problem(problems.SSH_REFUSED, f"{where}: no SSH handshake within {timeout:.0f} s")
        keys.check(transport.get_remote_server_key())
        _authenticate(transport, settings, key, until)
        transport.set_keepalive(_KEEPALIVE_SECONDS)
        return transport
    except BaseException as error:
        if transport is not None:
            transport.close()
            transport.packetizer.complete_handshake()  # ends its timer, a thread, which close() forgets
        with contextlib.suppress(OSError):
            sock.close()
        if isinstance(error, Problem) or not isinstance(error, Exception):
            raise
        # Whatever the other end sends may surface as any exception of paramiko's parser.
        host_key = isinstance(error, paramiko.ssh_exception.IncompatiblePeer) and "host key" in str(error)
        code = problems.SSH_HOST_KEY if host_key else problems.SSH_REFUSED
        raise Problem(code, f"{where}: {str(error) or type(error).__name__}") from None


def _authenticate(
    transport: paramiko.Transport, settings: ClusterSettings, key: paramiko.PKey, until: float
) -> None:  # fmt: skip
    """The one key that was configured; no agent, no other key, no password."""
    who = f"{settings.ssh_user}@{settings.ssh_host}:{settings.ssh_port}"
    transport.auth_timeout = _left(until)
    try:
        transport.auth_publickey(settings.ssh_user, key)
    except paramiko.AuthenticationException as error:
        if not transport.is_active() or time.monotonic() >= until:
            raise Problem(problems.SSH_REFUSED, f"{who}: {error}") from None
        raise Problem(problems.SSH_AUTH, f"{who} does not accept {settings.ssh_key_path}") from None
    if not transport.is_authenticated():
        raise Problem(problems.SSH_AUTH, f"{who} wants more than the key")


def _private_key(settings: ClusterSettings) -> paramiko.PKey:
    if settings.ssh_key_path is None:
        raise Problem(problems.SSH_AUTH, "no key is configured")
    try:
        return paramiko.PKey.from_path(settings.ssh_key_path)
    except (OSError, paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, TypeError) as error:
        raise Problem(problems.SSH_AUTH, f"{settings.ssh_key_path} is no usable key: {type(error).__name__}") from None


def _left(until: float) -> float:
    return max(0.1, until - time.monotonic())
