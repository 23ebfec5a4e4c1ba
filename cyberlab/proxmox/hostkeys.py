"""Whose host it is that answers: known_hosts, or one pinned key. Nothing is ever learnt by connecting."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path

import paramiko

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.settings import ClusterSettings


class HostKeys:
    """The keys that one host may show."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Raises Problem(SSH_HOST_KEY) when the file cannot be read or does not know the host, or the pin is none."""
        self._name = name_of(settings.ssh_host, settings.ssh_port)
        self._fingerprint = ""
        self._known: list[paramiko.PKey] = []
        self._shown = ""
        self._left_out: set[str] = set()
        pin = settings.ssh_host_key.strip()
        if pin.startswith("SHA256:"):
            self._fingerprint = pin.rstrip("=")
        elif pin:
            key = _key(pin.split())
            if key is None:
                raise Problem(
                    problems.SSH_HOST_KEY, "PROXMOX_SSH_HOST_KEY is neither SHA256:… nor a key (ssh-ed25519 AAAA…)"
                )
            self._known = [key]
        else:
            self._known = _read(settings.ssh_known_hosts, self._name)

    def prefer(self, transport: paramiko.Transport) -> None:
        """Ask only for the kinds of key that are known, or a host with several shows one that is not."""
        kinds = {key.get_name() for key in self._known}
        options = transport.get_security_options()
        wanted = [name for name in options.key_types if not kinds or _kind(name) in kinds]
        wanted = [name for name in wanted if _kind(name) not in self._left_out]
        if not wanted:
            raise Problem(problems.SSH_HOST_KEY, f"no usable kind of host key among {', '.join(sorted(kinds))}")
        options.key_types = wanted

    def leave_out_kind(self) -> bool:
        """After a refusal: do not ask for the kind that was shown again; False if that cannot help.

        A fingerprint does not tell the kind of its key, and a host shows the kind that is asked for first.
        """
        if not self._fingerprint or not self._shown or self._shown in self._left_out:
            return False
        self._left_out.add(self._shown)
        return True

    def check(self, key: paramiko.PKey) -> None:
        """Raise Problem(SSH_HOST_KEY) unless the host may show this key."""
        self._shown = key.get_name()
        shown = "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
        if self._fingerprint:
            good = hmac.compare_digest(shown.encode(), self._fingerprint.encode())
        else:
            good = any(known.asbytes() == key.asbytes() for known in self._known)
        if not good:
            raise Problem(problems.SSH_HOST_KEY, f"{self._name} shows another {key.get_name()} key: {shown}")


def name_of(host: str, port: int) -> str:
    """The host's name in known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def _read(path: Path | None, name: str) -> list[paramiko.PKey]:
    """The host's keys in a known_hosts file; several of one kind are all good (a name that moves between nodes)."""
    if path is None:
        raise Problem(problems.SSH_HOST_KEY, "neither PROXMOX_SSH_KNOWN_HOSTS nor PROXMOX_SSH_HOST_KEY is set")
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise Problem(problems.SSH_HOST_KEY, f"{path}: {error.strerror}") from None
    known, revoked = [], []
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or not _matches(words[0], name):
            continue
        key = _key(words[1:])
        if key is not None and marker == "@revoked":
            revoked.append(key.asbytes())
        elif key is not None and not marker:  # @cert-authority: paramiko verifies no host certificates
            known.append(key)
    known = [key for key in known if key.asbytes() not in revoked]
    if not known:
        raise Problem(problems.SSH_HOST_KEY, f"{path} does not know {name}")
    return known


def _key(words: list[str]) -> paramiko.PKey | None:
    """A public key from its kind and its base64, None if it is none."""
    if len(words) < 2:
        return None
    try:
        key: paramiko.PKey = paramiko.PKey.from_type_string(words[0], base64.b64decode(words[1], validate=True))
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, IndexError):
        return None
    return key


def _matches(patterns: str, name: str) -> bool:
    """Whether a line's first field is for this host: names, wildcards, negations, or one hashed name."""
    if patterns.startswith("|1|"):
        _, _, salt, digest = [*patterns.split("|"), "", ""][:4]
        try:
            expected = base64.b64decode(digest)
            return bool(expected) and hmac.digest(base64.b64decode(salt), name.encode(), "sha1") == expected
        except ValueError:
            return False
    found = False
    for pattern in patterns.lower().split(","):
        plain = pattern.removeprefix("!")
        if re.fullmatch(re.escape(plain).replace(r"\*", ".*").replace(r"\?", "."), name):
            if pattern != plain:
                return False
            found = True
    return found


def _kind(algorithm: str) -> str:
    """The kind of key that a signature algorithm uses: RSA keys sign as rsa-sha2-256 and -512 (RFC 8332)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2") else algorithm
