"""Whose host it is that answers: known_hosts, or one pinned key. Nothing is ever learnt by connecting."""

from __future__ import annotations

import base64
import hashlib
import hmac

import paramiko

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.settings import ClusterSettings


class HostKeys:
    """The keys that one host may show."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Raises Problem(SSH_HOST_KEY) when the file cannot be read or does not know the host."""
        self._pin = settings.ssh_host_key.strip()
        self._name = settings.ssh_host if settings.ssh_port == 22 else f"[{settings.ssh_host}]:{settings.ssh_port}"
        self._known: dict[str, paramiko.PKey] = {}
        if self._pin:
            return
        known = paramiko.HostKeys()
        try:
            known.load(str(settings.ssh_known_hosts))
        except OSError as error:
            raise Problem(problems.SSH_HOST_KEY, f"{settings.ssh_known_hosts}: {error.strerror}") from None
        entry = known.lookup(self._name)
        if not entry:
            raise Problem(problems.SSH_HOST_KEY, f"{settings.ssh_known_hosts} does not know {self._name}")
        self._known = dict(entry)

    def prefer(self, transport: paramiko.Transport) -> None:
        """Ask only for the kinds of key that are known, or a host with several shows one that is not."""
        kinds = list(self._known)
        if self._pin and not self._pin.startswith("SHA256:"):
            kinds = [self._pin.split()[0]]
        if not kinds:
            return
        options = transport.get_security_options()
        wanted = [name for name in options.key_types if _kind(name) in kinds]
        if not wanted:
            raise Problem(problems.SSH_HOST_KEY, f"no usable kind of host key among {', '.join(kinds)}")
        options.key_types = wanted

    def check(self, key: paramiko.PKey) -> None:
        """Raise Problem(SSH_HOST_KEY) unless the host may show this key."""
        if self._pin.startswith("SHA256:"):
            shown = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
            good = hmac.compare_digest(shown, self._pin.removeprefix("SHA256:").rstrip("="))
        elif self._pin:
            words = self._pin.split()
            good = len(words) > 1 and words[0] == key.get_name() and words[1] == key.get_base64()
        else:
            known = self._known.get(key.get_name())
            good = known is not None and known.asbytes() == key.asbytes()
        if not good:
            raise Problem(problems.SSH_HOST_KEY, f"{self._name} shows another {key.get_name()} key: {key.fingerprint}")


def _kind(algorithm: str) -> str:
    """The kind of key that a signature algorithm uses: RSA keys sign as rsa-sha2-256 and -512 (RFC 8332)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2") else algorithm
