"""Who asks one cluster, and whom is believed there: passes and trust, for all of its nodes."""

from __future__ import annotations

from cyberlab import problems
from cyberlab.blocking import BlockingPool
from cyberlab.problems import Problem
from cyberlab.proxmox import tls
from cyberlab.proxmox.cookies import checked, sign_in
from cyberlab.proxmox.flight import Flight, Kept
from cyberlab.proxmox.minting import TICKET_USER, mint_cookie
from cyberlab.proxmox.nodes import Node, Nodes
from cyberlab.proxmox.passes import Pass, Passes
from cyberlab.proxmox.tls import Trust
from cyberlab.settings import ClusterSettings

_FILES_SECONDS = 10.0
_TRUSTS = 64
_CA_SECONDS = 1800.0  # a CA that was renewed, or a node that has joined, is known within half an hour

_Key = tuple[str, str, tuple[str, ...]]


class Trusts:
    """What to verify connections against, by the node's address, CA and names; made once for all who wait."""

    def __init__(self, label: str) -> None:
        """``label``: for the thread's name."""
        self._known: dict[_Key, Trust] = {}
        self._flights: dict[_Key, Flight[Trust]] = {}
        self._files = BlockingPool(f"tls-{label}", 1)

    async def get(self, settings: ClusterSettings, ca: str, names: tuple[str, ...]) -> Trust:
        """``ca``: PEM, '' for none; ``names``: that the node may have; raise Problem."""
        key = (settings.host, ca, names)
        known = self._known.get(key)
        if known is not None:
            return known

        async def make() -> Trust:
            # Reading the system's CAs takes the disk's time: not on the loop, and once for all who wait.
            try:
                made = await self._files.run(_FILES_SECONDS, tls.trust_of, settings, ca, names)
            except TimeoutError:
                raise Problem(problems.INTERNAL, "the certificates could not be read in time") from None
            finally:
                self._flights.pop(key, None)
            if len(self._known) >= _TRUSTS:  # the CA was renewed again and again, or nodes came and went
                self._known.clear()
            self._known[key] = made
            return made

        return await self._flights.setdefault(key, Flight()).join(make)

    def close(self) -> None:
        """End what is in flight (blocking)."""
        for flight in list(self._flights.values()):
            flight.close()
        self._files.close()


class ClusterAccess:
    """The passes and the trust of one cluster."""

    def __init__(self, settings: ClusterSettings) -> None:
        """``nodes`` is to be set before the first call."""
        self._settings = settings
        self.nodes: Nodes
        self.passes = Passes(self._fetch_pass)
        self.trusts = Trusts(settings.cluster)
        self._ca = Kept(self._fetch_ca, _CA_SECONDS)
        self._names = Kept(self._fetch_names, _CA_SECONDS)

    @property
    def _said(self) -> bool:
        """Whether the settings say what to trust, or there is no way to learn it."""
        settings = self._settings
        return bool(settings.tls_insecure_skip_verify or not settings.needs_ssh)

    async def ca(self) -> str:
        """The cluster's CA (PEM) as it came over SSH, '' where the settings say what to trust; raise Problem."""
        return "" if self._said or self._settings.tls_ca_file is not None else await self._ca.get()

    async def trust(self, node: Node) -> Trust:
        """What to verify that node's web port against, before there is a ticket of it; raise Problem."""
        settings = node.settings
        if settings.tls_fingerprint or self._said:
            return await self.trusts.get(settings, "", (node.name,) if node.name else ())
        # Of a node without a name it is unknown which one it is that answers, so it may be any.
        names = (node.name,) if node.name else await self._names.get()
        return await self.trusts.get(settings, await self.ca(), names)

    async def _fetch_ca(self) -> str:
        return (await self.nodes.first(lambda node: node.pvesh.certificates(), by_the_way=self._by_the_way)).ca

    async def _fetch_names(self) -> tuple[str, ...]:
        return tuple(await self.nodes.first(lambda node: node.pvesh.nodes(), by_the_way=self._by_the_way))

    @property
    def _by_the_way(self) -> bool:
        return self._settings.source != "pvesh"

    async def _fetch_pass(self) -> Pass:
        settings = self._settings
        if settings.by_token:
            return Pass.of_token(settings.token_name, settings.token_value.get_secret_value())
        if password := settings.password.get_secret_value():
            return await self._sign_in(settings.user, password)
        user = settings.user if settings.source == "https" else settings.console_user or TICKET_USER
        minted = await self.nodes.first(lambda node: mint_cookie(node.warm, user), by_the_way=self._by_the_way)
        cookie = checked(minted)
        if settings.source == "https":
            return await self._sign_in(user, cookie)
        return Pass.of_cookie(user, cookie)

    async def _sign_in(self, user: str, secret: str) -> Pass:
        async def work(node: Node) -> Pass:
            return await sign_in(node.web, await self.trust(node), user, secret)

        return await self.nodes.first(work, by_the_way=self._settings.source == "pvesh")

    def close(self) -> None:
        """End what is in flight (blocking)."""
        self.passes.close()
        self._ca.close()
        self._names.close()
        self.trusts.close()
