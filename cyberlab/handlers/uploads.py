"""Files that were uploaded and looked at, until somebody says what is to be done with them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import tzinfo

from cyberlab.blocking import BlockingPool
from cyberlab.db import exchange, exchange_assignments, exchange_classes, exchange_users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.exchange import Kind, Report

MOST_BYTES = 16 << 20  # of a file: 100,000 rows of 160 characters
PATIENCE = 120.0  # seconds that a request waits for its file to be read
KEPT_SECONDS = 1800.0
KEPT = 4  # files, one for each admin
MODULES = {
    Kind.USERS: exchange_users,
    Kind.CLASSES: exchange_classes,
    Kind.ASSIGNMENTS: exchange_assignments,
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file, whose it is, and what it would do."""

    id: int
    user_id: int
    kind: Kind
    name: str
    data: bytes
    zone: tzinfo
    report: Report
    at: float


class Uploads:
    """Holds a few, for half an hour each; a thread of its own reads them, one after the other."""

    def __init__(self) -> None:
        """Nothing runs before the first file."""
        self.pool = BlockingPool("import", 1, waiting=4)
        self._held: dict[int, Upload] = {}

    async def add(self, database: Database, user_id: int, kind: Kind, name: str, data: bytes, zone: tzinfo) -> Upload:
        """Look at a file and hold it, instead of an older one of that user's.

        Raises exchange_text.Unreadable, PoolBusy, TimeoutError, DatabaseUnavailable.
        """
        report = await self.pool.run(PATIENCE, _look, database, kind, data, zone)
        self.forget_old()
        for old in [upload for upload in self._held.values() if upload.user_id == user_id]:
            del self._held[old.id]
        while len(self._held) >= KEPT:
            del self._held[next(iter(self._held))]
        upload = Upload(secrets.randbelow(10**15), user_id, kind, name, data, zone, report, time.monotonic())
        self._held[upload.id] = upload
        return upload

    def get(self, upload_id: int, user_id: int) -> Upload | None:
        """That file, if it is still held and that user's."""
        self.forget_old()
        upload = self._held.get(upload_id)
        return upload if upload is not None and upload.user_id == user_id else None

    async def apply(self, database: Database, actor: Actor, upload: Upload, good_only: bool) -> Report:
        """Do what the file says, and hold it no longer; raise Conflict where a row is bad and not ``good_only``."""
        report = await self.pool.run(PATIENCE, _apply, database, actor, upload, good_only)
        self._held.pop(upload.id, None)
        return report

    def forget_old(self) -> None:
        """Let go of what nobody has come back for."""
        old = time.monotonic() - KEPT_SECONDS
        self._held = {upload.id: upload for upload in self._held.values() if upload.at >= old}

    def close(self) -> None:
        """End the thread."""
        self.pool.close()
        self._held.clear()


def _look(database: Database, kind: Kind, data: bytes, zone: tzinfo) -> Report:
    module = MODULES[kind]
    records, bad = exchange.parse(module, data, zone)
    return exchange.report(database.call(exchange.plan, module, records, bad))


def _apply(database: Database, actor: Actor, upload: Upload, good_only: bool) -> Report:
    module = MODULES[upload.kind]
    records, bad = exchange.parse(module, upload.data, upload.zone)
    # Planned without the write lock, so that others wait for the writing alone.
    work = database.call(exchange.plan, module, records, bad)
    return database.call(exchange.write, actor, module, records, work, good_only)
