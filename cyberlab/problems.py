"""What can go wrong on the way to a console, in words for the person in front of the page.

One catalogue serves the console page, the portal's error pages, ``server.py check`` and
docs/troubleshooting.md, so that a cause is described once and the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """The words for one kind of failure: what happened, what the user can do, what the admin mends."""

    title: str
    user: str
    admin: str


CATALOGUE: dict[str, Advice] = {}


def _advice(code: str, title: str, user: str, admin: str) -> str:
    CATALOGUE[code] = Advice(title, user, admin)
    return code


ASK_ADMIN = "Try again in a minute; if it stays, tell your lab's admin the request id below."

# The virtual machine itself.
VM_STOPPED = _advice(
    "vm-stopped",
    "This machine is switched off",
    "Start it on the page “My machines”, or ask your teacher to start it; then open the console again.",
    "The VM is stopped: start it in Proxmox. A stopped VM gets a ticket and a 101 from Proxmox, then a bare close.",
)
VM_LOCKED = _advice(
    "vm-locked",
    "This machine is busy with a backup or another task",
    "Wait until the task has ended, then open the console again.",
    "The VM's config carries a lock (backup, snapshot, migrate …); see its task log. `qm unlock VMID` if it is stale.",
)
VM_GONE = _advice(
    "vm-gone",
    "This machine no longer exists on the cluster",
    "Tell your teacher or admin; the assignment points to a machine that was removed.",
    "Proxmox knows no such VMID on that node. Remove the assignment or correct the VM's node and VMID.",
)
VM_KIND_UNSUPPORTED = _advice(
    "vm-kind-unsupported",
    "This kind of machine has no picture console here",
    "Tell your admin: this machine is a container.",
    "An LXC container's vncproxy does not work through pvesh (it has no background flag and times out after 25 s).",
)

# The node and the way to it.
NODE_OFFLINE = _advice(
    "node-offline",
    "The machine's host is not answering",
    ASK_ADMIN,
    "The node that holds the VM is offline, or pvesh hung on its way to it. Check the node, and corosync's quorum.",
)
SSH_REFUSED = _advice(
    "ssh-refused",
    "The lab's cluster cannot be reached",
    ASK_ADMIN,
    "No SSH connection to PROXMOX_SSH_HOST:PROXMOX_SSH_PORT. Is sshd running there, and does a firewall stand between?",
)
SSH_AUTH = _advice(
    "ssh-auth",
    "The lab's cluster does not accept the portal's key",
    ASK_ADMIN,
    "sshd refused PROXMOX_SSH_KEY_PATH for PROXMOX_SSH_USER. Put the public key into that user's authorized_keys.",
)
SSH_HOST_KEY = _advice(
    "ssh-host-key",
    "The lab's cluster shows an unknown identity",
    ASK_ADMIN,
    "The host key is not the one in PROXMOX_SSH_KNOWN_HOSTS (or not in it). If the host was reinstalled, replace the "
    "line: ssh-keyscan -p PORT HOST, and compare the fingerprint at the host itself.",
)
SSH_BUSY = _advice(
    "ssh-busy",
    "Too many consoles are being opened at once",
    "Wait a few seconds and try again.",
    "Every channel of the SSH pool was taken until the deadline. Raise PROXMOX_SSH_CONNECTIONS, or look at what hangs.",
)
PVESH_TIMEOUT = _advice(
    "pvesh-timeout",
    "The lab's cluster took too long to answer",
    ASK_ADMIN,
    "pvesh gave no answer within its deadline. Load on the node, no quorum, or a hanging storage are the usual causes.",
)
PVESH_FAILED = _advice(
    "pvesh-failed",
    "The lab's cluster refused the request",
    ASK_ADMIN,
    "pvesh ended with an error; its own words are in the log line with this request id.",
)
PVESH_MISSING = _advice(
    "pvesh-missing",
    "The lab's cluster is not set up for the portal",
    ASK_ADMIN,
    "PROXMOX_SSH_USER has no pvesh, or may not run it (it must run as root). Is PROXMOX_SSH_HOST a Proxmox VE node?",
)
NO_FREE_PORT = _advice(
    "no-free-port",
    "All console places on this host are taken",
    "Close consoles you do not need and try again in a moment.",
    "A Proxmox host has 100 console ports (5900-5999); all are in use. Disconnect idle consoles.",
)

# The ticket and the websocket to Proxmox.
COOKIE_REFUSED = _advice(
    "cookie-refused",
    "The lab's cluster did not accept the portal's sign-in",
    ASK_ADMIN,
    "Proxmox answered 401 to the auth cookie twice. Compare the clocks, and whether /etc/pve is writable (quorum).",
)
TICKET_REFUSED = _advice(
    "ticket-refused",
    "The lab's cluster did not accept the console ticket",
    ASK_ADMIN,
    "401 invalid PVEVNC ticket: PROXMOX_HOST is not the host that PROXMOX_SSH_HOST names, or the clocks differ by "
    "more than 40 s, or the cookie's user is not root@pam.",
)
PERMISSION_DENIED = _advice(
    "permission-denied",
    "The portal may not open this machine's console",
    ASK_ADMIN,
    "Proxmox answered 403: the user of the cookie lacks VM.Console on the VM.",
)
TLS_MISMATCH = _advice(
    "tls-mismatch",
    "The lab's cluster shows a certificate that the portal does not trust",
    ASK_ADMIN,
    "The certificate on port 8006 is neither the pinned one nor signed by the cluster's or a system CA for this name. "
    "Compare PROXMOX_TLS_FINGERPRINT with: "
    "openssl s_client -connect HOST:8006 | openssl x509 -noout -fingerprint -sha256",
)
API_UNREACHABLE = _advice(
    "api-unreachable",
    "The lab's cluster does not answer on its web port",
    ASK_ADMIN,
    "No TCP connection to PROXMOX_HOST (port 8006 unless told). Is pveproxy running? Does a firewall stand between?",
)
UPGRADE_FAILED = _advice(
    "upgrade-failed",
    "The lab's cluster did not open the console",
    ASK_ADMIN,
    "Proxmox answered the websocket request with an unexpected status; it is in the log line with this request id.",
)
UPSTREAM_SILENT = _advice(
    "upstream-silent",
    "The machine's screen did not answer",
    "Try again. If it stays, ask your teacher to restart the machine.",
    "Proxmox gave no answer within the handshake limit: the console's port was already used or had expired "
    "(pveproxy then stays silent for ever), or QEMU is stuck.",
)
UPSTREAM_CLOSED = _advice(
    "upstream-closed",
    "The machine closed its screen",
    "It was probably switched off or restarted. Open the console again when it runs.",
    "A bare TCP close from Proxmox: the VM stopped or migrated, or qm vncproxy left.",
)
VNC_AUTH_FAILED = _advice(
    "vnc-auth-failed",
    "The machine's screen refused the portal's password",
    "Try again.",
    "QEMU refused the VNC password: another viewer (Proxmox's own UI) opened the same VM in the same second.",
)
VNC_PROTOCOL = _advice(
    "vnc-protocol",
    "The machine's screen speaks an unknown protocol",
    ASK_ADMIN,
    "What answered is not RFB 3.8 with VNC authentication. Is a proxy in between, or the display set to SPICE only?",
)

# Why a console that was open has ended.
SIGNED_OUT = _advice("signed-out", "You signed out", "Sign in again to open the console.", "The login session ended.")
LOGIN_EXPIRED = _advice(
    "login-expired",
    "Your sign-in has expired",
    "Sign in again to open the console.",
    "The login session's limit.",
)
UNASSIGNED = _advice(
    "unassigned",
    "This machine is no longer assigned to you",
    "Ask your teacher if you still need it.",
    "The assignment was removed or has ended.",
)
DEACTIVATED = _advice("deactivated", "Your account was deactivated", "Ask your lab's admin.", "The user was disabled.")
DISCONNECTED = _advice(
    "disconnected",
    "An admin closed this console",
    "Ask your lab's admin if you need it again.",
    "By an admin.",
)
SHUTTING_DOWN = _advice(
    "shutting-down",
    "The portal is restarting",
    "The console comes back by itself in a moment.",
    "Orderly shutdown of the server.",
)
CLIENT_PROTOCOL = _advice(
    "client-protocol",
    "Your browser sent something that is not a console message",
    "Reload the page. A proxy or an extension may change the data.",
    "Malformed, oversized or unmasked websocket frames, or an unknown RFB message, came from the browser.",
)
CLIENT_STUCK = _advice(
    "client-stuck",
    "Your browser stopped reading",
    "Reload the page; the network or the browser was stuck for a minute.",
    "The browser read nothing for a minute while data waited; held back longer, pveproxy's memory would grow.",
)
TOO_MANY_CONSOLES = _advice(
    "too-many-consoles",
    "Too many consoles are open",
    "Close consoles you do not need and try again.",
    "CONSOLE_MAX or CONSOLE_MAX_PER_USER is reached.",
)
INTERNAL = _advice(
    "internal",
    "Something went wrong in the portal",
    ASK_ADMIN,
    "An unexpected error; the traceback is in the log with this request id.",
)


# Trying again by itself may help: the page does so, with growing pauses.
PASSING = frozenset(
    {SSH_BUSY, PVESH_TIMEOUT, NO_FREE_PORT, UPSTREAM_SILENT, UPSTREAM_CLOSED, VNC_AUTH_FAILED, SHUTTING_DOWN}
)


class Problem(Exception):
    """A failure with a known cause: carries the catalogue's code for people and a detail for the log.

    ``detail`` is one line for the log; whoever raises keeps secrets (tickets, passwords, cookies) out of it.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        if code not in CATALOGUE:
            raise ValueError(f"no such problem: {code!r}")
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    @property
    def advice(self) -> Advice:
        """The words to show for this problem."""
        return CATALOGUE[self.code]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code
