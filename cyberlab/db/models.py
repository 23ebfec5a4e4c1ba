"""The tables, and rules that hold for every row: times are UTC and aware; relationships load only when asked for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
)
from sqlalchemy.orm import Mapped, Mapper, mapped_column, relationship

from cyberlab.db.base import (
    EMPTY,
    NEVER_REUSED,
    Base,
    Created,
    Id,
    SearchText,
    UtcDateTime,
    Version,
    utcnow,
    value_enum,
)
from cyberlab.db.models_sign_in import (
    ApiToken,
    AttemptScope,
    KnownAddress,
    RecoveryCode,
    RememberedDevice,
    SignInAttempt,
    TotpDevice,
    WebauthnCredential,
)
from cyberlab.db.text import fold

__all__ = [
    "EMPTY",
    "NEVER_REUSED",
    "AccessEpoch",
    "ApiToken",
    "Assignment",
    "AttemptScope",
    "AuditEvent",
    "Base",
    "BulkChange",
    "ConsoleSession",
    "Group",
    "KnownAddress",
    "LoginSession",
    "Membership",
    "MembershipRole",
    "RecoveryCode",
    "RememberedDevice",
    "Role",
    "SignInAttempt",
    "TotpDevice",
    "User",
    "UtcDateTime",
    "Vm",
    "VmKind",
    "WebauthnCredential",
    "search_text",
    "utcnow",
]


class Role(enum.StrEnum):
    """What a user is to the portal."""

    STUDENT = "student"
    TEACHER = "teacher"
    ADMIN = "admin"


class MembershipRole(enum.StrEnum):
    """What a user is to one class."""

    STUDENT = "student"
    TEACHER = "teacher"


class VmKind(enum.StrEnum):
    """Proxmox's two kinds of guests, spelled as in its API paths."""

    QEMU = "qemu"
    LXC = "lxc"


class User(Base):
    """A person, keyed by what one backend asserts: (backend, subject)."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("backend", "subject"), UniqueConstraint("backend", "username"), NEVER_REUSED)

    id: Mapped[Id]
    backend: Mapped[str] = mapped_column(String(64), default="local")
    subject: Mapped[str | None] = mapped_column(String(255))  # None until the first sign-in claims the row
    username: Mapped[str] = mapped_column(String(255), index=True)  # as text.normalise_username() gives it
    display_name: Mapped[str] = mapped_column(String(255), default="")
    email: Mapped[str | None] = mapped_column(String(320))
    role: Mapped[Role] = mapped_column(value_enum(Role, "role"), default=Role.STUDENT, index=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))  # bcrypt; local accounts only
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
    last_login_at: Mapped[datetime | None]
    search_text: Mapped[SearchText]
    role_mapped: Mapped[bool] = mapped_column(default=False, server_default=false())  # the backend's groups gave it
    external_groups: Mapped[str] = mapped_column(
        Text, default="", server_default=EMPTY
    )  # sorted, one a line; for showing
    factor_grace_until: Mapped[datetime | None]  # until then the enrolment of a second factor may be put off
    language: Mapped[str] = mapped_column(String(16), default="", server_default=EMPTY)  # "": the browser's
    time_zone: Mapped[str] = mapped_column(String(64), default="", server_default=EMPTY)  # IANA; "": the browser's
    version: Mapped[Version]


class Group(Base):
    """A class."""

    __tablename__ = "groups"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(255), unique=True)
    archived_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    search_text: Mapped[SearchText]
    version: Mapped[Version]


class Membership(Base):
    """A user in a class, as student or teacher."""

    __tablename__ = "memberships"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[MembershipRole] = mapped_column(value_enum(MembershipRole, "role"), default=MembershipRole.STUDENT)
    granted_by: Mapped[str] = mapped_column(String(64), default="", server_default=EMPTY)  # a backend; "": by hand


class Vm(Base):
    """A virtual machine or container; ``id`` is the portal's own, two clusters may both have a VMID 100."""

    __tablename__ = "vms"
    __table_args__ = (
        UniqueConstraint("cluster", "vmid"),
        CheckConstraint("vmid BETWEEN 100 AND 999999999", name="vmid_range"),
        NEVER_REUSED,
    )

    id: Mapped[Id]
    cluster: Mapped[str] = mapped_column(String(32))
    vmid: Mapped[int]
    kind: Mapped[VmKind] = mapped_column(value_enum(VmKind, "kind"), default=VmKind.QEMU)
    node: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(255), default="", index=True)
    created_at: Mapped[Created]
    search_text: Mapped[SearchText]
    # As the cluster's inventory said last (db/inventory.py); nobody's right hangs on any of it.
    status: Mapped[str] = mapped_column(String(16), default="unknown", server_default=text("'unknown'"), index=True)
    lock: Mapped[str] = mapped_column(String(32), default="", server_default=EMPTY)
    pool: Mapped[str] = mapped_column(String(255), default="", server_default=EMPTY, index=True)
    tags: Mapped[str] = mapped_column(Text, default="", server_default=EMPTY)  # ";netsec;student;", or ""
    template: Mapped[bool] = mapped_column(default=False, server_default=false())
    seen_at: Mapped[datetime | None]  # when the inventory had it last; None: never (added by hand)
    vanished_at: Mapped[datetime | None]  # since when the inventory has it no more; its assignments stay
    reset_snapshot: Mapped[str] = mapped_column(String(40), default="", server_default=EMPTY)  # the teacher's choice
    renamed: Mapped[bool] = mapped_column(default=False, server_default=false())  # the name is the portal's own
    version: Mapped[Version]

    @property
    def label(self) -> str:
        """How logs and audit rows name the VM: ``cluster/vmid name``."""
        return f"{self.cluster}/{self.vmid} {self.name}".rstrip()


class Assignment(Base):
    """A VM given to a user or to a class, from a time until a time; None means without limit."""

    __tablename__ = "assignments"
    __table_args__ = (
        CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name="user_or_group"),
        CheckConstraint("via_group_id IS NULL OR user_id IS NOT NULL", name="via_group_of_user"),
        CheckConstraint("ends_at IS NULL OR starts_at IS NULL OR ends_at > starts_at", name="ends_after_start"),
        UniqueConstraint("vm_id", "user_id"),
        UniqueConstraint("vm_id", "group_id"),
        NEVER_REUSED,
    )

    id: Mapped[Id]
    vm_id: Mapped[int] = mapped_column(ForeignKey("vms.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), index=True)
    # The class for whose sake a user has the VM: it ends with the class, and the class's teachers see it.
    via_group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), index=True)
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    can_power: Mapped[bool] = mapped_column(default=False)
    can_reset: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]
    version: Mapped[Version]

    vm: Mapped[Vm] = relationship(lazy="raise")
    user: Mapped[User | None] = relationship(lazy="raise")
    group: Mapped[Group | None] = relationship(lazy="raise", foreign_keys=[group_id])
    via_group: Mapped[Group | None] = relationship(lazy="raise", foreign_keys=[via_group_id])

    @property
    def class_of(self) -> Group | None:
        """The class that this is for, whether it holds the VM itself or one of its students does."""
        return self.group or self.via_group


class LoginSession(Base):
    """A signed-in browser: a row with the token's hash, revocable, with an idle and an absolute limit."""

    __tablename__ = "login_sessions"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)  # hex SHA-256
    created_at: Mapped[Created]
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str] = mapped_column(String(45), default="")
    user_agent: Mapped[str] = mapped_column(String(255), default="")

    user: Mapped[User] = relationship(lazy="raise")


class ConsoleSession(Base):
    """A console that was opened: who, what, when, how long, how many bytes, why it ended."""

    __tablename__ = "console_sessions"
    __table_args__ = (Index(None, "vm_id", "started_at"), Index(None, "user_id", "started_at"), NEVER_REUSED)

    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    vm_id: Mapped[int | None] = mapped_column(ForeignKey("vms.id", ondelete="SET NULL"))
    username: Mapped[str] = mapped_column(String(255))  # as it was, kept when the user is deleted
    vm_label: Mapped[str] = mapped_column(String(320))  # cluster/vmid name, as it was
    address: Mapped[str] = mapped_column(String(45), default="")
    wall: Mapped[bool] = mapped_column(default=False, server_default=false())  # one of many on a teacher's wall
    started_at: Mapped[Created]
    ended_at: Mapped[datetime | None]
    bytes_to_client: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_to_upstream: Mapped[int] = mapped_column(BigInteger, default=0)
    end_reason: Mapped[str | None] = mapped_column(String(64))  # a problems code, or "closed"


class AuditEvent(Base):
    """Something worth remembering: who did what to which object, from where."""

    __tablename__ = "audit_events"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    actor: Mapped[str] = mapped_column(String(255))  # as it was: a username, "cli"
    action: Mapped[str] = mapped_column(String(64), index=True)  # "login.success", "assignment.create"
    object: Mapped[str] = mapped_column(String(320), default="")
    detail: Mapped[str] = mapped_column(String(1024), default="")
    address: Mapped[str] = mapped_column(String(45), default="")


class BulkChange(Base):
    """Many changes made in one go, with what takes them back; ``undo`` is JSON of db/bulk.py's own."""

    __tablename__ = "bulk_changes"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    title: Mapped[str] = mapped_column(String(255))
    undo: Mapped[str] = mapped_column(Text)
    undone_at: Mapped[datetime | None]


class AccessEpoch(Base):
    """One row, one counter: grows with every change that may take a right away.

    Open consoles are re-authorized when it has grown, so that a change by another process (the shell
    commands) reaches them as quickly as one by a page, at the price of reading one number.
    """

    __tablename__ = "access_epoch"

    id: Mapped[Id]
    value: Mapped[int] = mapped_column(default=0)


# What a search looks at, folded once when written: neither database's own idea of upper and lower case
# reaches beyond ASCII by itself (SQLite never, PostgreSQL not in the C locale).
_SEARCHED: dict[type[Base], tuple[str, ...]] = {
    User: ("username", "display_name", "email"),
    Group: ("name",),
    Vm: ("name", "cluster", "vmid", "node"),
}


def search_text(model: type[Base], values: Mapping[str, object]) -> str:
    """What a search looks at in a row with those values (for statements that write many, past the events below)."""
    fields = (values.get(field) for field in _SEARCHED[model])
    return fold(" ".join(str(field) for field in fields if field is not None))


def _set_search_text(mapper: Mapper[Any], connection: Connection, row: Any) -> None:
    model = mapper.class_
    row.search_text = search_text(model, {field: getattr(row, field) for field in _SEARCHED[model]})


for _class in _SEARCHED:
    event.listen(_class, "before_insert", _set_search_text)
    event.listen(_class, "before_update", _set_search_text)
