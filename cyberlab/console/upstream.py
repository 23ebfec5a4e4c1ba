"""Proxmox's end of a console: dial, the websocket upgrade, and payloads out of frames (architecture: steps 4, 5).

How PVE::APIServer::AnyEvent answers decides much here: a bad port gets no answer at all, every 401 comes after 3 s,
and the end of a console is a bare TCP close.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyberlab import problems
from cyberlab.console import fairness, frames, transports
from cyberlab.problems import Problem

_BUFFER = bytearray(fairness.SIZE)
_VIEW = memoryview(_BUFFER)
HIGH_WATER = 64 * 1024
_HEAD_LIMIT = 16 * 1024
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_END = "UNEXPECTED_EOF_WHILE_READING"  # OpenSSL's reason, whatever class an error of aiofastnet's is of


@dataclass(frozen=True, slots=True)
class Target:
    """Where one console is dialled, and what proves that we may; nothing of it prints but the address."""

    host: str
    port: int
    resource: str = field(repr=False)  # path and query, with the ticket in it
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    vnc_password: str = field(repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)
    server_names: tuple[str, ...] = ()  # the certificate must be for one of these
    fingerprint: str = ""  # SHA-256 of the certificate, lower-case hex; checked before a byte is sent
    terminal_user: str = ""  # whose ticket it is; both are empty for a picture
    terminal_ticket: str = field(default="", repr=False)


class UpstreamSink(Protocol):
    """What takes Proxmox's bytes once the handshake is done."""

    def from_upstream(self, buffer: bytearray, size: int) -> None:
        """``buffer[:size]`` came; it must be used or copied before this returns."""
        ...

    def upstream_lost(self) -> None:
        """The connection has ended."""
        ...

    def upstream_written(self, full: bool) -> None:
        """The write buffer is full, or has emptied."""
        ...


class UpstreamLink(asyncio.BufferedProtocol):
    """A websocket client: collects bytes during the handshakes, hands them to ``sink`` from then on."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.sink: UpstreamSink | None = None
        self.lost = False
        self._inbox = bytearray()
        self._payload = bytearray()  # of the frames taken apart during the handshake
        self._frame_left = 0
        self._waiter: asyncio.Future[None] | None = None
        self._turn: fairness.Turn | None = None  # for those that stream at times
        self._remainder: transports.Remainder | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the transport."""
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)  # asyncio's TLS would keep half a megabyte

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into: one buffer for all, as whatever is read is used up before the next read.

        A view, as asyncio's TLS slices what it gets here, and a slice of a bytearray is a copy.
        """
        return _VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came from Proxmox."""
        if nbytes >= fairness.MUCH or (self._turn is not None and self._turn.streaming):
            self._took(nbytes)
        if self.sink is not None:
            self.sink.from_upstream(_BUFFER, nbytes)
            return
        self._inbox += _VIEW[:nbytes]
        if len(self._inbox) > _HEAD_LIMIT + len(_BUFFER):
            self.transport.pause_reading()
        self._wake()

    def _took(self, nbytes: int) -> None:
        if self._turn is None or self._remainder is None:
            self._turn = fairness.Turn(self.transport.get_extra_info("socket"))
            self._remainder = transports.Remainder(self.transport)
        self._turn.took(nbytes)
        if nbytes == fairness.SIZE:
            self._remainder.turn_ended()

    def eof_received(self) -> bool:
        """Proxmox ends a console by closing, nothing more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The console has ended."""
        self.lost = True
        self._wake()
        if self.sink is not None:
            self.sink.upstream_lost()

    def pause_writing(self) -> None:
        """Proxmox takes no more for now."""
        if self.sink is not None:
            self.sink.upstream_written(True)

    def resume_writing(self) -> None:
        """It does again."""
        if self.sink is not None:
            self.sink.upstream_written(False)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        """Wait for further bytes; the caller sets the deadline."""
        if self.lost:
            raise Problem(problems.UPSTREAM_CLOSED, "closed during the handshake")
        self.transport.resume_reading()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    # --- the websocket handshake

    async def upgrade(self, target: Target) -> None:
        """Ask for the websocket (RFC 6455, 4.1); raise Problem for what Proxmox answers instead."""
        key = base64.b64encode(os.urandom(16))
        lines = [
            f"GET {target.resource} HTTP/1.1",
            f"Host: {f'[{target.host}]' if ':' in target.host else target.host}:{target.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key.decode()}",
            # Echoed verbatim, so one name and never a list.
            "Sec-WebSocket-Protocol: binary",
            *(f"{name}: {value}" for name, value in target.headers),
        ]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a request header")
        self.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        while (end := self._inbox.find(b"\r\n\r\n")) < 0:
            if len(self._inbox) > _HEAD_LIMIT:
                raise Problem(problems.UPGRADE_FAILED, "the answer's header is larger than 16 KiB")
            await self._more()
        head = bytes(self._inbox[:end]).decode("latin-1").split("\r\n")
        del self._inbox[: end + 4]
        status, _, phrase = head[0].partition(" ")[2].partition(" ")
        if status != "101":
            raise _refusal(status, phrase)
        answer = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode().lower()
        if answer.get("sec-websocket-accept") != accept:
            raise Problem(problems.UPGRADE_FAILED, "Sec-WebSocket-Accept does not fit")

    # --- the console's own handshake

    async def read(self, size: int) -> bytes:
        """The next ``size`` payload bytes, taken out of their frames; raise Problem. The caller sets the deadline."""
        while len(self._payload) < size:
            if not self._unframe():
                await self._more()
        data = bytes(self._payload[:size])
        del self._payload[:size]
        return data

    def _unframe(self) -> bool:
        """Move payload bytes from the inbox; False when more must come first."""
        inbox = self._inbox
        before = len(inbox)
        if self._frame_left == 0:
            if len(inbox) < 2:
                return False
            opcode, length = inbox[0] & 0x0F, inbox[1]
            size = 2 if length < 126 else 4 if length == 126 else 10
            if length > 127 or opcode not in (frames.CONTINUATION, frames.TEXT, frames.BINARY):
                raise Problem(problems.UPSTREAM_CLOSED, f"frame {inbox[0]:02x} during the handshake")
            if len(inbox) < size:
                return False
            if size > 2:
                length = int.from_bytes(inbox[2:size], "big")
            del inbox[:size]
            self._frame_left = length
        taken = min(self._frame_left, len(inbox))
        self._payload += inbox[:taken]
        del inbox[:taken]
        self._frame_left -= taken
        return len(inbox) < before  # a header alone counts: the frame may be empty, and another behind it

    def send(self, payload: bytes) -> None:
        """Send bytes of the handshake within Proxmox's rules."""
        self.transport.write(frames.client_frames(payload))

    def hand_over(self, sink: UpstreamSink) -> bytes:
        """Give all further bytes to ``sink``; return what has come already, beginning with a frame's header."""
        early = b""
        if self._payload or self._frame_left:
            # The rest of a frame that was begun: give it a header of its own.
            early = frames.header(frames.BINARY, len(self._payload) + self._frame_left) + bytes(self._payload)
            self._payload.clear()
        early += bytes(self._inbox)
        self._inbox.clear()
        self.sink = sink
        return early

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None and not self.lost:
            self.transport.abort()


def _refusal(status: str, phrase: str) -> Problem:
    """What Proxmox's status means (PVE/APIServer/AnyEvent.pm; the reason phrase carries the text)."""
    lowered = phrase.lower()
    detail = f"{status} {phrase[:120]}"
    if status == "401":
        return Problem(problems.TICKET_REFUSED if "pvevnc ticket" in lowered else problems.COOKIE_REFUSED, detail)
    if status == "403":
        return Problem(problems.PERMISSION_DENIED, detail)
    return Problem(problems.UPGRADE_FAILED, detail)


async def dial(target: Target) -> UpstreamLink:
    """Connect, verify, upgrade; raise Problem. The caller sets the deadline and owns the link."""
    link = await connect(target)
    try:
        await link.upgrade(target)
    except BaseException:
        link.abort()
        raise
    return link


async def connect(target: Target) -> UpstreamLink:
    """The first half of a dial: nothing of ours is sent until the other end is known; raise Problem."""
    link = await _reach(target)
    try:
        _check_fingerprint(link, target)
    except BaseException:
        link.abort()
        raise
    return link


async def _reach(target: Target) -> UpstreamLink:
    names = target.server_names or (target.host,)
    for name in names:
        try:
            return await transports.connect(UpstreamLink, target.host, target.port, target.context, name)
        except ssl.SSLCertVerificationError as error:
            # A node's own certificate names the node, not necessarily the address that we were given.
            if error.verify_code in _NAME_MISMATCH and name != names[-1]:
                continue
            raise Problem(problems.TLS_MISMATCH, error.verify_message) from None
        except ssl.SSLError as error:
            reason = getattr(error, "reason", None) or "TLS handshake failed"  # not every SSLError has one
            if isinstance(error, _CLOSED) or reason == _END:
                # pveproxy does so to addresses that its ALLOW_FROM and DENY_FROM keep out.
                where = f"{target.host}:{target.port}"
                raise Problem(problems.API_UNREACHABLE, f"{where}: closed during the TLS handshake") from None
            raise Problem(problems.TLS_MISMATCH, reason) from None
        except OSError as error:
            # asyncio puts words and addresses of its own into strerror.
            number = error.errno or 0  # a name that cannot be resolved has a negative one
            words = os.strerror(number) if number > 0 else error.strerror or error
            raise Problem(problems.API_UNREACHABLE, f"{target.host}:{target.port}: {words}") from None
    raise AssertionError("unreachable")


def _check_fingerprint(link: UpstreamLink, target: Target) -> None:
    if not target.fingerprint:
        return
    certificate = link.transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    shown = hashlib.sha256(certificate).hexdigest()
    if shown != target.fingerprint:
        raise Problem(problems.TLS_MISMATCH, f"the certificate is not the pinned one, but {shown}")
