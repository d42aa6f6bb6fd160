"""Tables of accounts."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.postgres.tables.columns import INSTANT, NEW_UUID, NOW, identity


class UserRow(DefaultBase):
    """`mail_limited`: mail to the account is limited until its address is verified. Accounts that were registered by a
    version without the limit have false."""

    __tablename__ = "users"

    id: Mapped[int] = identity()
    uuid: Mapped[UUID] = mapped_column(Uuid, unique=True, server_default=NEW_UUID)
    email: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    phone: Mapped[str | None] = mapped_column(Text)
    timezone: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    is_verified: Mapped[bool] = mapped_column(server_default=text("false"))
    token_version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)
    google_id: Mapped[str | None] = mapped_column(Text, unique=True)
    profile_picture: Mapped[str | None] = mapped_column(Text)
    requested_role: Mapped[str | None] = mapped_column(Text)
    mail_limited: Mapped[bool] = mapped_column(server_default=text("false"))

    __table_args__ = (
        CheckConstraint("role IN ('user', 'facilitator', 'admin')", name="role"),
        CheckConstraint("requested_role = 'facilitator'", name="requested_role"),
        Index(
            "ix_users_search",
            text("search_vector(name)"),
            postgresql_using="gin",
            postgresql_where=text("role <> 'user'"),
        ),
        Index("ix_users_directory", text("search_vector((name || ' '::text) || email)"), postgresql_using="gin"),
        Index("ix_users_role", "role", "id", postgresql_where=text("role <> 'user'")),
        Index("ix_users_inactive", "id", postgresql_where=text("NOT is_active")),
        Index("ix_users_unverified", "id", postgresql_where=text("NOT is_verified")),
        Index("ix_users_requested", "id", postgresql_where=text("requested_role IS NOT NULL")),
    )


class FacilitatorProfileRow(DefaultBase):
    """`rating_sum` and `rating_count` are updated with each review, so that a list of events reads them in one
    query."""

    __tablename__ = "facilitator_profiles"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    bio: Mapped[str | None] = mapped_column(Text)
    specialization: Mapped[str | None] = mapped_column(Text)
    rating_sum: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    rating_count: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=NOW)


class OAuthAttemptRow(DefaultBase):
    """A pending sign-in at an identity provider. `state` and `browser` are hashes; an attempt is used once."""

    __tablename__ = "oauth_attempts"

    state: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    browser: Mapped[bytes] = mapped_column(LargeBinary)
    nonce: Mapped[str] = mapped_column(Text)
    verifier: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(INSTANT, index=True)


class LoginRow(DefaultBase):
    """A login is one family of refresh tokens; when it ends, all of its tokens are invalid. `last_used_at`, `network`
    and `user_agent` are those of the login or of the last refresh; NULL in rows of earlier versions."""

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    started_at: Mapped[datetime] = mapped_column(INSTANT)
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    end_reason: Mapped[str | None] = mapped_column(Text)
    last_used_at: Mapped[datetime | None] = mapped_column(INSTANT)
    network: Mapped[str | None] = mapped_column(Text)
    user_agent: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_logins_in_progress", "user_id", "id", postgresql_where=text("ended_at IS NULL")),)


class RefreshTokenRow(DefaultBase):
    __tablename__ = "refresh_tokens"

    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    login_id: Mapped[UUID] = mapped_column(ForeignKey("logins.id"), index=True)
    expires_at: Mapped[datetime] = mapped_column(INSTANT, index=True)
    retired_at: Mapped[datetime | None] = mapped_column(INSTANT)


class AccountTokenRow(DefaultBase):
    """A secret in the link of a mail about an account, as a hash. A token that was revoked counts as used."""

    __tablename__ = "account_tokens"

    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    email: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime] = mapped_column(INSTANT, index=True)
    used_at: Mapped[datetime | None] = mapped_column(INSTANT)

    __table_args__ = (
        Index("ix_account_tokens_reserved", "email", postgresql_where=text("kind = 'undo_email_change'")),
    )


class ApiKeyRow(DefaultBase):
    """`fingerprint`: the hash of the secret. `last_used_at`: the minute of the last use."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=NEW_UUID)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    prefix: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime | None] = mapped_column(INSTANT)
    last_used_at: Mapped[datetime | None] = mapped_column(INSTANT)
    revoked_at: Mapped[datetime | None] = mapped_column(INSTANT)
    revoke_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_api_keys_user_id", "user_id", "id"),
        Index("ix_api_keys_ended", text("least(revoked_at, expires_at)")),
    )


class LoginNetworkRow(DefaultBase):
    """A network from which a user has logged in. `network` is a keyed hash of the user and the network."""

    __tablename__ = "login_networks"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    network: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    last_login_at: Mapped[datetime] = mapped_column(INSTANT, index=True)


class UnverifiedMailRow(DefaultBase):
    """The last mails to an address that is not verified, the oldest first. `address` is a hash."""

    __tablename__ = "unverified_mails"

    address: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    message_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    counted_at: Mapped[list[datetime]] = mapped_column(ARRAY(INSTANT))
    last_at: Mapped[datetime] = mapped_column(INSTANT, index=True)


class SecondFactorRow(DefaultBase):
    """`secret`: that of an authenticator app, encrypted. `last_step`: the time step of the last code that was used.
    `credential_id`, `public_key`, `sign_count`: of a passkey."""

    __tablename__ = "second_factors"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    credential_id: Mapped[bytes | None] = mapped_column(LargeBinary)
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    sign_count: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    confirmed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    last_used_at: Mapped[datetime | None] = mapped_column(INSTANT)

    __table_args__ = (
        Index("uq_second_factors_credential_id", "credential_id", unique=True),
        Index("ix_second_factors_enrolments", "created_at", postgresql_where=text("confirmed_at IS NULL")),
    )


class RecoveryCodeRow(DefaultBase):
    """Codes that stand in for a lost factor, as hashes."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    used_at: Mapped[datetime | None] = mapped_column(INSTANT)


class LoginTicketRow(DefaultBase):
    """A login that waits for a second factor, by the hash of its secret."""

    __tablename__ = "login_tickets"

    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    token_version: Mapped[int] = mapped_column()
    login: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime] = mapped_column(INSTANT, index=True)
    used_at: Mapped[datetime | None] = mapped_column(INSTANT)


class ErasureRow(DefaultBase):
    """A requested erasure of an account. `begun_at`: the worker's first attempt."""

    __tablename__ = "erasures"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    requested_at: Mapped[datetime] = mapped_column(INSTANT)
    due_at: Mapped[datetime] = mapped_column(INSTANT)
    begun_at: Mapped[datetime | None] = mapped_column(INSTANT)
    erased_at: Mapped[datetime | None] = mapped_column(INSTANT)

    __table_args__ = (Index("ix_erasures_due_at", "due_at", postgresql_where=text("erased_at IS NULL")),)
