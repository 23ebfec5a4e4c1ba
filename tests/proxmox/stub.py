"""An SSH server that goes wrong in ways that OpenSSH does not: it refuses commands, or never answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
from paramiko import common


class Stub(paramiko.ServerInterface):
    """Admits everybody; what it does with commands is up to ``answer``."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()
        self.hangs = True
        self.connections = 0

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.asked.set()
        if self.hangs:
            self.released.wait(30)
        return False


@contextmanager
def stub_server(host_key: Path) -> Iterator[tuple[Stub, int]]:
    """A listening Stub and its port."""
    stub = Stub()
    key = paramiko.PKey.from_path(host_key)
    transports = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                stub.connections += 1
                transport = paramiko.Transport(sock)
                transports.append(transport)
                transport.add_server_key(key)
                transport.start_server(event=threading.Event(), server=stub)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield stub, listener.getsockname()[1]
        finally:
            stub.released.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for transport in transports:
                transport.close()
                transport.join()
