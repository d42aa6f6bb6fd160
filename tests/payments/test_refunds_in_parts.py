"""Refunds that an organiser requests, in parts and at the same time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from application.bookings.reservation import NewBooking
from domain.accounts import User
from domain.money import Money
from domain.payments import NothingToRefund, RefundExceedsPayment
from infrastructure.postgres.bookings.repository import PostgresBookings
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.postgres.payments.repository import PostgresPayments, payment_of
from infrastructure.settings import Settings
from tests.support.app_harness import AppHarness, open_app_harness, order_of, ref_of
from tests.support.local_gateway import LocalGateway, LocalGatewayClient
from tests.support.process_harness import LONG_RUN
from tests.support.without_locks import units_with, unlocked


async def refund(harness: AppHarness, new: NewBooking, amount: str | None = None, *, by: User | None = None) -> Any:
    return await harness.worker.money.refund_booking(
        by or harness.facilitator, new.reserved.id, Decimal(amount) if amount else None
    )


@pytest.mark.parametrize("gateway", ["till", "offline"])
async def test_past_event_is_refunded_in_parts_until_nothing_is_left(harness: AppHarness, gateway: str) -> None:
    event = await harness.event()
    new = await harness.book(await harness.person(), event, gateway=gateway)
    if gateway == "till":
        await harness.settle("till", harness.received(new))
    else:
        await harness.worker.money.record_offline_payment.by_facilitator(harness.facilitator, ref_of(new))
    await harness.event_started(event, timedelta(days=3))

    first = await refund(harness, new, "12.50")
    assert (first.amount, await harness.booking(new)) == (Money(Decimal("12.5"), "INR"), ("confirmed", "completed"))
    with pytest.raises(RefundExceedsPayment, match=r"At most 17\.50 INR"):
        await refund(harness, new, "17.51")
    assert (await refund(harness, new)).amount == Money(Decimal("17.5"), "INR")
    with pytest.raises(NothingToRefund):
        await refund(harness, new)
    await harness.until_dry()

    assert await harness.booking(new) == ("confirmed", "refunded")
    why = "by_organiser"
    assert await harness.refunds(new) == [(Decimal("12.5"), "processed", why), (Decimal("17.5"), "processed", why)]
    rows = await harness.records.fetch("SELECT DISTINCT requested_by FROM refunds")
    assert [row["requested_by"] for row in rows] == [harness.facilitator.id]
    assert await harness.wrongs() == []


async def refund_all_at_once(harness: AppHarness) -> NewBooking:
    """Twelve ask for 7 of 30 while the person cancels."""
    person = await harness.person()
    new = await harness.paid(person, await harness.event())
    await asyncio.gather(
        *(refund(harness, new, "7") for _ in range(12)), harness.cancel(person, new), return_exceptions=True
    )
    await harness.until_dry()
    return new


async def test_concurrent_refunds_never_exceed_the_payment(harness: AppHarness) -> None:
    for _ in range(3 if LONG_RUN else 2):
        new = await refund_all_at_once(harness)
        assert sum(amount for amount, _, _ in await harness.refunds(new)) == Decimal(30)
        assert harness.local_gateway.orders[order_of(new)].refunded == 3000
    assert await harness.wrongs() == []


async def test_without_locks_concurrent_refunds_exceed_the_payment(
    make_settings: Callable[..., Settings],
    database: asyncpg.Connection,
    local_gateway: tuple[LocalGateway, LocalGatewayClient],
) -> None:
    units = units_with(events=unlocked(PostgresEvents), bookings=unlocked(PostgresBookings), payments=_UnlockedPayments)
    async with open_app_harness(make_settings(), database, *local_gateway, units=units) as harness:
        new = await harness.paid(await harness.person(), await harness.event())
        await asyncio.gather(*(refund(harness, new, "7") for _ in range(12)), return_exceptions=True)
        assert sum(amount for amount, _, _ in await harness.refunds(new)) > Decimal(30)
        assert any("promised" in wrong for wrong in await harness.wrongs())


class _UnlockedPayments(PostgresPayments):
    """Looks at a payment without its lock, and a while before anything is done about it."""

    async def find_for(self, payable: Any) -> Any:
        row = await self._session.execute(
            text("SELECT * FROM payments WHERE booking_id = :id ORDER BY id DESC LIMIT 1"), {"id": payable.id}
        )
        found = row.mappings().first()
        await asyncio.sleep(0.05)
        return payment_of(found) if found else None
