"""Assignments as plain values, many at a time: twenty thousand of them are no place for mapped objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session, aliased

from cyberlab.db import bulk
from cyberlab.db.models import Assignment, Group, User, Vm
from cyberlab.db.read_only import reads

_Via = aliased(Group)


class Row(NamedTuple):
    """What a change needs of one assignment, as plain values: there may be twenty thousand."""

    id: int
    version: int
    vm_id: int
    user_id: int | None
    group_id: int | None
    via_group_id: int | None
    starts_at: datetime | None
    ends_at: datetime | None
    can_power: bool
    can_reset: bool
    cluster: str
    vmid: int
    vm_name: str
    user: str | None
    group: str | None
    via: str | None

    @property
    def label(self) -> str:
        """How audit rows name it, as those of assignments.py do."""
        holder = f"class {self.group}" if self.group is not None else self.user or "?"
        via = f" for class {self.via}" if self.via is not None else ""
        return f"{f'{self.cluster}/{self.vmid} {self.vm_name}'.rstrip()} -> {holder}{via}"

    @property
    def terms(self) -> str:
        """Times and rights in words for the audit."""
        rights = ["open", *(["power"] if self.can_power else []), *(["reset"] if self.can_reset else [])]
        return f"{self.starts_at or '…'} – {self.ends_at or '…'}, {' '.join(rights)}"


@reads
def rows(s: Session, ids: Collection[int]) -> list[Row]:
    """Those that exist, by VM name."""
    found: list[Row] = []
    for some in bulk.chunks(sorted(ids)):
        found += (Row(*values) for values in s.execute(_columns().where(Assignment.id.in_(some))))
    return sorted(found, key=lambda row: (row.vm_name, row.vm_id, row.id))


def lock(s: Session, ids: Iterable[int]) -> None:
    """Keep others from changing them until the transaction ends; in one order, lest two wait for each other."""
    for some in bulk.chunks(sorted(ids)):
        s.execute(select(Assignment.id).where(Assignment.id.in_(some)).order_by(Assignment.id).with_for_update())


def remove(s: Session, ids: Iterable[int]) -> None:
    """Delete them."""
    for some in bulk.chunks(ids):
        s.execute(delete(Assignment).where(Assignment.id.in_(some)).execution_options(synchronize_session=False))


def update_terms(s: Session, rows: Iterable[Row]) -> None:
    """Write times and rights, and count the version on; the rows are locked."""
    for some in bulk.chunks(rows):
        s.execute(
            update(Assignment),
            [
                {
                    "id": row.id,
                    "version": row.version + 1,
                    "starts_at": row.starts_at,
                    "ends_at": row.ends_at,
                    "can_power": row.can_power,
                    "can_reset": row.can_reset,
                }
                for row in some
            ],
        )


_COLUMNS: tuple[Any, ...] = (
    Assignment.id,
    Assignment.version,
    Assignment.vm_id,
    Assignment.user_id,
    Assignment.group_id,
    Assignment.via_group_id,
    Assignment.starts_at,
    Assignment.ends_at,
    Assignment.can_power,
    Assignment.can_reset,
    Vm.cluster,
    Vm.vmid,
    Vm.name,
    User.username,
    Group.name,
    _Via.name,
)


def _columns() -> Select[Any]:
    return (
        select(*_COLUMNS)
        .select_from(Assignment)
        .join(Vm, Vm.id == Assignment.vm_id)
        .outerjoin(User, User.id == Assignment.user_id)
        .outerjoin(Group, Group.id == Assignment.group_id)
        .outerjoin(_Via, _Via.id == Assignment.via_group_id)
    )
