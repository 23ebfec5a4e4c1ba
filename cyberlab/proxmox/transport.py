"""A connection of paramiko's that carries many channels, and that no single one of them can end."""

from __future__ import annotations

from typing import Any

import paramiko

# Of RFC 4254, sections 5.2 to 5.4: window, data, extended data, end, request; the answers to requests are tolerated.
_ABOUT_A_CHANNEL = {93, 94, 95, 96, 98}


class Transport(paramiko.Transport):
    """Says nothing more about a channel once its CLOSE was sent.

    paramiko builds a message under the channel's lock and sends it after; in between its own thread may answer the
    other end's CLOSE. sshd has forgotten the channel then, and ends the whole connection, with every other command on
    it, for what comes late (channel_from_packet_id in OpenSSH's channels.c: "packet referred to nonexistent channel").
    A command that ends as soon as it has begun is enough, where we end its standard input just then.
    """

    # paramiko calls it with the lock that orders messages held, CLOSE among them, and takes a channel off its list
    # before it answers CLOSE: so whoever is on the list here has not been closed.
    def _send_message(self, data: Any) -> None:
        message: bytes = data.asbytes()
        if message[0] in _ABOUT_A_CHANNEL and not self._has(int.from_bytes(message[1:5], "big")):
            return
        super()._send_message(data)  # type: ignore[misc]  # the stubs leave it out

    def _has(self, remote: int) -> bool:
        """Whether a channel that sshd knows as ``remote`` is open."""
        channels = self._channels.values()  # type: ignore[attr-defined]
        return any(channel.active and channel.remote_chanid == remote for channel in channels)
