"""When coaches can be booked: what they say of their time, and the slots that come of it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from application.appointments.ports import BusyTimes
from application.payments.checkout import refuse_unpayable
from application.payments.ports.gateways import PaymentGateway
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User
from domain.availability import search_window
from domain.coaches import Coach
from domain.time import Interval


@dataclass(frozen=True, slots=True)
class ShowOwnAvailability:
    """What a coach has said of their time: nine to five every day, free of charge, until they say otherwise."""

    open_work: OpenUnitOfWork

    async def __call__(self, user: User) -> Coach:
        async with self.open_work() as work:
            return await work.coaches.get_by_id(user.id)


@dataclass(frozen=True, slots=True)
class SetAvailability:
    """Says when a coach can be booked, for how much, and what a cancellation gives back.

    - What is left out stays as it is. Weekly hours and date overrides are given as a whole: a weekday that is not named
      in them is a day off.
    - Sessions that are booked already stay, with their price and refund policy.
    - A new price can be paid at the gateway of this house, and does not round to zero for the shortest session.
    """

    open_work: OpenUnitOfWork
    gateway: PaymentGateway
    clock: Clock

    async def __call__(self, user: User, change: Callable[[Coach], Coach]) -> Coach:
        async with self.open_work() as work:
            # Two changes at once would each bring back what the other took away.
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


@dataclass(frozen=True, slots=True)
class ShowSlots:
    """The times at which a coach can be booked now, for a session of that length.

    - They lie in the coach's hours, as the wall clock of their time zone shows them, within at most 30 days.
    - None is in the past, too soon or too far ahead for the coach, or in the way of a session with its buffers, an
      event of theirs or an entry of their connected calendars.
    """

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
        # There may be thousands: thirty days at a slot each five minutes.
        return await asyncio.to_thread(coach.availability.slots, window, length, busy, self.clock.now())
