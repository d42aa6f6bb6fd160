"""Units of work for use cases of accounts, which change appointments too."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import cast

from application.appointments.ports import Appointments
from application.ports import Clock
from application.unit_of_work import UnitOfWork
from domain.accounts import UserId
from tests.support.memory.store import Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork


class RecordedHolds:
    """Stands for the appointments: records the accounts whose unpaid holds end."""

    def __init__(self) -> None:
        self.ended: list[UserId] = []

    async def end_holds(self, coach_id: UserId, now: datetime) -> None:
        self.ended.append(coach_id)


class AccountUnitsOfWork(MemoryUnitsOfWork):
    def __init__(self, store: Store, clock: Clock, *, reminder_offsets: Sequence[timedelta] = ()) -> None:
        super().__init__(store, clock, reminder_offsets=reminder_offsets)
        self.appointment_holds = RecordedHolds()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with super().__call__() as work:
            work.appointments = cast(Appointments, self.appointment_holds)
            yield work
