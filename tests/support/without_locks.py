"""Units of work without a guard, for the negative controls of race tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from application.unit_of_work import UnitOfWork
from infrastructure.postgres.unit_of_work import UnitsOfWork

PAUSE = 0.02
"""Seconds between a check and its write: long enough for another transaction."""


def units_with(**parts: Callable[..., Any]) -> type[UnitsOfWork]:
    """Units of work with some of their parts replaced."""

    class Changed(UnitsOfWork):
        @asynccontextmanager
        async def __call__(self) -> AsyncIterator[UnitOfWork]:
            async with super().__call__() as work:
                for name, part in parts.items():
                    setattr(work, name, part(*_arguments(work, name)))
                yield work

    return Changed


def _arguments(work: Any, name: str) -> tuple[Any, ...]:
    """What a part of a unit of work is made of."""
    effects, audit = (work.messages, work.reminders), work.audit
    more = {
        "users": (work.messages, audit),
        "logins": (audit,),
        "second_factors": (work.calendars._box, audit),
        "appointments": (*effects, work.change_mails, audit),
        "bookings": (*effects, audit),
        "events": (*effects, work.bookings, work.invitations, work.refunds, work.change_mails, audit),
    }
    return (work._session, *more.get(name, ()))


def unlocked(part: Callable[..., Any]) -> Callable[..., Any]:
    """The same part of a unit of work, which locks nothing of what it looks at."""
    return lambda session, *more: part(_LocksNothing(session), *more)


class _LocksNothing:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def execute(self, statement: Any, *values: Any) -> Any:
        return await self._look(self._session.execute, statement, *values)

    async def scalar(self, statement: Any, *values: Any) -> Any:
        return await self._look(self._session.scalar, statement, *values)

    async def _look(self, how: Callable[..., Any], statement: Any, *values: Any) -> Any:
        if not isinstance(statement, Select) or statement._for_update_arg is None:
            return await how(statement, *values)
        statement = statement._generate()
        statement._for_update_arg = None
        found = await how(statement, *values)
        await asyncio.sleep(PAUSE)
        return found
