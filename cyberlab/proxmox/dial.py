"""An SSH connection to a node: TCP, whose host it is, our key. Blocking; on the pool's threads."""

from __future__ import annotations

import logging
import socket
import time

import paramiko

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.hostkeys import HostKeys
from cyberlab.proxmox.names import resolve
from cyberlab.proxmox.transport import Transport
from cyberlab.settings import ClusterSettings

_KEEPALIVE_SECONDS = 15
_END_SECONDS = 2.0
_UNANSWERED_MS = 6_000  # bytes (a keepalive's, too) that nobody acknowledges: then the connection counts as dead
# Still on offer in paramiko 5.1, and broken or nearly so.
_DISABLED = {"ciphers": ["3des-cbc"], "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"]}
# paramiko writes tracebacks of what connect() reports as a Problem.
_SILENT = "cyberlab.proxmox.paramiko"
logging.getLogger(_SILENT).setLevel(logging.CRITICAL + 1)


def connect(settings: ClusterSettings, timeout: float) -> paramiko.Transport:
    """Connect, verify the host key, authenticate, all in ``timeout`` seconds.

    Raises Problem(SSH_REFUSED), Problem(SSH_HOST_KEY), Problem(SSH_AUTH).
    """
    until = time.monotonic() + timeout
    keys = HostKeys(settings)
    key = _private_key(settings)
    refusal: Problem | None = None
    while True:
        try:
            return _attempt(settings, keys, key, until)
        except Problem as problem:
            refusal = refusal or problem
            if problem.code != problems.SSH_HOST_KEY or not keys.leave_out_kind():
                raise refusal from None


def _attempt(settings: ClusterSettings, keys: HostKeys, key: paramiko.PKey, until: float) -> paramiko.Transport:
    where = f"{settings.ssh_host}:{settings.ssh_port}"
    try:
        sock = _tcp(settings.ssh_host, settings.ssh_port, until)
    except OSError as error:
        raise Problem(problems.SSH_REFUSED, f"{where}: {error.strerror or error}") from None
    transport: Transport | None = None
    try:
        transport = Transport(sock, disabled_algorithms=_DISABLED)
        transport.set_log_channel(_SILENT)
        keys.prefer(transport)
        transport.banner_timeout = transport.handshake_timeout = _left(until)
        transport.start_client(timeout=_left(until))
        if not transport.initial_kex_done:  # its own timeout is no exception
            raise Problem(problems.SSH_REFUSED, f"{where}: no SSH handshake in time")
        keys.check(transport.get_remote_server_key())
        _authenticate(transport, settings, key, until)
        transport.set_keepalive(_KEEPALIVE_SECONDS)
        return transport
    except BaseException as error:
        if transport is not None:
            end(transport)
        sock.close()
        if isinstance(error, Problem) or not isinstance(error, Exception):
            raise
        # Whatever the other end sends may surface as any exception of paramiko's parser.
        host_key = isinstance(error, paramiko.ssh_exception.IncompatiblePeer) and "host key" in str(error)
        code = problems.SSH_HOST_KEY if host_key else problems.SSH_REFUSED
        raise Problem(code, f"{where}: {str(error) or type(error).__name__}") from None


def end(transport: paramiko.Transport) -> None:
    """Close a connection and wait for its thread, which looks up from the socket ten times a second."""
    # A handshake that was broken off leaves its timer running, a thread too.
    transport.packetizer.complete_handshake()
    transport.close()
    if transport.ident is not None:  # it was started
        transport.join(_END_SECONDS)


def _tcp(host: str, port: int, until: float) -> socket.socket:
    """A connection to the first address that answers; raise OSError. None of several may take all of the time."""
    addresses = resolve(host, port, _left(until))
    failure: OSError = OSError(f"no address of {host}")
    for tried, (family, address) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(_left(until) / (len(addresses) - tried))
            sock.connect(address)
            # Without it every command waits 40 ms for a delayed acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


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
