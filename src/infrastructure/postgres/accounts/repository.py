"""Accounts and their logins."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import CursorResult, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from application.accounts.ports.accounts import UNKNOWN_CLIENT, Credentials, RefreshToken
from domain.accounts import EmailTaken, LoginId, Role, User, UserId, UserNotFound
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import account, record_account, record_login, record_new_account, record_new_email, session_of
from domain.external_identity import ExternalIdentity
from domain.sessions import Client
from infrastructure.postgres.accounts.account_tokens import RESERVED
from infrastructure.postgres.constraints import domain_errors
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.postgres.tables import FacilitatorProfileRow, LoginRow, RefreshTokenRow, UserRow

_SUBJECTS = {"google": UserRow.google_id}
"""The column of the subject, by identity provider."""


class _UserRows(SQLAlchemyAsyncRepository[UserRow]):
    model_type = UserRow


class PostgresUsers:
    """Mail to a new account is limited until its address is verified. What was held is released with it."""

    def __init__(self, session: AsyncSession, messages: PostgresMessages, audit: AuditTrail) -> None:
        self._session = session
        self._messages = messages
        self._audit = audit
        self._rows = _UserRows(session=session)
        self._loaded: dict[UserId, User] = {}

    async def add(
        self,
        *,
        email: str,
        name: str,
        role: Role,
        password_hash: str,
        now: datetime,
        requested_role: Role | None = None,
    ) -> User:
        row = UserRow(
            email=email,
            name=name,
            role=role,
            requested_role=requested_role,
            password_hash=password_hash,
            created_at=now,
        )
        return await self._add(row, now)

    async def add_external(self, identity: ExternalIdentity, *, email: str, name: str, now: datetime) -> User:
        row = UserRow(
            email=email,
            name=name,
            role=Role.USER,
            is_verified=identity.email_verified,
            **{_SUBJECTS[identity.provider].key: identity.subject},
            profile_picture=identity.picture,
            created_at=now,
        )
        return await self._add(row, now)

    async def add_without_password(self, *, email: str, name: str, now: datetime) -> User:
        row = UserRow(email=email, name=name, role=Role.USER, is_verified=True, created_at=now)
        return await self._add(row, now)

    async def _add(self, row: UserRow, now: datetime) -> User:
        if await self.has_reserved(row.email, now):
            raise EmailTaken
        row.mail_limited = not row.is_verified
        with domain_errors():
            added = _user(await self._rows.add(row, auto_refresh=True))
        if added.is_verified:
            await self._messages.release_held(added.email)
        record_new_account(self._audit, added)
        self._loaded[added.id] = added
        return added

    async def change_email(self, user: User, email: str, now: datetime) -> User:
        if await self.has_reserved(email, now, but=user.id):
            raise EmailTaken
        with domain_errors():
            await self._session.execute(update(UserRow).where(UserRow.id == user.id).values(email=email))
        record_new_email(self._audit, user, email)
        changed = self._loaded[user.id] = replace(user, email=email)
        return changed

    async def has_reserved(self, email: str, now: datetime, *, but: UserId | None = None) -> bool:
        return bool(await self._session.scalar(RESERVED, {"email": email, "now": now, "but": but}))

    async def get(self, user_id: UserId) -> User:
        row = await self._rows.get_one_or_none(id=user_id)
        if row is None:
            raise UserNotFound
        return _user(row)

    async def get_locked(self, user_id: UserId) -> User:
        locked = select(UserRow).where(UserRow.id == user_id).with_for_update(key_share=True)
        row = await self._session.scalar(locked.execution_options(populate_existing=True))
        if row is None:
            raise UserNotFound
        return self._locked(row)

    def _locked(self, row: UserRow) -> User:
        user = self._loaded[UserId(row.id)] = _user(row)
        return user

    async def lock_active(self, role: Role) -> Collection[UserId]:
        active = select(UserRow).where(UserRow.role == role, UserRow.is_active).order_by(UserRow.id)
        locked = active.with_for_update(key_share=True).execution_options(populate_existing=True)
        return [self._locked(row).id for row in await self._session.scalars(locked)]

    async def find_by_identity(self, identity: ExternalIdentity) -> User | None:
        locked = select(UserRow).where(_SUBJECTS[identity.provider] == identity.subject).with_for_update(key_share=True)
        row = await self._session.scalar(locked.execution_options(populate_existing=True))
        return self._locked(row) if row else None

    async def find_credentials(self, email: str) -> Credentials | None:
        row = await self._rows.get_one_or_none(email=email)
        return Credentials(_user(row), row.password_hash) if row else None

    async def save(self, user: User) -> None:
        present = update(UserRow).where(UserRow.id == user.id)
        changed = present.values(
            name=user.name,
            phone=user.phone,
            role=user.role,
            is_active=user.is_active,
            is_verified=user.is_verified,
            token_version=user.token_version,
            google_id=user.external_id,
            profile_picture=user.profile_picture,
            timezone=user.timezone,
            requested_role=user.requested_role,
        )
        before = self._loaded.get(user.id) or await self.get(user.id)
        with domain_errors():
            await self._session.execute(changed)
        if user.is_verified and not before.is_verified:
            await self._messages.release_held(user.email)
        record_account(self._audit, before, user)
        self._loaded[user.id] = user

    async def set_password(
        self, user_id: UserId, password_hash: str | None, *, action: AuditAction | None = AuditAction.PASSWORD_CHANGED
    ) -> None:
        if action is not None:
            self._audit.record(action, account(user_id))
        await self._session.execute(update(UserRow).where(UserRow.id == user_id).values(password_hash=password_hash))


class PostgresLogins:
    def __init__(self, session: AsyncSession, audit: AuditTrail) -> None:
        self._session = session
        self._audit = audit

    async def start(self, user: User, now: datetime, client: Client = UNKNOWN_CLIENT) -> LoginId:
        row = LoginRow(user_id=user.id, started_at=now, **_use(now, client))
        self._session.add(row)
        await self._session.flush()
        login_id = LoginId(row.id)
        record_login(self._audit, user, login_id)
        return login_id

    async def record_use(self, login_id: LoginId, now: datetime, client: Client) -> None:
        await self._session.execute(update(LoginRow).where(LoginRow.id == login_id).values(**_use(now, client)))

    async def get_start(self, login_id: LoginId) -> datetime:
        started = await self._session.execute(select(LoginRow.started_at).where(LoginRow.id == login_id))
        return started.scalar_one()

    async def end(self, login_id: LoginId, now: datetime, *, reason: str, of: UserId | None = None) -> bool:
        statement = update(LoginRow).where(LoginRow.id == login_id, LoginRow.ended_at.is_(None))
        if of is not None:
            statement = statement.where(LoginRow.user_id == of)
        ended = await self._session.execute(statement.values(ended_at=now, end_reason=reason))
        if not cast("CursorResult[Any]", ended).rowcount:
            return False
        self._audit.record(AuditAction.SESSION_ENDED, session_of(login_id), after={"reason": reason})
        return True

    async def add_refresh(self, login_id: LoginId, fingerprint: bytes, expires_at: datetime) -> None:
        self._session.add(RefreshTokenRow(fingerprint=fingerprint, login_id=login_id, expires_at=expires_at))
        await self._session.flush()

    async def find_refresh(self, fingerprint: bytes) -> RefreshToken | None:
        found = await self._session.execute(
            select(RefreshTokenRow, LoginRow)
            .join(LoginRow, LoginRow.id == RefreshTokenRow.login_id)
            .where(RefreshTokenRow.fingerprint == fingerprint)
            .with_for_update()
        )
        row = found.one_or_none()
        if row is None:
            return None
        token, login = row
        return RefreshToken(
            login_id=LoginId(cast(UUID, login.id)),
            user_id=UserId(login.user_id),
            login_started_at=login.started_at,
            expires_at=token.expires_at,
            is_retired=token.retired_at is not None,
            login_is_over=login.ended_at is not None,
        )

    async def revoke_refresh(self, fingerprint: bytes, now: datetime) -> None:
        await self._session.execute(
            update(RefreshTokenRow).where(RefreshTokenRow.fingerprint == fingerprint).values(retired_at=now)
        )


class PostgresProfiles:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, user_id: UserId, *, bio: str | None, specialization: str | None) -> None:
        await self._session.execute(
            insert(FacilitatorProfileRow)
            .values(user_id=user_id, bio=bio, specialization=specialization)
            .on_conflict_do_nothing()
        )

    async def add_rating(self, user_id: UserId, rating: int, now: datetime) -> None:
        """Creates the profile if there is none: admins can have events without one."""
        await self._session.execute(
            insert(FacilitatorProfileRow)
            .values(user_id=user_id, rating_sum=rating, rating_count=1, created_at=now)
            .on_conflict_do_update(
                index_elements=[FacilitatorProfileRow.user_id],
                set_={
                    "rating_sum": FacilitatorProfileRow.rating_sum + rating,
                    "rating_count": FacilitatorProfileRow.rating_count + 1,
                },
            )
        )


def _use(now: datetime, client: Client) -> dict[str, Any]:
    """The columns of a login for its last use."""
    return {"last_used_at": now, "network": client.network, "user_agent": client.user_agent}


def _user(row: UserRow) -> User:
    return User(
        id=UserId(row.id),
        uuid=row.uuid,
        email=row.email,
        name=row.name,
        role=Role(row.role),
        phone=row.phone,
        is_active=row.is_active,
        is_verified=row.is_verified,
        token_version=row.token_version,
        created_at=row.created_at,
        external_id=row.google_id,
        profile_picture=row.profile_picture,
        timezone=row.timezone,
        requested_role=Role(row.requested_role) if row.requested_role else None,
    )


def user_of_record(row: Any) -> User:
    """The user in a row with the columns of `users`."""
    return User(
        id=UserId(row["id"]),
        uuid=row["uuid"],
        email=row["email"],
        name=row["name"],
        role=Role(row["role"]),
        phone=row["phone"],
        is_active=row["is_active"],
        is_verified=row["is_verified"],
        token_version=row["token_version"],
        created_at=row["created_at"],
        external_id=row["google_id"],
        profile_picture=row["profile_picture"],
        timezone=row["timezone"],
        requested_role=Role(row["requested_role"]) if row["requested_role"] else None,
    )
