"""Whose address a request carries: what a trusted proxy says, else the socket's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def networks(names: Iterable[str]) -> tuple[Network, ...]:
    """Parse addresses and CIDR ranges; raises ValueError for what is neither."""
    return tuple(ip_network(name, strict=False) for name in names)


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of the browser.

    ``peer``: the socket's other end. ``forwarded_for``: every X-Forwarded-For header, in order. Each proxy
    appends who called it, so the list is read from its end while the caller is a trusted proxy; what an
    untrusted caller wrote before that is its own invention. Never raises: a malformed entry ends the walk.
    """
    address = _parse(peer)
    if address is None:
        return peer
    chain = [entry for header in forwarded_for for entry in header.split(",")]
    while chain and any(address.version == net.version and address in net for net in trusted):
        further = _parse(chain.pop())
        if further is None:
            break
        address = further
    return str(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, IPv4Address) else address
