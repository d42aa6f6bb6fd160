"""Coaches for tests: their time is booked, rescheduled and cancelled, and paid at the local gateway."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from application.payments.settlement import Settled
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User, UserId
from domain.appointments import AppointmentStatus
from domain.availability import MINUTES_A_DAY, Availability, Hours
from domain.money import Money
from domain.payments import PaymentId
from domain.refunds import RefundPolicy
from tests.support.app_harness import UNBOUNDED, AppHarness, NewSession, Reserved, Worker
from tests.support.load import many_users

ALL_DAY = Availability(weekly=dict.fromkeys(range(7), (Hours(0, MINUTES_A_DAY),)))
HOUR = timedelta(hours=1)
THE_DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=10)


@dataclass(frozen=True)
class AppointmentHarness:
    harness: AppHarness

    async def coach(
        self, price: str = "30", currency: str = "INR", policy: Sequence[tuple[int, int]] = ((0, 100),)
    ) -> User:
        """A coach who is available at any time, at this price for an hour."""
        (member,) = await many_users(self.harness.records, 1, role="facilitator")
        return await name_price(self.harness.worker.open_work, member.id, price, currency, policy)

    async def book(
        self, client: User, coach: User, hour: float = 0, minutes: int = 60, *, gateway: str = "till"
    ) -> NewSession:
        """A session that begins so many hours into a day in ten days."""
        book = self.harness.worker.appointment.book_appointment
        named = self.harness.worker.money.gateways.named(gateway)
        book = replace(book, reserve=replace(book.reserve, gateway=named, hold_limits=UNBOUNDED))
        booked = await book(client, coach.uuid, at(hour), timedelta(minutes=minutes), None)
        view = booked.appointment
        payment_id = await self.harness.records.fetchval(
            "SELECT id FROM payments WHERE coaching_booking_id = $1", view.id
        )
        reserved = Reserved(
            view.id, PaymentId(payment_id) if payment_id else None, view.price.amount, view.price.currency
        )
        return NewSession(reserved, booked.payment_url, view.session)

    async def paid(self, client: User, coach: User, hour: float = 0) -> NewSession:
        new = await self.book(client, coach, hour)
        assert await self.harness.settle("till", self.harness.received(new)) is Settled.RECEIVED
        return new

    async def expired(self, client: User, coach: User, hour: float = 0) -> NewSession:
        """A session whose time was given up; its checkout is still open."""
        new = await self.book(client, coach, hour)
        await self.harness.minutes_pass(31)
        assert await self.expire() == 1
        return new

    async def expire(self, worker: Worker | None = None) -> int:
        worker = worker or self.harness.worker
        return await worker.appointment.expire_appointment_holds()

    async def cancel(self, user: User, new: NewSession) -> None:
        await self.harness.worker.appointment.cancel_appointment(user, new.reserved.id)

    async def move(self, user: User, new: NewSession, hour: float) -> None:
        move = self.harness.worker.appointment.reschedule_appointment
        await move(user, new.reserved.id, at(hour), None)

    async def decide(self, user: User, new: NewSession, status: AppointmentStatus) -> None:
        change = self.harness.worker.appointment.change_appointment_status
        await change(user, new.reserved.id, status)

    async def history(self, new: NewSession) -> list[str]:
        rows = await self.harness.records.fetch(
            "SELECT change FROM coaching_changes WHERE booking_id = $1 ORDER BY id", new.reserved.id
        )
        return [row["change"] for row in rows]


async def name_price(
    open_work: OpenUnitOfWork, coach_id: int, price: str, currency: str, policy: Sequence[tuple[int, int]]
) -> User:
    """Makes a coach available at any time, at this price for an hour."""
    async with open_work() as work:
        coach = await work.users.get(UserId(coach_id))
        per_hour = Money(Decimal(price), currency)
        await work.coaches.save(coach.id, ALL_DAY, per_hour, RefundPolicy.of(policy), datetime.now(UTC))
        await work.commit()
    return coach


def at(hour: float) -> datetime:
    return THE_DAY + hour * HOUR
