"""Availability of coaches: their hours and rules, and the free slots."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from application.appointments.ports import BusyTimes
from application.payments.checkout import refuse_unpayable
from application.payments.ports.gateways import PaymentGateway
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.availability import search_window
from domain.coaches import Coach, CoachInactive, CoachNotFound
from domain.errors import Errors
from domain.time import Interval


@use_case
class ShowOwnAvailability:
    """The hours, rules and price of the calling coach. The default is 09:00 to 17:00 every day, free of charge."""

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork

    async def __call__(self, user: User) -> Coach:
        async with self.open_work() as work:
            return await work.coaches.get_by_id(user.id)


@use_case
class SetAvailability:
    """Sets the hours, the price and the refund policy of the calling coach.

    - Omitted fields keep their values. Weekly hours and date overrides are replaced as a whole: a weekday without hours
      is a day off.
    - Existing bookings keep their time, price and refund policy.
    - The configured gateway must accept a new price, which must not round to zero for the shortest session.
    """

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork
    gateway: PaymentGateway
    clock: Clock

    async def __call__(self, user: User, change: Callable[[Coach], Coach]) -> Coach:
        async with self.open_work() as work:
            # Without the lock each of two concurrent changes would restore what the other one removed.
            await work.users.get_locked(user.id)
            before = await work.coaches.get_by_id(user.id)
            coach = change(before)
            if coach.price_per_hour != before.price_per_hour:
                refuse_unpayable(coach.price_per_hour, self.gateway)
                coach.require_payable_rate()
            await work.coaches.save(
                user.id, coach.availability, coach.price_per_hour, coach.refund_policy, self.clock.now()
            )
            await work.commit()
        return coach


@use_case
class ShowSlots:
    """The start times at which a coach can be booked now, for a session of that length.

    - Slots lie within the coach's hours, which are local times in the coach's time zone. The range has at most 30 days.
    - No slot is in the past, before the coach's minimum notice or beyond the days that can be booked ahead. No slot
      overlaps another session with its buffers, an event of the coach or an entry of the coach's connected calendars.
    """

    raises: ClassVar[Errors] = (CoachNotFound, CoachInactive)

    open_work: OpenUnitOfWork
    busy_times: BusyTimes
    clock: Clock

    async def __call__(
        self, coach_uuid: UUID, starts_at: datetime, ends_at: datetime, length: timedelta
    ) -> Sequence[Interval]:
        window = search_window(starts_at, ends_at)
        await self.busy_times.refresh(coach_uuid)
        async with self.open_work() as work:
            coach = await work.coaches.get(coach_uuid)
            coach.require_bookable()
            busy = await work.coaches.busy(coach.user.id, coach.availability.with_buffers(window))
        # There may be thousands: 30 days with a slot every 5 minutes.
        return await asyncio.to_thread(coach.availability.slots, window, length, busy, self.clock.now())
