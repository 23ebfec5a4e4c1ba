"""A picture: the two halves of the RFB handshake, Proxmox's and the browser's (RFC 6143, 7.1-7.3.1)."""

from __future__ import annotations

from cyberlab import problems
from cyberlab.console import rfb
from cyberlab.console.client import ClientLink
from cyberlab.console.kinds import ConsoleKind
from cyberlab.console.upstream import Target, UpstreamLink
from cyberlab.phrases import Phrase
from cyberlab.problems import Problem


async def authenticate(upstream: UpstreamLink, password: str) -> None:
    """Version, security type, DES challenge, ClientInit; raise Problem. The caller sets the deadline.

    ClientInit is always shared: an exclusive one would throw out everybody else who looks at this machine.
    """
    version = await upstream.read(12)
    if version[:4] != b"RFB " or version[11:] != b"\n" or version < rfb.VERSION:
        raise Problem(problems.VNC_PROTOCOL, f"version {version!r}")
    upstream.send(rfb.VERSION)
    count = (await upstream.read(1))[0]
    if count == 0:
        raise Problem(problems.VNC_PROTOCOL, await _reason(upstream))
    types = await upstream.read(count)
    if rfb.SECURITY_VNC_AUTH in types:
        upstream.send(bytes((rfb.SECURITY_VNC_AUTH,)))
        challenge = await upstream.read(rfb.CHALLENGE_SIZE)
        upstream.send(rfb.vnc_response(password, challenge))
    elif rfb.SECURITY_NONE in types:
        upstream.send(bytes((rfb.SECURITY_NONE,)))
    else:
        raise Problem(problems.VNC_PROTOCOL, f"security types {list(types)}")
    if int.from_bytes(await upstream.read(4), "big") != rfb.OK:
        raise Problem(problems.VNC_AUTH_FAILED, await _reason(upstream))
    upstream.send(b"\x01")


async def _reason(upstream: UpstreamLink) -> str:
    try:
        size = int.from_bytes(await upstream.read(4), "big")
        return (await upstream.read(min(size, 256))).decode("latin-1")
    except Problem:
        return "closed without a reason"


async def greet(client: ClientLink) -> None:
    """The browser's half: version 3.8, security "None"; raise Problem, ClientClosed.

    The browser signed in to the portal; the machine's VNC password stays on this side. What ClientInit says about
    sharing is not passed on.
    """
    client.send_event(event="ready")
    client.send_binary(rfb.VERSION)
    version = await client.receive(12)
    if version != rfb.VERSION:
        client.send_binary(b"\0" + rfb.failure("this console speaks RFB 3.8"))
        raise Problem(problems.CLIENT_PROTOCOL, f"RFB version {version!r}")
    client.send_binary(bytes((1, rfb.SECURITY_NONE)))
    if await client.receive(1) != bytes((rfb.SECURITY_NONE,)):
        client.send_binary(rfb.FAILED.to_bytes(4, "big") + rfb.failure("security type None was offered"))
        raise Problem(problems.CLIENT_PROTOCOL, "chose a security type that was not offered")
    client.send_binary(rfb.OK.to_bytes(4, "big"))
    await client.receive(1)


async def _sign_in(upstream: UpstreamLink, target: Target) -> None:
    await authenticate(upstream, target.vnc_password)


PICTURE = ConsoleKind(
    dialling=Phrase("Connecting to the machine's screen"),
    waiting=Phrase("Waiting for the picture"),
    authenticate=_sign_in,
    greet=greet,
    messages=lambda view_only: rfb.ClientMessages(view_only=view_only),
    proof=0.0,
)
