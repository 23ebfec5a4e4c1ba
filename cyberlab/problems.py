"""What can go wrong on the way to a console, in words for the person in front of the page.

One catalogue serves the console page, the portal's error pages, ``server.py check`` and
docs/troubleshooting.md, so that a cause is described once and the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """The words for one kind of failure: what happened, what the user can do; for admins the cause and the mend."""

    title: str
    user: str
    cause: str
    mend: str  # empty where there is nothing to mend

    @property
    def admin(self) -> str:
        """Cause and mend in one."""
        return f"{self.cause} {self.mend}".rstrip()


CATALOGUE: dict[str, Advice] = {}


def _advice(code: str, title: str, user: str, cause: str, mend: str = "") -> str:
    CATALOGUE[code] = Advice(title, user, cause, mend)
    return code


ASK_ADMIN = "Try again in a minute; if it stays, tell your lab's admin the request id below."

# The virtual machine itself.
VM_STOPPED = _advice(
    "vm-stopped",
    "This machine is switched off",
    "Start it on the page “My machines”, or ask your teacher to start it; then open the console again.",
    "The VM is stopped. Proxmox gives even a stopped VM a ticket and a 101, then closes without a word.",
    "Start it in Proxmox.",
)
VM_LOCKED = _advice(
    "vm-locked",
    "This machine is busy with a backup or another task",
    "Wait until the task has ended, then try again.",
    "The VM's config carries a lock: of a backup, a snapshot, a clone or a migration.",
    "Wait for the task; if none runs, the lock is stale: `qm unlock VMID` on the node.",
)
VM_GONE = _advice(
    "vm-gone",
    "This machine no longer exists on the cluster",
    "Tell your teacher or admin; the assignment points to a machine that was removed.",
    "Proxmox knows no such VMID.",
    "Correct cluster and VMID on the portal's page of VMs, or remove the VM there with its assignments.",
)
VM_KIND_UNSUPPORTED = _advice(
    "vm-kind-unsupported",
    "This kind of machine has no picture console here",
    "Tell your admin: this machine is a container.",
    "It is an LXC container, whose vncproxy does not work through pvesh: it blocks for 25 s, then fails.",
    "Containers open as a terminal. Whoever sees this has asked for a picture of one: please report how.",
)

NO_RESET_BUTTON = _advice(
    "no-reset-button",
    "This machine has no reset button",
    "Restart it instead, or switch it off and on again.",
    "It is an LXC container; Proxmox presses the reset button of virtual machines alone.",
    "Restart, or stop and start it.",
)

OPERATION_BUSY = _advice(
    "operation-busy",
    "Something else is being done with this machine already",
    "Wait until that has ended, then try again.",
    "A start, shutdown or reset that somebody asked for on the portal's pages has not ended; one at a time a machine.",
    "Wait for it; a task that hangs is stopped in Proxmox, in the task list of the VM's node.",
)
RIGHT_ENDED = _advice(
    "right-ended",
    "Your right to do this has ended",
    "Nothing was done. Ask your teacher or admin if it still has to be done.",
    "Before its turn came, an assignment, a role, a class or an account was changed, or an assignment or an API token "
    "ended.",
    "If that was not meant: give the right back, then have it asked for again.",
)
SHUTDOWN_IGNORED = _advice(
    "shutdown-ignored",
    "The machine did not switch itself off",
    "Its system may be stuck, or has not started yet. Shut it down from within, or pull the plug: what is not saved "
    "there is lost then.",
    "The guest did not react to ACPI within the VM's time limit (60 s unless its startup options say more), or the VM "
    "is paused.",
    "Install the guest agent, or let the guest's system obey the power button; one that is paused: `qm resume VMID`.",
)
SNAPSHOT_GONE = _advice(
    "snapshot-gone",
    "The snapshot to go back to does not exist",
    "Nothing was changed. Ask your teacher to name another snapshot for this machine.",
    "No snapshot of that name on this VM: it was removed or renamed, or was never taken on this one, or none is named.",
    "Compare with `qm listsnapshot VMID`; name another on the class's page, or take one of that name.",
)
SNAPSHOT_NOT_NEWEST = _advice(
    "snapshot-not-newest",
    "The machine cannot go back that far",
    "Nothing was changed. Tell your teacher that this machine can only go back to its newest snapshot.",
    "The VM's disks are on a storage (ZFS, for one) that goes back to the newest snapshot only, and this one has newer "
    "ones.",
    "Remove the newer ones, `qm delsnapshot VMID NAME`, or name the newest on the class's page.",
)

# The node and the way to it.
NODE_OFFLINE = _advice(
    "node-offline",
    "The machine's host is not answering",
    ASK_ADMIN,
    "The node that holds the VM is offline, or pvesh hung on its way to it.",
    "Look at the node, and at the cluster's quorum: `pvecm status` on another node.",
)
SSH_REFUSED = _advice(
    "ssh-refused",
    "The lab's cluster cannot be reached",
    ASK_ADMIN,
    "No SSH connection to PROXMOX_SSH_HOST:PROXMOX_SSH_PORT.",
    "Is the address right, is sshd running there, does a firewall stand between? Try: ssh -p PORT USER@HOST true.",
)
SSH_AUTH = _advice(
    "ssh-auth",
    "The lab's cluster does not accept the portal's key",
    ASK_ADMIN,
    "sshd refused the key of PROXMOX_SSH_KEY_PATH for PROXMOX_SSH_USER, or the file is no usable key.",
    "Put the public key into that user's authorized_keys: ssh-copy-id -i KEY.pub USER@HOST. It has no passphrase.",
)
SSH_HOST_KEY = _advice(
    "ssh-host-key",
    "The lab's cluster shows an unknown identity",
    ASK_ADMIN,
    "The host's key is not the one in PROXMOX_SSH_KNOWN_HOSTS (or PROXMOX_SSH_HOST_KEY), or the file has no line for "
    "this host and port. Either the host was reinstalled, or something else answers in its place.",
    "Compare the fingerprint at the host itself; if it is the host's, replace the line: ssh-keyscan -p PORT HOST.",
)
SSH_BUSY = _advice(
    "ssh-busy",
    "Too many consoles are being opened at once",
    "Wait a few seconds and try again.",
    "No turn came within a minute in the line before the node, or every channel of its SSH connections was taken "
    "until the deadline.",
    "Look at what hangs on the node; name all nodes in CLUSTERS_CONFIG; raise PROXMOX_CALLS_AT_ONCE.",
)
PVESH_TIMEOUT = _advice(
    "pvesh-timeout",
    "The lab's cluster took too long to answer",
    ASK_ADMIN,
    "pvesh gave no answer within PROXMOX_PVESH_TIMEOUT: load on the node, no quorum, or a storage that hangs.",
    "On the node: `time pvesh get /version` (0.7 s is normal), `pvecm status`, `pvesm status`.",
)
PVESH_FAILED = _advice(
    "pvesh-failed",
    "The lab's cluster refused the request",
    ASK_ADMIN,
    "pvesh, or the API, ended with an error of its own; its words are in the log line with the request id.",
    "Run the same call on the node as root, and act on what it says.",
)
PVESH_MISSING = _advice(
    "pvesh-missing",
    "The lab's cluster is not set up for the portal",
    ASK_ADMIN,
    "PROXMOX_SSH_USER has no pvesh, or may not run it: it works as root only.",
    "Set PROXMOX_SSH_HOST to a Proxmox VE node and PROXMOX_SSH_USER to root.",
)
TASK_UNSEEN = _advice(
    "task-unseen",
    "The lab's cluster did not begin what was asked",
    "Look at the machine's state before you try again: it may have been begun late.",
    "pvesh was started on the node, but no task of it showed up in the node's list within 25 s: load on the node, no "
    "quorum, or pvesh ended before it made one.",
    "Look at the task log of the VM's node; run the same call there as root, and act on what it says.",
)
NO_FREE_PORT = _advice(
    "no-free-port",
    "All console places on this host are taken",
    "Close consoles you do not need and try again in a moment.",
    "A Proxmox host has 100 console ports (5900-5999); all are in use.",
    "End consoles that nobody looks at, Proxmox's own pages included.",
)

# The ticket and the websocket to Proxmox.
COOKIE_REFUSED = _advice(
    "cookie-refused",
    "The lab's cluster did not accept the portal's sign-in",
    ASK_ADMIN,
    "Proxmox answered 401 to the auth cookie, also to a fresh one: PROXMOX_HOST is no node of the cluster that "
    "PROXMOX_SSH_HOST belongs to, the clocks differ, there is no quorum, or PROXMOX_PASSWORD is wrong.",
    "Let both settings name the same node; compare `date -u` on both machines; `pvecm status`.",
)
TICKET_REFUSED = _advice(
    "ticket-refused",
    "The lab's cluster did not accept the console ticket",
    ASK_ADMIN,
    "401 invalid PVEVNC ticket: PROXMOX_HOST is not the host that PROXMOX_SSH_HOST names, or the nodes' clocks differ "
    "(a ticket lives 40 s), or the cookie's user is not root@pam.",
    "Let both settings name the same node; `timedatectl` on every node; leave PROXMOX_USER at root@pam.",
)
PERMISSION_DENIED = _advice(
    "permission-denied",
    "The portal may not open this machine's console",
    ASK_ADMIN,
    "Proxmox answered 403: the user of the cookie, or of the API token, lacks a privilege on the VM: VM.Console to "
    "open it, VM.PowerMgmt or VM.Snapshot.Rollback for a button.",
    "Give PROXMOX_CONSOLE_USER, PROXMOX_USER or the token the privilege under Datacenter → Permissions.",
)
TLS_MISMATCH = _advice(
    "tls-mismatch",
    "The lab's cluster shows a certificate that the portal does not trust",
    ASK_ADMIN,
    "The certificate on port 8006 is not the one of PROXMOX_TLS_FINGERPRINT, or, where none is set, is not signed by "
    "the cluster's CA or one of the system's for the name in PROXMOX_HOST, or it has expired.",
    "Compare with the node's own (/etc/pve/local/pve-ssl.pem), and set the fingerprint if they agree: "
    "openssl s_client -connect HOST:8006 </dev/null | openssl x509 -noout -fingerprint -sha256",
)
API_UNREACHABLE = _advice(
    "api-unreachable",
    "The lab's cluster does not answer on its web port",
    ASK_ADMIN,
    "No answer at PROXMOX_HOST: no TCP connection, silence on it, or it was closed at once.",
    "Is the port right (8006), is pveproxy running (`systemctl status pveproxy`), does a firewall stand between, or "
    "ALLOW_FROM in the node's /etc/default/pveproxy?",
)
UPGRADE_FAILED = _advice(
    "upgrade-failed",
    "The lab's cluster did not open the console",
    ASK_ADMIN,
    "Proxmox answered the websocket request with an unexpected status; it is in the log line with the request id.",
    "`journalctl -u pveproxy` on the node. A proxy before port 8006 that passes no websockets shows here too.",
)
UPSTREAM_SILENT = _advice(
    "upstream-silent",
    "The machine's screen did not answer",
    "Try again. If it stays, ask your teacher to restart the machine.",
    "No answer within CONSOLE_HANDSHAKE_TIMEOUT. pveproxy stays silent for ever when nothing listens on the console's "
    "port: PROXMOX_HOST is another node than the one where pvesh ran, or the port was used or has expired (10 s) on "
    "an overloaded node. Or QEMU is stuck.",
    "Let PROXMOX_HOST and PROXMOX_SSH_HOST name the same node, then try again; `qm status VMID --verbose` on the node.",
)
UPSTREAM_CLOSED = _advice(
    "upstream-closed",
    "The machine closed its screen",
    "It was probably switched off or restarted. Open the console again when it runs.",
    "A bare TCP close from Proxmox: the VM stopped, restarted or migrated, or pveproxy was restarted.",
    "Try again when the VM runs; its task log on the node says what happened.",
)
VNC_AUTH_FAILED = _advice(
    "vnc-auth-failed",
    "The machine's screen refused the portal's password",
    "Try again.",
    "QEMU refused the VNC password: another viewer (Proxmox's own UI) opened the same VM in the same second.",
    "Try again.",
)
VNC_PROTOCOL = _advice(
    "vnc-protocol",
    "The machine's screen speaks an unknown protocol",
    ASK_ADMIN,
    "What answered is not RFB 3.8 with VNC authentication: a proxy in between, or a display that is not VNC.",
    "Set the VM's Display to Default, Standard VGA or VirtIO-GPU.",
)
TERMINAL_REFUSED = _advice(
    "terminal-refused",
    "The machine's terminal did not open",
    "Try again. If it stays, ask your teacher to restart the machine.",
    "termproxy closed the connection or stayed silent after the ticket, and never says why: the ticket came too late "
    "(10 s), the nodes' clocks differ, or it is an API token's and the host is from before November 2025.",
    "The task log of the machine on the node names the cause; leave PROXMOX_USER at root@pam.",
)

# The ways to sign in, as `check` looks at them.
SIGN_IN_UNREACHABLE = _advice(
    "sign-in-unreachable",
    "A way to sign in cannot be reached",
    "Try again in a few minutes, or use another way to sign in.",
    "The server of a sign-in backend does not answer, or what answers is not who AUTH_CONFIG names.",
    "Compare its address and ca_file in AUTH_CONFIG; is a firewall between? The detail says how far it went.",
)
SIGN_IN_REFUSED = _advice(
    "sign-in-refused",
    "A way to sign in refuses the portal",
    "Use another way to sign in, and tell your lab's admin.",
    "The server of a sign-in backend answers, but does not take the portal's own account, client or address.",
    "Compare the service account, the client or the service in AUTH_CONFIG with what is registered there.",
)
SIGN_IN_NOBODY = _advice(
    "sign-in-nobody",
    "A way to sign in does not find people",
    "Compare your user name, or use another way to sign in.",
    "The directory answers, but has nobody of that name where the portal looks, or hides what it has to know.",
    "Compare base, user_filter and the attributes in AUTH_CONFIG, and what the service account may read.",
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

# The portal itself.
TOO_MANY_CONSOLES = _advice(
    "too-many-consoles",
    "Too many consoles are open",
    "Close consoles you do not need and try again.",
    "CONSOLE_MAX or CONSOLE_MAX_PER_USER is reached.",
    "Close some, or raise the limit.",
)
INTERNAL = _advice(
    "internal",
    "Something went wrong in the portal",
    ASK_ADMIN,
    "An unexpected error; the traceback is in the log with the request id.",
    "Please report it with the traceback.",
)


# Only a symptom: the cluster may know better what is wrong with the machine.
UNCLEAR = frozenset({UPSTREAM_SILENT, UPSTREAM_CLOSED, UPGRADE_FAILED, TERMINAL_REFUSED, PVESH_TIMEOUT, PVESH_FAILED})

# Trying again by itself may help: the page does so, with growing pauses.
PASSING = frozenset(
    {
        SSH_BUSY,
        PVESH_TIMEOUT,
        NO_FREE_PORT,
        UPSTREAM_SILENT,
        UPSTREAM_CLOSED,
        VNC_AUTH_FAILED,
        TERMINAL_REFUSED,
        SHUTTING_DOWN,
    }
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
