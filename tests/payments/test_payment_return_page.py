"""The return address and its page, in memory: what it says, what it never says, and when it reloads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.payments.checkout_return import PaymentReturn, ShowPaymentReturn
from application.payments.ports.gateways import SandboxOrder
from application.payments.ports.records import PaymentOverview, PaymentQueries
from application.payments.sandbox import SandboxPage
from domain.booking_urls import BookingUrls
from domain.checkout_return import Outcome, ReturnStatus, ReturnUrls
from domain.money import Money
from domain.payments import PaymentId, PaymentNotFound, PaymentStatus
from infrastructure.gateways.razorpay.gateway import RazorpayGateway
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from interfaces.http.web.payment_return import RELOADS, page_of
from interfaces.http.web.sandbox import time_left
from tests.support.machine_clock import SystemClock
from tests.support.razorpay_server import KEY_ID, KEY_SECRET, WEBHOOK_SECRET, sign

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PAYMENT = PaymentId(UUID("01a1f97a-60f0-7e70-ad8a-19a2ec06577d"))
ADDRESSES = SignedReturnAddresses("https://book.example.org", b"a key of the tests")
RAZORPAY = RazorpayGateway(
    KEY_ID, KEY_SECRET, WEBHOOK_SECRET, base_url="http://127.0.0.1:1", returns=ADDRESSES, clock=SystemClock()
)
FRONT_END = "https://app.example.com/paid?lang=en#/done"
OTHER_FRONT_END = "https://shop.example/thanks"

UNPAID = PaymentOverview(
    payment_id=PAYMENT,
    gateway="stripe",
    reference="BK2026000012",
    title="Yoga & <b>Tea</b>",
    starts_at=datetime(2026, 12, 1, 10, tzinfo=UTC),
    ends_at=datetime(2026, 12, 1, 11, 30, tzinfo=UTC),
    timezone="Europe/Berlin",
    price=Money(Decimal("1250.50"), "EUR"),
    is_cancelled=False,
    payment_status=PaymentStatus.PENDING,
    hold_until=NOW + timedelta(minutes=20),
    checkout_url="https://checkout.example/c?a=1&b=2",
    return_url=None,
)


@dataclass
class OnePayment:
    """A `PaymentQueries` that knows one payment."""

    payment: PaymentOverview

    async def overview(self, payment_id: PaymentId) -> PaymentOverview:
        assert payment_id == self.payment.payment_id
        return self.payment


class Noon:
    def now(self) -> datetime:
        return NOW


async def returned(
    payment: PaymentOverview = UNPAID,
    outcome: Outcome = Outcome.SUCCESS,
    parameters: Mapping[str, str] | None = None,
    *,
    look: int = 0,
    front_end: str | None = None,
    allowed: tuple[str, ...] = (),
) -> PaymentReturn:
    """What a buyer finds who opens the return address of the payment."""
    show = ShowPaymentReturn(
        payments=cast(PaymentQueries, OnePayment(payment)),
        addresses=ADDRESSES,
        signed_returns=RAZORPAY,
        return_urls=ReturnUrls(front_end, frozenset(allowed)),
        booking_urls=BookingUrls("https://app.example.com/b/{reference}"),
        clock=Noon(),
    )
    return await show(token_of(payment.payment_id), outcome, parameters or {}, look=look)


def token_of(payment_id: PaymentId, outcome: Outcome = Outcome.SUCCESS) -> str:
    address = ADDRESSES.of(payment_id, outcome)
    found = re.fullmatch(rf"https://book\.example\.org/payment/return/([A-Za-z0-9_-]{{43}})/{outcome}", address)
    assert found, address
    return found[1]


def changed(**changes: Any) -> PaymentOverview:
    return replace(UNPAID, **changes)


PAID = changed(payment_status=PaymentStatus.COMPLETED)
FAILED = changed(payment_status=PaymentStatus.FAILED)
STATES = {
    ReturnStatus.PENDING: UNPAID,
    ReturnStatus.COMPLETED: PAID,
    ReturnStatus.REFUNDED: changed(payment_status=PaymentStatus.REFUNDED, is_cancelled=True),
    ReturnStatus.ENDED: changed(hold_until=NOW),
}


# Its content


@pytest.mark.parametrize(("status", "payment"), STATES.items(), ids=[*STATES])
async def test_page_shows_the_booking_its_time_and_the_payment_status(
    status: ReturnStatus, payment: PaymentOverview
) -> None:
    """In every state: the title as text, the time in the buyer's zone, the reference, and the price with its state."""
    found = await returned(payment)
    page = page_of(found, look=0, query="")
    assert found.status is status
    assert "Yoga &amp; &lt;b&gt;Tea&lt;/b&gt;" in page
    assert "Tuesday, 1 December 2026, 11:00 to 12:30 Europe/Berlin (UTC+01:00)" in page
    assert "BK2026000012" in page
    assert "1,250.50 EUR, " in page


async def test_success_address_without_confirmation_shows_a_pending_payment() -> None:
    """The gateway's success address opens a page that waits, and says so."""
    page = page_of(await returned(), look=0, query="")
    assert "We are waiting for the confirmation of the payment" in page
    assert "waiting for the confirmation</bdi>" in page
    assert ", paid" not in page
    assert "Pay now" not in page, "paying again would be paying twice"


async def test_page_of_the_cancel_address_links_to_the_checkout_until_the_hold_ends() -> None:
    """The page of the cancel address has the same checkout, and the end of the hold in the buyer's zone."""
    for payment, sentence in ((UNPAID, "We have received no payment"), (FAILED, "Your last payment attempt failed")):
        page = page_of(await returned(payment, Outcome.CANCELLED), look=0, query="")
        assert sentence in page
        assert '<a href="https://checkout.example/c?a=1&amp;b=2">Pay now</a>' in page
        assert "held for you until Saturday, 28 November 2026, 13:20 Europe/Berlin (UTC+01:00)" in page
        assert "http-equiv" not in page


@pytest.mark.parametrize("url", ["javascript:alert(1)", 'https://x.example/"onclick="', None])
async def test_invalid_checkout_url_is_not_linked(url: str | None) -> None:
    """What a gateway answers is a link on the page only if it is an address."""
    page = page_of(await returned(changed(checkout_url=url), Outcome.CANCELLED), look=0, query="")
    assert "Pay now" not in page


@pytest.mark.parametrize("payment", STATES.values(), ids=[*STATES])
async def test_page_links_to_the_booking_in_the_front_end(payment: PaymentOverview) -> None:
    """Where `BOOKING_URL_TEMPLATE` is set."""
    assert 'href="https://app.example.com/b/BK2026000012"' in page_of(await returned(payment), look=0, query="")


# How often it reloads


@pytest.mark.parametrize("payment", [value for key, value in STATES.items() if key is not ReturnStatus.PENDING])
async def test_only_a_pending_page_reloads(payment: PaymentOverview) -> None:
    """Nothing more is to come once it is paid, refunded or over."""
    assert "http-equiv" not in page_of(await returned(payment), look=0, query="")


async def test_page_reloads_a_limited_number_of_times() -> None:
    """Following each reload ends at a page that reloads no more; what Razorpay added stays in the address."""
    query, looks = "razorpay_payment_id=pay_1&x=%22%3E", 0
    while True:
        page = page_of(await returned(look=looks), look=looks, query=query)
        reload = re.search(r'<meta http-equiv="refresh" content="(\d+); url=\?([^"]*)">', page)
        if reload is None:
            break
        assert int(reload[1]) >= 3
        looks += 1
        query = reload[2].replace("&amp;", "&")
        assert query == f"razorpay_payment_id=pay_1&x=%22%3E&look={looks}"
    assert looks == len(RELOADS)
    assert sum(RELOADS) < 15 * 60
    assert "takes longer than usual" in page


async def test_failure_is_shown_after_no_success_can_arrive() -> None:
    """A second card may have been accepted whose webhook is some seconds behind the buyer."""
    assert (await returned(FAILED)).status is ReturnStatus.PENDING
    later = await returned(FAILED, look=10)
    assert later.status is ReturnStatus.FAILED
    assert "http-equiv" not in page_of(later, look=10, query="look=10")


# Where it leads


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.SUCCESS, "pending"), (Outcome.CANCELLED, "unpaid")], ids=["success", "cancelled"]
)
async def test_front_end_receives_reference_and_status(outcome: Outcome, status: str) -> None:
    """As query parameters before the fragment; nothing else is added to the address."""
    found = await returned(outcome=outcome, front_end=FRONT_END)
    expected = f"https://app.example.com/paid?lang=en&booking_reference=BK2026000012&status={status}#/done"
    assert found.redirect_to == expected


async def test_return_url_of_the_request_takes_precedence_over_the_setting() -> None:
    """As long as it is allowed: an address that was taken off the list leads nowhere."""
    payment = changed(return_url=OTHER_FRONT_END)
    found = await returned(payment, front_end=FRONT_END, allowed=(OTHER_FRONT_END,))
    assert found.redirect_to == f"{OTHER_FRONT_END}?booking_reference=BK2026000012&status=pending"
    found = await returned(payment, front_end=FRONT_END)
    assert (found.redirect_to or "").startswith("https://app.example.com/paid?lang=en&")
    assert (await returned(payment)).redirect_to is None


# Razorpay signs what it adds


def razorpay_parameters(**changes: str) -> dict[str, str]:
    """What Razorpay adds to a callback address, with its signature; then the changes."""
    names = ("payment_link_id", "payment_link_reference_id", "payment_link_status", "payment_id")
    values = ["plink_1", str(PAYMENT), "paid", "pay_1"]
    given = {f"razorpay_{name}": value for name, value in zip(names, values, strict=True)}
    return given | {"razorpay_signature": sign(KEY_SECRET, "|".join(values).encode())} | changes


def signed_for(*values: str) -> dict[str, str]:
    names = ("payment_link_id", "payment_link_reference_id", "payment_link_status", "payment_id")
    given = {f"razorpay_{name}": value for name, value in zip(names, values, strict=True)}
    return given | {"razorpay_signature": sign(KEY_SECRET, "|".join(values).encode())}


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        (razorpay_parameters(), ReturnStatus.PENDING),
        ({}, ReturnStatus.UNPAID),
        (razorpay_parameters(razorpay_signature=""), ReturnStatus.UNPAID),
        (razorpay_parameters(razorpay_signature="é" * 64), ReturnStatus.UNPAID),
        (razorpay_parameters(razorpay_payment_id="pay_2"), ReturnStatus.UNPAID),
        (signed_for("plink_1", "another payment", "paid", "pay_1"), ReturnStatus.UNPAID),
        (signed_for("plink_1", str(PAYMENT), "cancelled", "pay_1"), ReturnStatus.UNPAID),
    ],
)
async def test_only_a_signed_success_of_this_payment_shows_pending(
    parameters: dict[str, str], status: ReturnStatus
) -> None:
    """Razorpay has one return address; its signed parameters distinguish a success."""
    assert (await returned(changed(gateway="razorpay"), parameters=parameters)).status is status


async def test_signature_alone_does_not_complete_a_payment() -> None:
    """A signed return of a paid booking is paid, of an unpaid one is waited for, of an ended one has ended."""
    for payment, status in (
        (UNPAID, ReturnStatus.PENDING),
        (PAID, ReturnStatus.COMPLETED),
        (changed(is_cancelled=True), ReturnStatus.ENDED),
    ):
        found = await returned(replace(payment, gateway="razorpay"), parameters=razorpay_parameters())
        assert found.status is status


# Its address


def test_return_address_identifies_its_payment_and_cannot_be_guessed() -> None:
    """Another key, another payment and a changed character make an address that names nothing."""
    token = token_of(PAYMENT)
    assert ADDRESSES.payment_of(token) == PAYMENT
    assert token == token_of(PAYMENT, Outcome.CANCELLED)
    other = SignedReturnAddresses("https://book.example.org", b"another key").of(PAYMENT, Outcome.SUCCESS)
    assert token not in other
    for index, character in enumerate(token):
        changed_token = token[:index] + ("A" if character != "A" else "B") + token[index + 1 :]
        if index < len(token) - 1:  # the last character has two bits of padding
            with pytest.raises(PaymentNotFound):
                ADDRESSES.payment_of(changed_token)


@given(st.text(max_size=60) | st.text("AZaz09-_=+/", min_size=40, max_size=46))
def test_other_text_is_not_a_return_address(token: str) -> None:
    """Every other text: not found, never an error of another kind."""
    with pytest.raises(PaymentNotFound):
        ADDRESSES.payment_of(token)


# The sandbox's page


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (timedelta(minutes=24, seconds=59), "24 minutes, until Saturday, 28 November 2026, 13:24 Europe/Berlin"),
        (timedelta(minutes=1), "1 minute, until Saturday, 28 November 2026, 13:01 Europe/Berlin"),
        (timedelta(seconds=59), "less than a minute, until Saturday, 28 November 2026, 13:00 Europe/Berlin"),
        (timedelta(0), None),
        (timedelta(minutes=-5), None),
    ],
)
def test_sandbox_page_shows_the_remaining_hold_time(left: timedelta, shown: str | None) -> None:
    """Whole minutes that are left, and the end in the buyer's zone; without time left nothing can be paid."""
    order = SandboxOrder("sbx_1", PAYMENT, "Yoga", UNPAID.price, "open", Money(Decimal(0), "EUR"))
    page = SandboxPage(order, changed(hold_until=NOW + left), NOW, "https://a.example", "https://b.example")
    expected = f"{shown} (UTC+01:00)" if shown else None
    assert time_left(page) == expected
    assert page.can_be_paid == (shown is not None)
    assert replace(page, payment=changed(hold_until=None)).can_be_paid
