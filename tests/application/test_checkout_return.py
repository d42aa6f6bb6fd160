"""Rules of the page for buyers who return from a gateway's checkout."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from application.payments.checkout_return import ShowPaymentReturn
from application.payments.ports.gateways import SignedReturns
from domain.booking_urls import BookingUrls
from domain.checkout_return import LOOKS_BEFORE_FAILED, Outcome, ReturnStatus, ReturnUrls
from domain.ids import BookingId
from domain.payments import PaymentId, PaymentNotFound
from tests.application.booking_application import HOLD, RETURN_URL, BookingApplication

DEFAULT = "https://operator.example/done?lang=en"


class Addresses:
    def of(self, payment_id: PaymentId, outcome: Outcome) -> str:
        return f"https://convene.example/{payment_id}/{outcome}"

    def payment_of(self, token: str) -> PaymentId:
        if token == "forged":
            raise PaymentNotFound
        return PaymentId(UUID(token))


@dataclass
class SignedAtGateway:
    name: str = "gateway"

    def is_success(self, payment_id: PaymentId, parameters: Mapping[str, str]) -> bool:
        return parameters.get("signature") == str(payment_id)


def shower(
    app: BookingApplication, *, urls: ReturnUrls | None = None, signed: SignedReturns | None = None
) -> ShowPaymentReturn:
    urls = urls or ReturnUrls(allowed=frozenset({RETURN_URL}))
    booking_urls = BookingUrls("https://front-end.example/{reference}")
    return ShowPaymentReturn(app.payments, Addresses(), signed, urls, booking_urls, app.clock)


async def shown(app: BookingApplication, booking_id: BookingId, outcome: Outcome, look: int = 0) -> ReturnStatus:
    return (await shower(app)(str(app.payment_id(booking_id)), outcome, {}, look=look)).status


async def test_status_is_the_stored_one_and_a_return_changes_nothing(app: BookingApplication) -> None:
    booking_id = (await app.book(await app.event())).reserved.id
    app.gateway.pay(app.payment_id(booking_id))
    before = app.store.tables
    assert await shown(app, booking_id, Outcome.SUCCESS) is ReturnStatus.PENDING
    assert await shown(app, booking_id, Outcome.CANCELLED) is ReturnStatus.UNPAID
    assert app.store.tables == before
    await app.settle("gateway", app.gateway.update(app.payment_id(booking_id)))
    for outcome in Outcome:
        assert await shown(app, booking_id, outcome) is ReturnStatus.COMPLETED


async def test_failure_is_shown_after_the_page_was_loaded_several_times(app: BookingApplication) -> None:
    booking_id = (await app.book(await app.event())).reserved.id
    await app.settle("gateway", app.gateway.decline(app.payment_id(booking_id)))
    assert await shown(app, booking_id, Outcome.CANCELLED) is ReturnStatus.FAILED
    assert await shown(app, booking_id, Outcome.SUCCESS) is ReturnStatus.PENDING
    assert await shown(app, booking_id, Outcome.SUCCESS, LOOKS_BEFORE_FAILED) is ReturnStatus.FAILED


async def test_expired_cancelled_and_refunded_bookings_have_ended(app: BookingApplication) -> None:
    event = await app.event()
    cancelled, expired, refunded = (
        (await app.book(event)).reserved.id,
        (await app.book(event)).reserved.id,
        await app.paid(event),
    )
    await app.cancel_booking(app.owner(cancelled), cancelled)
    await app.cancel_booking(app.owner(refunded), refunded)
    app.clock.advance(HOLD)
    assert await shown(app, cancelled, Outcome.SUCCESS) is ReturnStatus.ENDED
    assert await shown(app, expired, Outcome.SUCCESS) is ReturnStatus.ENDED
    assert await shown(app, refunded, Outcome.SUCCESS) is ReturnStatus.REFUNDED


async def test_unsigned_redirect_of_a_gateway_that_signs_is_no_evidence(app: BookingApplication) -> None:
    booking_id = (await app.book(await app.event())).reserved.id
    show, token = shower(app, signed=SignedAtGateway()), str(app.payment_id(booking_id))
    unsigned = await show(token, Outcome.SUCCESS, {"signature": "forged"})
    assert (unsigned.status, unsigned.expects_payment) == (ReturnStatus.UNPAID, False)
    signed = await show(token, Outcome.SUCCESS, {"signature": token})
    assert (signed.status, signed.expects_payment) == (ReturnStatus.PENDING, True)
    of_another = shower(app, signed=SignedAtGateway("other"))
    assert (await of_another(token, Outcome.SUCCESS, {})).expects_payment


async def test_buyer_is_redirected_to_the_address_given_when_booking(app: BookingApplication) -> None:
    event, user = await app.event(), await app.person()
    booking = (await app.book_seat(user, event.id, None, return_url=RETURN_URL)).reserved
    assert booking.payment_id is not None
    page = await shower(app)(str(booking.payment_id), Outcome.SUCCESS, {})
    assert page.redirect_to == f"{RETURN_URL}?booking_reference={booking.reference}&status=pending"
    assert page.booking_url == f"https://front-end.example/{booking.reference}"


async def test_buyer_is_else_redirected_to_the_address_of_the_operator_or_shown_our_page(
    app: BookingApplication,
) -> None:
    booking_id = (await app.book(await app.event())).reserved.id
    token = str(app.payment_id(booking_id))
    page = await shower(app, urls=ReturnUrls(default=DEFAULT))(token, Outcome.CANCELLED, {})
    assert page.redirect_to is not None
    assert parse_qs(urlsplit(page.redirect_to).query) == {
        "lang": ["en"],
        "booking_reference": [app.booking(booking_id).reference],
        "status": ["unpaid"],
    }
    assert (await shower(app)(token, Outcome.CANCELLED, {})).redirect_to is None


async def test_address_that_is_not_allowed_any_more_is_not_used(app: BookingApplication) -> None:
    event, user = await app.event(), await app.person()
    booking = (await app.book_seat(user, event.id, None, return_url=RETURN_URL)).reserved
    page = await shower(app, urls=ReturnUrls())(str(booking.payment_id), Outcome.SUCCESS, {})
    assert page.redirect_to is None


async def test_result_contains_nothing_about_the_buyer(app: BookingApplication) -> None:
    booking_id = (await app.book(await app.event())).reserved.id
    page, owner = await shower(app)(str(app.payment_id(booking_id)), Outcome.SUCCESS, {}), app.owner(booking_id)
    assert owner.name not in repr(page)
    assert owner.email not in repr(page)


async def test_forged_address_is_not_found(app: BookingApplication) -> None:
    with pytest.raises(PaymentNotFound):
        await shower(app)("forged", Outcome.SUCCESS, {})
