"""A deployment that takes payments by Razorpay."""

import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg

from infrastructure.settings import Settings
from tests.payments.gateway_harness import Booked, PaymentsHarness, opened
from tests.support.gateway_server import Entity
from tests.support.razorpay_server import FakeRazorpay, fake_razorpay


class GatewayHarness(PaymentsHarness):
    gateway: FakeRazorpay

    @property
    def razorpay(self) -> FakeRazorpay:
        return self.gateway

    async def a_booking(self) -> tuple[Booked, Entity]:
        """Somebody's new booking, unpaid, and its order at Razorpay."""
        booked = await self.books(await self.person(), await self.event())
        return booked, self.order_of(booked)

    def order_of(self, booked: Booked) -> Entity:
        """The order that we made, not the one behind the link."""
        [order] = [
            each
            for each in self.razorpay.orders.values()
            if each["notes"]["booking_id"] == str(booked["booking"]["id"]) and "order_id" not in each["notes"]
        ]
        return order


@contextlib.asynccontextmanager
async def open_gateway_harness(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, **changes: str
) -> AsyncIterator[GatewayHarness]:
    async with (
        fake_razorpay() as razorpay,
        opened(GatewayHarness, razorpay, make_settings, database, **changes) as gateway_harness,
    ):
        yield gateway_harness
