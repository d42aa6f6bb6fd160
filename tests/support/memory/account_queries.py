"""The list of accounts in memory."""

import re
from collections.abc import Mapping

from application.accounts.ports.accounts import AccountFilter
from application.ports import Page, PageRequest
from domain.accounts import User, UserId
from domain.errors import Invalid
from infrastructure.postgres.pages import cursor_of, id_after
from tests.support.memory.store import Store


class MemoryAccountQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, filter_: AccountFilter, page: PageRequest) -> Page[User]:
        before = id_after(page.after)
        searched = None if filter_.search is None else _words(filter_.search)
        if searched == []:
            raise Invalid({"q": "Must contain a letter or a digit"})
        users: Mapping[UserId, User] = self._store.tables.of("users")
        rows = [
            user
            for user in sorted(users.values(), key=lambda user: user.id, reverse=True)
            if (before is None or user.id < before)
            and filter_.role in {None, user.role}
            and filter_.active in {None, user.is_active}
            and filter_.verified in {None, user.is_verified}
            and (user.requested_role is not None or not filter_.requested)
            and all(_begins_word(word, user) for word in searched or [])
        ]
        shown = rows[: page.limit]
        return Page(shown, cursor_of(shown[-1].id) if len(rows) > len(shown) else None)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _begins_word(searched: str, user: User) -> bool:
    words = _words(f"{user.name} {user.email}")
    return searched in words or (len(searched) > 1 and any(word.startswith(searched) for word in words))
