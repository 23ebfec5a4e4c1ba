"""Wiring: makes the parts, starts them in order, and ends them in the opposite one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer

from cyberlab.access_watch import AccessWatch
from cyberlab.auth import config as auth_config
from cyberlab.auth.base import BackendContext
from cyberlab.auth.login import LoginService
from cyberlab.blocking import BlockingPool
from cyberlab.console.fairness import FairLoop
from cyberlab.console.gateway import Gateway
from cyberlab.console.registry import ConsoleRequest, Registry
from cyberlab.console.session import Limits
from cyberlab.db import audit, consoles, devices, logins, throttle
from cyberlab.db.engine import Database
from cyberlab.db.models import utcnow
from cyberlab.handlers.portal import Portal
from cyberlab.handlers.routes import make_application
from cyberlab.inventory_watch import InventoryWatch
from cyberlab.proxmox.cluster import Cluster
from cyberlab.settings import Configuration, Settings

log = logging.getLogger(__name__)

_HASHING_THREADS = 2  # bcrypt gives the GIL back; more threads than cores only make everybody wait longer
_PURGE_SECONDS = 3600.0
_PURGE_MOST = 100  # such transactions an hour
_PURGE_PAUSE = 0.2  # between two of its transactions: others write too
_ENDING_AT_ONCE = 32  # console rows being completed; well below what the database's pool queues


class ConsoleRows:
    """The console log in the database."""

    def __init__(self, database: Database) -> None:
        """Each call is one transaction."""
        self._database = database
        # Thousands of consoles may end in the same moment (a shutdown); the pool refuses more than it queues.
        self._ending = asyncio.Semaphore(_ENDING_AT_ONCE)

    async def opened(self, request: ConsoleRequest) -> int:
        """Begin a row; return its id."""
        return await self._database.run(
            consoles.opened,
            user_id=request.user_id,
            vm_id=request.vm_id,
            username=request.username,
            vm_label=request.vm_label,
            address=request.address,
            wall=request.wall,
        )

    async def closed(self, row: int, bytes_to_client: int, bytes_to_upstream: int, reason: str) -> None:
        """Complete a row."""
        async with self._ending:
            await self._database.run(
                consoles.closed,
                row,
                bytes_to_client=bytes_to_client,
                bytes_to_upstream=bytes_to_upstream,
                end_reason=reason,
            )


def limits_of(settings: Settings) -> Limits:
    """The gateway's times, from the settings."""
    return Limits(
        handshake=settings.console_handshake_timeout,
        ping=settings.console_ping_interval,
        upstream_keepalive=settings.console_upstream_keepalive,
        stuck=settings.console_stuck_timeout,
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    # A class opens its consoles in the same second: the backlog must hold them.
    sock = socket.create_server((settings.listen_address, settings.listen_port), family=family, backlog=1024)
    sock.setblocking(False)
    return sock


class Server:
    """The whole portal on one IOLoop."""

    def __init__(self, configuration: Configuration, clusters: Mapping[str, Cluster] | None = None) -> None:
        """Make the parts; nothing listens yet. ``clusters``: by name, instead of those of the configuration.

        Raises SettingsError for what AUTH_CONFIG names.
        """
        settings = configuration.portal
        sign_in = auth_config.load(settings.auth_config)  # before anything that would have to be closed again
        self.settings = settings
        self.database = Database(settings.database_url)
        self.auth_pool = BlockingPool("auth", _HASHING_THREADS, waiting=64)
        self.backends = auth_config.build(sign_in, BackendContext(self.database, settings))
        self.logins = LoginService(
            self.database,
            self.auth_pool,
            self.backends.password,
            settings,
            self.backends.config,
            self.backends.pools,
        )
        if clusters is None:
            clusters = {cluster.cluster: Cluster(cluster) for cluster in configuration.clusters}
        self.clusters = clusters
        self.registry = Registry(settings.console_max, settings.console_max_per_user)
        self.gateway = Gateway(self.registry, ConsoleRows(self.database), limits_of(settings))
        self.portal = Portal(
            config=settings,
            database=self.database,
            auth_pool=self.auth_pool,
            logins=self.logins,
            clusters=self.clusters,
            registry=self.registry,
            gateway=self.gateway,
            backends=self.backends,
        )
        self._watch = AccessWatch(self.database, self.logins, self.registry)
        self._inventory = InventoryWatch(self.database, self.clusters)
        self._http: HTTPServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.address = ""

    async def start(self, sockets: Iterable[socket.socket] | None = None) -> None:
        """Listen and begin the upkeep; raise OSError when the address is taken. ``sockets``: instead of our own."""
        await self.database.run(consoles.close_abandoned)
        listening = list(sockets) if sockets is not None else [_listen(self.settings)]
        # Headers of a forwarded request are read by the handlers, from trusted proxies only; bodies are forms.
        self._http = HTTPServer(make_application(self.portal), max_body_size=1 << 20, max_buffer_size=1 << 21)
        self._http.add_sockets(listening)
        host, port = listening[0].getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        upkeep = (self._watch.run(), self._inventory.run(), self._purge())
        self._tasks = [asyncio.create_task(each) for each in upkeep]

    async def _purge(self) -> None:
        """Once an hour, forget login sessions that have ended and failed sign-ins that matter no more."""
        while True:
            await asyncio.sleep(_PURGE_SECONDS)
            self.portal.uploads.forget_old()
            try:
                await self.database.run(logins.purge, utcnow())
                await self.database.run(throttle.purge, utcnow())
                await self.database.run(devices.purge, utcnow())
                await self._purge_history()
            except Exception as error:
                log.warning("what is over could not be removed: %s", error)

    async def _purge_history(self) -> None:
        """Forget what AUDIT_KEEP_DAYS keeps no longer, a few thousand rows a transaction."""
        days = self.settings.audit_keep_days
        before = utcnow() - timedelta(days=days)
        for purge in (audit.purge, consoles.purge):
            for _ in range(_PURGE_MOST if days else 0):
                if not await self.database.run(purge, before):
                    break
                await asyncio.sleep(_PURGE_PAUSE)

    async def stop(self) -> None:
        """Stop listening, end the consoles with a reason, then the upkeep, then the threads."""
        if self._http is not None:
            self._http.stop()
        await self.gateway.close(self.settings.shutdown_grace)
        await self.portal.operations.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.shutdown_grace):
                    await self._http.close_all_connections()
        # Joining threads blocks: nothing else runs on this loop any more.
        for cluster in self.clusters.values():
            cluster.close()
        self.portal.uploads.close()
        self.auth_pool.close()
        self.backends.close()
        self.database.close()


def serve(configuration: Configuration, *, ready: Callable[[str], None] | None = None) -> int:
    """Run the portal until SIGINT or SIGTERM; return the exit status. ``ready`` is called once it listens."""
    _log_to_stderr(configuration.portal.log_level)
    settings = configuration.portal
    public = urlsplit(settings.public_url)
    if public.scheme == "http" and public.hostname not in ("127.0.0.1", "localhost", "::1"):
        log.warning("PUBLIC_URL is http: passwords travel in the clear; put TLS in front (docs/proxmox-cluster.md)")
    try:
        with asyncio.Runner(loop_factory=FairLoop) as runner:
            return runner.run(_serve(configuration, ready))
    except OSError as error:
        where = f"{settings.listen_address}:{settings.listen_port}"
        log.error("cannot listen on %s: %s", where, os.strerror(error.errno or 0))
        return 1


async def _serve(configuration: Configuration, ready: Callable[[str], None] | None) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    server = Server(configuration)
    try:
        await server.start()
        log.info("listening on %s, public address %s", server.address, configuration.portal.public_url)
        if ready is not None:
            ready(configuration.portal.public_url)
        await stopping.wait()
        log.info("shutting down")
    finally:
        await server.stop()
    return 0


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
    )
    logging.getLogger("paramiko").setLevel(logging.ERROR)  # its own words for what we report as a Problem
