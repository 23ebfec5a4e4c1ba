"""What the pages work with: one object, hung on the Tornado application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cyberlab.auth.config import Backends
from cyberlab.auth.factors import Factors
from cyberlab.auth.login import LoginService
from cyberlab.auth.passkeys import Passkeys
from cyberlab.auth.vault import Vault
from cyberlab.blocking import BlockingPool
from cyberlab.console.registry import Registry
from cyberlab.db.engine import Database
from cyberlab.handlers.address import Network, networks
from cyberlab.handlers.assets import Assets
from cyberlab.handlers.operations import Operations
from cyberlab.handlers.snapshots import SnapshotLists
from cyberlab.handlers.uploads import Uploads
from cyberlab.proxmox.cluster import Cluster
from cyberlab.settings import ROOT, Settings


@dataclass(frozen=True, slots=True)
class Portal:
    """The portal's parts, made by app.py and given to every handler.

    ``auth_pool``: where passwords are hashed, the one that ``logins`` uses. ``clusters``: by name.
    ``backends``: those that ``logins`` asks, and those that the sign-in page sends people to.
    """

    config: Settings
    database: Database
    auth_pool: BlockingPool
    logins: LoginService
    clusters: Mapping[str, Cluster]
    registry: Registry
    gateway: Any = None
    backends: Backends = field(default_factory=Backends)
    assets: Assets = field(default_factory=lambda: Assets(ROOT / "static"))
    uploads: Uploads = field(default_factory=Uploads)
    proxies: tuple[Network, ...] = field(init=False)
    factors: Factors = field(init=False)
    passkeys: Passkeys = field(init=False)
    operations: Operations = field(init=False)
    snapshots: SnapshotLists = field(init=False)

    def __post_init__(self) -> None:
        """Parse the trusted proxies once; raises ValueError for a bad one."""
        object.__setattr__(self, "proxies", networks(self.config.trusted_proxies))
        object.__setattr__(self, "factors", Factors(self.database, self.auth_pool, Vault.of(self.config)))
        object.__setattr__(self, "passkeys", Passkeys(self.database, self.auth_pool, self.config.public_url))
        object.__setattr__(self, "operations", Operations(self.database, self.clusters))
        object.__setattr__(self, "snapshots", SnapshotLists(self.clusters))
