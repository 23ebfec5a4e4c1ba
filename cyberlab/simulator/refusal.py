"""How a simulated Proxmox call fails."""

from __future__ import annotations


class Refusal(Exception):
    """A perl ``die``: the text for stderr, and the exit code that the leftover errno gave the real pvesh.

    ``forbidden``: about permissions, which over HTTPS is a status of its own.
    """

    def __init__(self, message: str, code: int = 255, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.forbidden = forbidden


def conf_missing(node: str, kind: str, vmid: int) -> Refusal:
    """No such VM on that node (PVE::AbstractConfig load_config)."""
    folder = "qemu-server" if kind == "qemu" else "lxc"
    return Refusal(f"Configuration file 'nodes/{node}/{folder}/{vmid}.conf' does not exist", 2)
