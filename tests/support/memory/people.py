"""Accounts in memory, as far as events, bookings and payments need them."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from application.accounts.ports import Credentials
from domain.accounts import EmailTaken, Role, User, UserId, UserNotFound
from tests.support.memory.store import Store, Transaction


def add_user(transaction: Transaction, *, email: str, name: str, role: Role, now: datetime) -> User:
    users = transaction.tables.of("users")
    if any(user.email == email for user in users.values()):
        raise EmailTaken
    user_id = UserId(transaction.store.next_id("users"))
    user = User(
        id=user_id,
        uuid=UUID(int=user_id),
        email=email,
        name=name,
        role=role,
        phone=None,
        is_active=True,
        is_verified=False,
        token_version=1,
        created_at=now,
    )
    users[user_id] = user
    return user


def store_user(store: Store, user: User) -> User:
    """Replaces a committed account."""
    store.tables.of("users")[user.id] = user
    return user


class MemoryUsers:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

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
        return add_user(self._transaction, email=email, name=name, role=role, now=now)

    async def add_without_password(self, *, email: str, name: str, now: datetime) -> User:
        user = add_user(self._transaction, email=email, name=name, role=Role.USER, now=now)
        await self.save(replace(user, is_verified=True))
        return await self.get(user.id)

    async def get(self, user_id: UserId) -> User:
        user: User | None = self._transaction.tables.of("users").get(user_id)
        if user is None:
            raise UserNotFound
        return user

    async def get_locked(self, user_id: UserId) -> User:
        return await self.get(user_id)

    async def find_credentials(self, email: str) -> Credentials | None:
        for user in self._transaction.tables.of("users").values():
            if user.email == email:
                return Credentials(user, None)
        return None

    async def save(self, user: User) -> None:
        self._transaction.tables.of("users")[user.id] = user
