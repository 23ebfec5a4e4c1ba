"""The tables of sign-in: second factors, remembered browsers, failed attempts, tokens of the API."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cyberlab.db.base import NEVER_REUSED, Base, Created, Id, UtcDateTime, utcnow, value_enum


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
    scope: Mapped[AttemptScope] = mapped_column(value_enum(AttemptScope, "scope"))
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


class ApiToken(Base):
    """A personal token of the REST API: hashed, with scopes and an end; shown once, when it is made."""

    __tablename__ = "api_tokens"
    __table_args__ = NEVER_REUSED

    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)  # hex SHA-256
    scopes: Mapped[str] = mapped_column(String(255), default="")  # separated by blanks
    created_at: Mapped[Created]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
