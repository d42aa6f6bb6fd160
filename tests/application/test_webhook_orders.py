"""A gateway's webhooks arrive twice, late and in any order: all orders end in one state."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest

from application.payments.ports.gateways import GatewayEvent
from application.payments.refunds import AT_THE_GATEWAY
from domain.bookings import BookingStatus
from domain.ids import BookingId
from domain.outbox import MessageType
from domain.payments import GatewayUpdate, PaymentStatus, PaymentUpdate, RefundUpdate
from tests.application.booking_application import BookingApplication, inr

Update = GatewayUpdate | RefundUpdate


async def apply(app: BookingApplication, updates: Sequence[Update], *, repeated: bool) -> None:
    """Each arrives and is applied; if `repeated`, all arrive once more as other events, and are applied together."""
    for number, update in enumerate((*updates, *updates) if repeated else updates):
        app.gateway.webhooks[b"%d" % number] = GatewayEvent(f"event-{number}", "kind", update, {})
        await app.receive_webhook("gateway", b"%d" % number, {"signature": "valid"})
        if number < len(updates):
            await app.work()
    await app.work()


async def booked() -> tuple[BookingApplication, BookingId, list[Update]]:
    """An unpaid booking, and what its gateway says of it: a payment is tried, fails, is received after all,
    and is refunded there."""
    app = BookingApplication(reminder_offsets=())
    booking = (await app.book(await app.event())).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    assert payment.gateway_id is not None
    tried, failed = (
        replace(payment, report=report, gateway_id=None, amount=None)
        for report in (PaymentUpdate.OPEN, PaymentUpdate.FAILED)
    )
    refund = RefundUpdate("refund-outside", payment.gateway_id, inr(100), succeeded=True, payment=payment)
    return app, booking.id, [tried, failed, payment, refund]


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("number", [3, 4], ids=["paid", "refunded"])
async def test_all_orders_of_webhooks_end_in_one_state(number: int, repeated: bool) -> None:
    for order in permutations(range(number)):
        app, booking_id, updates = await booked()
        await apply(app, [updates[each] for each in order], repeated=repeated)
        settled, payment = app.booking(booking_id), app.payment(booking_id)
        status = PaymentStatus.REFUNDED if number == 4 else PaymentStatus.COMPLETED
        assert (settled.status, settled.payment_status) == (BookingStatus.CONFIRMED, status), order
        assert (payment.status, payment.gateway_id) == (status, f"pay-{payment.id.int}"), order
        assert app.refunded() == ([(inr(100), AT_THE_GATEWAY)] if number == 4 else []), order
        assert len(app.sent(MessageType.PAYMENT_COMPLETED)) == 3, order
