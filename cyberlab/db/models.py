"""The tables. One class per noun; times are UTC and aware; relationships load only when asked for."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column, relationship

from cyberlab.db.text import fold


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite drops the zone, PostgreSQL keeps it, Python always sees UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times before they reach the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's naive times their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utcnow() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can drop them on either database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime}


Id = Annotated[int, mapped_column(primary_key=True)]
Created = Annotated[datetime, mapped_column(UtcDateTime, default=utcnow)]
SearchText = Annotated[str, mapped_column(Text, default="")]

EMPTY = text("''")  # the default of columns that came to a table later

# SQLite would give the id of the last deleted row to the next one: a console of a login session that
# was signed out, or a bookmarked VM, would then belong to its successor.
NEVER_REUSED: dict[str, Any] = {"sqlite_autoincrement": True}


def _enum(kind: type[enum.StrEnum], name: str) -> Enum:
    """A CHECKed string column holding the values, so that both databases store the same."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        length=16,
        create_constraint=True,
        values_callable=lambda members: [member.value for member in members],
    )


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
    role: Mapped[Role] = mapped_column(_enum(Role, "role"), default=Role.STUDENT, index=True)
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


class Group(Base):
    """A class."""

    __tablename__ = "groups"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(255), unique=True)
    archived_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    search_text: Mapped[SearchText]


class Membership(Base):
    """A user in a class, as student or teacher."""

    __tablename__ = "memberships"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[MembershipRole] = mapped_column(_enum(MembershipRole, "role"), default=MembershipRole.STUDENT)
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
    kind: Mapped[VmKind] = mapped_column(_enum(VmKind, "kind"), default=VmKind.QEMU)
    node: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(255), default="", index=True)
    created_at: Mapped[Created]
    search_text: Mapped[SearchText]

    @property
    def label(self) -> str:
        """How logs and audit rows name the VM: ``cluster/vmid name``."""
        return f"{self.cluster}/{self.vmid} {self.name}".rstrip()


class Assignment(Base):
    """A VM given to a user or to a class, from a time until a time; None means without limit."""

    __tablename__ = "assignments"
    __table_args__ = (
        CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name="user_or_group"),
        CheckConstraint("ends_at IS NULL OR starts_at IS NULL OR ends_at > starts_at", name="ends_after_start"),
        UniqueConstraint("vm_id", "user_id"),
        UniqueConstraint("vm_id", "group_id"),
        NEVER_REUSED,
    )

    id: Mapped[Id]
    vm_id: Mapped[int] = mapped_column(ForeignKey("vms.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), index=True)
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    can_power: Mapped[bool] = mapped_column(default=False)
    can_reset: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Created]

    vm: Mapped[Vm] = relationship(lazy="raise")
    user: Mapped[User | None] = relationship(lazy="raise")
    group: Mapped[Group | None] = relationship(lazy="raise")


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


class TotpDevice(Base):
    """An authenticator app; the secret is stored encrypted."""

    __tablename__ = "totp_devices"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    secret: Mapped[str] = mapped_column(String(255))
    last_step: Mapped[int | None]  # the newest time step used; it and older ones are refused
    confirmed_at: Mapped[datetime | None]
    created_at: Mapped[Created]


class RecoveryCode(Base):
    """One of ten codes for the day the phone is gone; hashed, used once."""

    __tablename__ = "recovery_codes"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str] = mapped_column(String(64))
    used_at: Mapped[datetime | None]
    created_at: Mapped[Created]


class WebauthnCredential(Base):
    """A passkey or security key, as a second factor."""

    __tablename__ = "webauthn_credentials"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    credential_id: Mapped[str] = mapped_column(String(1400), unique=True)  # base64url of at most 1023 bytes
    public_key: Mapped[str] = mapped_column(Text)  # COSE, base64url
    sign_count: Mapped[int] = mapped_column(BigInteger, default=0)  # 32 bits without a sign
    transports: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[Created]
    last_used_at: Mapped[datetime | None]


class RememberedDevice(Base):
    """A browser in which the second factor is not asked for, for some days; revocable."""

    __tablename__ = "remembered_devices"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)  # hex SHA-256
    name: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[Created]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    last_used_at: Mapped[datetime | None]


class AttemptScope(enum.StrEnum):
    """What failed sign-ins are counted by."""

    ACCOUNT = "account"
    ADDRESS = "address"


class SignInAttempt(Base):
    """Failed sign-ins with one name or from one address, and until when the next one is refused unasked."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (UniqueConstraint("scope", "key"), NEVER_REUSED)

    id: Mapped[Id]
    scope: Mapped[AttemptScope] = mapped_column(_enum(AttemptScope, "scope"))
    key: Mapped[str] = mapped_column(String(64))  # hex SHA-256: what failed may be a password in the wrong field
    failures: Mapped[int] = mapped_column(default=0)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    blocked_until: Mapped[datetime | None]


class KnownAddress(Base):
    """Where a user has signed in from before: others' guesses do not make them wait there."""

    __tablename__ = "known_addresses"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    address: Mapped[str] = mapped_column(String(45), primary_key=True)
    last_success_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)


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


def _set_search_text(mapper: Mapper[Any], connection: Connection, row: Any) -> None:
    fields = (getattr(row, field) for field in _SEARCHED[mapper.class_])
    row.search_text = fold(" ".join(str(field) for field in fields if field is not None))


for _class in _SEARCHED:
    event.listen(_class, "before_insert", _set_search_text)
    event.listen(_class, "before_update", _set_search_text)
