"""Rules of payment jobs: retried while a gateway is unavailable, dead letters if it refuses."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain.outbox import Delivered, Destination, Failed, Message, MessageId, MessageType
from tests.application.booking_application import BookingApplication
from tests.support.memory.gateway import Behaviour


async def closing(app: BookingApplication) -> None:
    """A job that closes a checkout."""
    booking = (await app.book(await app.event())).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)


async def test_job_is_retried_while_its_gateway_is_unavailable(app: BookingApplication) -> None:
    await closing(app)
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    (outcome,) = await app.work()
    assert isinstance(outcome, Failed)
    assert (outcome.permanent, outcome.not_attempted, outcome.destination_fault) == (False, False, False)
    app.gateway.behaviour = Behaviour.ACCEPTS
    assert await app.work() == [Delivered("checkout closed")]
    assert await app.work() == []


async def test_job_that_the_gateway_refuses_goes_to_the_dead_letters(app: BookingApplication) -> None:
    await closing(app)
    app.gateway.behaviour = Behaviour.REFUSES
    (outcome,) = await app.work()
    assert isinstance(outcome, Failed)
    assert outcome.permanent


async def test_job_about_an_unknown_row_and_other_messages_go_to_the_dead_letters(app: BookingApplication) -> None:
    unknown = Message(
        id=MessageId(UUID(int=1)),
        destination=Destination.PAYMENTS,
        ordering_key="payment:1",
        message_type=MessageType.REFUND_REQUESTED,
        payload={"refund_id": str(UUID(int=1))},
        attempt=1,
        occurred_at=app.clock.now() - timedelta(minutes=1),
        request_id=None,
    )
    outcome = await app.jobs.deliver(unknown)
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    other = replace(unknown, message_type=MessageType.BOOKING_CREATED)
    assert await app.jobs.deliver(other) == Failed("booking_created is not a payment job", permanent=True)
