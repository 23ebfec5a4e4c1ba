"""How the simulated cluster behaves: versions, limits and times, all of which a test may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Options:
    """Times are seconds, sizes bytes; the defaults are Proxmox's own unless a comment says otherwise."""

    # Tickets since the hardening of April 2026: bound to the port, with a fresh VNC password of their own.
    hardened: bool = True
    # AnyEvent with libev survives a `die` in a callback (the connection wedges); without it the worker dies.
    libev: bool = True

    # A node's cores, shared by what runs there; 0: one for everything. CPU-seconds are counted either way.
    cores: float = 0.0
    # pvesh. The real one takes 0.57 s of CPU in 0.6 to 0.8 s; nobody wants to wait for that in a demo.
    call_cpu: float = 0.0
    call_cost: float = 0.0
    # A warm pvesh: what loading the modules takes once, and each call then. The latter is 0.047 s in all.
    # Without ``warm`` the node lacks the modules.
    warm: bool = True
    warm_load: float = 0.0
    warm_cpu: float = 0.0
    # The one-liner that mints a cookie: 0.25.
    mint_cpu: float = 0.0
    # Proxying to a node that is offline: until the kernel gives up on the TCP connection.
    offline_hang: float = 130.0
    # The console of a container by pvesh: how long it blocks before it fails.
    lxc_vncproxy: float = 25.8
    # How old /cluster/resources may be. pvestatd writes it every 10 s; 0 keeps the demo's pages fresh.
    resources_age: float = 0.0
    # How long a power or snapshot task takes.
    task_duration: float = 0.0

    # sshd
    max_sessions: int = 10
    # MaxStartups start:rate:full, of connections that have not signed in.
    max_startups: tuple[int, int, int] = (10, 30, 100)

    # The vncproxy worker and QEMU's password.
    accept_window: float = 10.0
    port_reservation: float = 5.0
    first_port: int = 5900
    last_port: int = 5999
    # From the accept to the new VNC password: perl's start on a real host, 0.3 to 0.5, most of it CPU.
    vncproxy_cpu: float = 0.0
    vncproxy_start: float = 0.0
    password_lifetime: float = 30.0
    idle_exit: float = 900.0
    stopped_close: float = 0.5

    # termproxy: how long it waits for the line of authentication, and from its OK to the first byte of the terminal.
    terminal_sign_in: float = 10.0
    terminal_start: float = 0.01

    # pveproxy
    # A call over HTTPS: 0.04 on a real host, CPU all of it.
    https_cpu: float = 0.0
    https_cost: float = 0.0
    # A call proxied to a node that is offline: until AnyEvent::HTTP gives up.
    https_offline_hang: float = 30.0
    # Every how many vncproxy calls over HTTPS one fails with a 500; a real node did it about once in 40. 0: never.
    vncproxy_stumbles: int = 0
    refusal_delay: float = 3.0
    patience: float = 5.0
    guest_buffer: int = 640 * 1024
    # The real one has no limit towards the client; this one stops short of filling the machine's memory.
    client_buffer: int = 256 * 1024 * 1024

    @classmethod
    def as_measured(cls, cores: float = 4.0) -> Options:
        """What things cost on a real host, as measured on one."""
        return cls(
            cores=cores, call_cpu=0.57, call_cost=0.1, mint_cpu=0.25, vncproxy_cpu=0.3, https_cpu=0.04,
            warm_cpu=0.045, warm_load=0.9, resources_age=10.0,
        )  # fmt: skip
