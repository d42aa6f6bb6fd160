"""Rules of payment links in mails: when a mail waits for its link, and which mails have one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.notifications.payment_links import AT_MOST, MailWithPaymentLinks
from application.payments.ports.gateways import PaymentRequest
from application.payments.ports.records import OpenRequest
from domain.accounts import UserId
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.outbox import Delivered, Destination, Failed, Message, MessageId, MessageType
from domain.payments import PaymentId
from tests.application.booking_application import DAY, BookingApplication, inr
from tests.application.deliveries import AnsweringSender
from tests.support.memory.gateway import Behaviour

TRIES = 16
NOT_MADE = Failed("its payment link is not made yet")
SECOND = timedelta(seconds=1)


class PassingTime:
    """Payment queries. The clock advances with each; before one of them the gateway creates the link."""

    def __init__(self, app: BookingApplication, *, made_before: int | None = None) -> None:
        self._app = app
        self._made_before = made_before
        self.asked: list[PayableRef] = []

    async def open_request(self, payable: PayableRef) -> OpenRequest | None:
        self.asked.append(payable)
        if len(self.asked) == self._made_before:
            await link_is_made(self._app, payable)
        self._app.clock.advance(SECOND)
        if isinstance(payable, AppointmentRef):
            return None
        return await self._app.payments.open_request(payable)


@pytest.fixture
def mail() -> AnsweringSender:
    return AnsweringSender()


def sender(app: BookingApplication, mail: AnsweringSender, queries: Any = None, **more: Any) -> MailWithPaymentLinks:
    usual: dict[str, Any] = {"tries": TRIES, "patience": timedelta(0)}
    return MailWithPaymentLinks(mail, queries or app.payments, app.clock, **usual | more)


async def link_is_made(app: BookingApplication, payable: PayableRef) -> None:
    app.gateway.behaviour = Behaviour.ACCEPTS
    assert await app.open_checkout.for_payable(payable)


async def held(app: BookingApplication, *, without_link: bool = False, **details: Any) -> BookingId:
    """A booking that is held for a payment."""
    event = await app.event(**details)
    app.gateway.behaviour = Behaviour.UNAVAILABLE if without_link else Behaviour.ACCEPTS
    booking = await app.book(event)
    assert (booking.payment_url is None) is without_link
    return booking.reserved.id


def about(app: BookingApplication, booking_id: BookingId, **changes: Any) -> dict[str, Any]:
    """The booking as a payload has it."""
    booking = app.booking(booking_id)
    return {
        "id": booking_id,
        "status": str(booking.status),
        "payment_status": str(booking.payment_status),
        "hold_until": booking.hold_until.isoformat() if booking.hold_until else None,
    } | changes


def message(
    payload: dict[str, Any], message_type: MessageType = MessageType.BOOKING_CREATED, *, attempt: int = 1
) -> Message:
    occurred_at = datetime.fromisoformat("2031-03-05T12:00:00Z")
    return Message(MessageId(uuid4()), Destination.EMAIL, "key", message_type, payload, attempt, occurred_at, None)


def links(mail: AnsweringSender) -> list[str | None]:
    return [each.payload["payment_url"] for each in mail.received]


async def test_mail_about_a_held_booking_has_the_payment_link(app: BookingApplication, mail: AnsweringSender) -> None:
    booking_id = await held(app)
    sent = message({"booking": about(app, booking_id), "more": 1})
    assert await sender(app, mail).deliver(sent) == Delivered()
    (received,) = mail.received
    url = app.payments_of(booking_id)[-1].checkout_url
    assert url is not None
    assert received == replace(sent, payload=sent.payload | {"payment_url": url})


async def test_first_mail_waits_for_a_link_that_is_being_created(
    app: BookingApplication, mail: AnsweringSender
) -> None:
    booking_id = await held(app, without_link=True)
    queries = PassingTime(app, made_before=3)
    outcome = await sender(app, mail, queries, patience=10 * SECOND).deliver(
        message({"booking": about(app, booking_id)})
    )
    assert outcome == Delivered()
    assert links(mail) == [app.payments_of(booking_id)[-1].checkout_url]
    assert len(queries.asked) == 3


async def test_first_mail_waits_no_longer_than_its_patience(app: BookingApplication, mail: AnsweringSender) -> None:
    booking_id = await held(app, without_link=True)
    queries = PassingTime(app)
    sending = sender(app, mail, queries, patience=3 * SECOND)
    assert await sending.deliver(message({"booking": about(app, booking_id)})) == NOT_MADE
    assert len(queries.asked) == 3
    assert mail.received == []


async def test_mail_is_retried_twice_for_its_link_and_then_sent_without_it(
    app: BookingApplication, mail: AnsweringSender
) -> None:
    payload = {"booking": about(app, await held(app, without_link=True))}
    sending = sender(app, mail)
    outcomes = [await sending.deliver(message(payload, attempt=attempt)) for attempt in range(1, AT_MOST + 1)]
    assert outcomes == [NOT_MADE, NOT_MADE, Delivered()]
    assert links(mail) == [None]


async def test_mail_with_one_attempt_is_sent_without_its_link(app: BookingApplication, mail: AnsweringSender) -> None:
    payload = {"booking": about(app, await held(app, without_link=True))}
    assert await sender(app, mail, tries=1).deliver(message(payload)) == Delivered()
    assert links(mail) == [None]


@pytest.mark.parametrize(("left", "waits"), [(15 * 60 * SECOND, False), (15 * 60 * SECOND + SECOND, True)])
async def test_mail_is_not_delayed_when_little_time_is_left_to_pay(
    app: BookingApplication, mail: AnsweringSender, left: timedelta, waits: bool
) -> None:
    until = (app.clock.now() + left).isoformat()
    payload = {"booking": about(app, await held(app, without_link=True), hold_until=until)}
    assert await sender(app, mail).deliver(message(payload)) == (NOT_MADE if waits else Delivered())


async def test_booking_that_was_paid_or_cancelled_meanwhile_has_no_link(
    app: BookingApplication, mail: AnsweringSender
) -> None:
    paid, cancelled = await held(app), await held(app)
    payloads = [{"booking": about(app, booking_id)} for booking_id in (paid, cancelled)]
    await app.settle(app.gateway.name, app.gateway.pay(app.payment_id(paid)))
    await app.cancel_booking(app.owner(cancelled), cancelled)
    for payload in payloads:
        assert await sender(app, mail, patience=DAY).deliver(message(payload)) == Delivered(), "it does not wait"
    assert links(mail) == [None, None]


async def test_later_mail_has_the_link_that_exists_at_send_time(app: BookingApplication, mail: AnsweringSender) -> None:
    booking_id = await held(app, without_link=True)
    moved = message({"booking": about(app, booking_id)}, MessageType.BOOKING_MOVED)
    sending = sender(app, mail, patience=DAY)
    assert await sending.deliver(moved) == Delivered(), "it does not wait"
    await link_is_made(app, BookingRef(booking_id))
    assert await sending.deliver(moved) == Delivered()
    assert links(mail) == [None, app.payments_of(booking_id)[-1].checkout_url]


async def paid_booking(app: BookingApplication) -> dict[str, Any]:
    return {"booking": about(app, await app.paid(await app.event()))}


async def free_booking(app: BookingApplication) -> dict[str, Any]:
    return {"booking": about(app, await held_free(app))}


async def held_free(app: BookingApplication) -> BookingId:
    return (await app.book(await app.event(price=inr(0)))).reserved.id


async def cancelled_booking(app: BookingApplication) -> dict[str, Any]:
    return {"booking": about(app, await held(app), status="cancelled")}


async def paid_online_later(app: BookingApplication) -> dict[str, Any]:
    return {"booking": about(app, await held(app), payment_status="completed")}


async def mail_to_the_coach(app: BookingApplication) -> dict[str, Any]:
    return {"coaching": about(app, await held(app)), "recipient": "coach"}


async def no_booking(app: BookingApplication) -> dict[str, Any]:
    return {"person": {"name": "Ada"}}


@pytest.mark.parametrize(
    "payload", [paid_booking, free_booking, cancelled_booking, paid_online_later, mail_to_the_coach, no_booking]
)
async def test_mail_that_requests_no_payment_passes_unchanged(
    app: BookingApplication, mail: AnsweringSender, payload: Callable[[BookingApplication], Any]
) -> None:
    sent = message(await payload(app))
    assert await sender(app, mail).deliver(sent) == Delivered()
    assert mail.received == [sent]


async def test_link_of_an_appointment_is_looked_up_for_its_client(
    app: BookingApplication, mail: AnsweringSender
) -> None:
    queries, appointment_id = PassingTime(app), AppointmentId(UUID(int=1))
    coaching = about(app, await held(app), id=str(appointment_id))
    assert await sender(app, mail, queries).deliver(message({"coaching": coaching, "recipient": "client"})) == (
        Delivered()
    )
    assert queries.asked == [AppointmentRef(appointment_id)]
    assert links(mail) == [None]


def sessions(number: int) -> list[dict[str, Any]]:
    """Those of a new series that is held for payments."""
    held = {"status": "pending", "payment_status": "pending", "hold_until": "2031-03-05T12:30:00+00:00"}
    return [{"id": str(UUID(int=each)), **held} for each in range(number)]


class SeriesLinks:
    """Payment queries of a series. `made`: the links that exist, by the number of the session."""

    def __init__(self, made: dict[int, str | None]) -> None:
        self.made = made

    async def open_request(self, payable: PayableRef) -> OpenRequest | None:
        assert isinstance(payable, AppointmentRef)
        number = payable.id.int
        person = (UserId(1), "Ada", "ada@example.com")
        request = PaymentRequest(
            PaymentId(payable.id), payable, "reference", None, *person, UserId(2), inr(30), "Coaching", None
        )
        return OpenRequest(request, "gateway", self.made[number]) if number in self.made else None


async def test_mail_about_a_series_has_the_link_of_each_session(app: BookingApplication, mail: AnsweringSender) -> None:
    """A session that was paid meanwhile has none."""
    series = sessions(3)
    sent = message({"coaching": series[0], "series": series, "recipient": "client"})
    queries = SeriesLinks({0: "https://pay.example/0", 2: "https://pay.example/2"})
    assert await sender(app, mail, queries).deliver(sent) == Delivered()
    [received] = mail.received
    assert received.payload["payment_urls"] == {
        series[0]["id"]: "https://pay.example/0",
        series[2]["id"]: "https://pay.example/2",
    }


@pytest.mark.parametrize(("attempt", "is_sent"), [(1, False), (AT_MOST, True)])
async def test_mail_about_a_series_waits_for_the_last_link(
    app: BookingApplication, mail: AnsweringSender, attempt: int, is_sent: bool
) -> None:
    series = sessions(2)
    sent = message({"coaching": series[0], "series": series, "recipient": "client"}, attempt=attempt)
    queries = SeriesLinks({0: "https://pay.example/0", 1: None})
    outcome = await sender(app, mail, queries).deliver(sent)
    assert outcome == (Delivered() if is_sent else NOT_MADE)
    assert [each.payload["payment_urls"] for each in mail.received] == (
        [{series[0]["id"]: "https://pay.example/0"}] if is_sent else []
    )


async def test_coach_gets_no_links_of_a_series(app: BookingApplication, mail: AnsweringSender) -> None:
    series = sessions(2)
    sent = message({"coaching": series[0], "series": series, "recipient": "coach"})
    assert await sender(app, mail, SeriesLinks({})).deliver(sent) == Delivered()
    assert mail.received == [sent]
