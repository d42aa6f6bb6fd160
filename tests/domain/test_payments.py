"""A payment only moves forward, and only by what was asked for."""

from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.ids import BookingId, BookingRef
from domain.money import Money, exponent
from domain.payments import (
    UNPAID,
    GatewayUpdate,
    NothingToRefund,
    Payment,
    PaymentId,
    PaymentStatus,
    PaymentUpdate,
    RefundExceedsPayment,
    status_at_booking,
)

PENDING, COMPLETED, FAILED = PaymentStatus.PENDING, PaymentStatus.COMPLETED, PaymentStatus.FAILED
REFUNDED, NOT_REQUIRED = PaymentStatus.REFUNDED, PaymentStatus.NOT_REQUIRED
MOVES = {(PENDING, COMPLETED), (PENDING, FAILED), (FAILED, COMPLETED), (COMPLETED, REFUNDED)}
PRICE = Money(Decimal("25.50"), "INR")
CURRENCIES = ("JPY", "INR", "KWD")


def a_payment(**changes: Any) -> Payment:
    payment = Payment(
        id=PaymentId(UUID(int=1)),
        payable=BookingRef(BookingId(1)),
        gateway="till",
        price=PRICE,
        status=PENDING,
        order_id="order-1",
        gateway_id=None,
        refunded=Money(Decimal(0), "INR"),
    )
    return replace(payment, **changes)


def a_report(**changes: Any) -> GatewayUpdate:
    return replace(GatewayUpdate("order-1", PaymentUpdate.RECEIVED, PaymentId(UUID(int=1)), "pay-1", PRICE), **changes)


@pytest.mark.parametrize(("now", "then"), list(product(PaymentStatus, PaymentStatus)))
def test_payment_transitions_are_forward_only(now: PaymentStatus, then: PaymentStatus) -> None:
    assert a_payment(status=now).can_become(then) == ((now, then) in MOVES)


def test_unpaid_statuses_are_those_that_can_still_be_completed() -> None:
    assert {status for status in PaymentStatus if a_payment(status=status).can_become(COMPLETED)} == UNPAID


@pytest.mark.parametrize(("order_id", "kept"), [(None, "order-2"), ("order-1", "order-1")])
def test_received_payment_stores_order_id_and_gateway_id(order_id: str | None, kept: str) -> None:
    received = a_payment(order_id=order_id).received(order_id="order-2", gateway_id="pay-1")

    assert (received.status, received.order_id, received.gateway_id) == (COMPLETED, kept, "pay-1")
    assert received.received().gateway_id == "pay-1"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"payment_id": None}, None),
        ({"order_id": "order-2"}, "order order-2 is not order-1"),
        ({"payment_id": PaymentId(UUID(int=2))}, f"payment {UUID(int=2)} is not {UUID(int=1)}"),
        ({"amount": Money(Decimal("25.49"), "INR")}, "received 25.49 INR, asked for 25.50 INR"),
        ({"amount": Money(Decimal("25.50"), "USD")}, "received 25.50 USD, asked for 25.50 INR"),
        ({"amount": None}, "received None, asked for 25.50 INR"),
        ({"report": PaymentUpdate.FAILED, "amount": None}, None),
        ({"report": PaymentUpdate.OPEN, "amount": None}, None),
        ({"report": PaymentUpdate.FAILED, "order_id": "order-2"}, "order order-2 is not order-1"),
    ],
)
def test_gateway_update_must_match_the_payment(change: dict[str, Any], why: str | None) -> None:
    assert a_report(**change).mismatch_with(a_payment()) == why


def test_second_payment_of_one_order_does_not_match() -> None:
    paid = a_payment(gateway_id="pay-1")
    assert a_report(gateway_id="pay-1").mismatch_with(paid) is None
    assert a_report(gateway_id=None).mismatch_with(paid) is None
    assert a_report(gateway_id="pay-2").mismatch_with(paid) == "received pay-2 after pay-1: it was paid twice"
    assert a_report(gateway_id="pay-2", report=PaymentUpdate.FAILED).mismatch_with(paid) is None


def test_gateway_update_with_any_order_matches_a_payment_without_order_id() -> None:
    assert a_report(order_id="order-2").mismatch_with(a_payment(order_id=None)) is None


def test_full_refund_changes_the_status_and_partial_refund_does_not() -> None:
    paid = a_payment(status=COMPLETED)

    part = paid.with_refund(Money(Decimal("10.25"), "INR"))
    whole = part.with_refund(part.refundable)

    assert (part.status, part.refundable) == (COMPLETED, Money(Decimal("15.25"), "INR"))
    assert (whole.status, whole.refunded, whole.refundable.is_zero) == (REFUNDED, PRICE, True)


@pytest.mark.parametrize("status", [PENDING, FAILED, REFUNDED])
def test_unpaid_payment_has_nothing_to_refund(status: PaymentStatus) -> None:
    assert a_payment(status=status).refundable.is_zero


@given(st.sampled_from(CURRENCIES), st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
def test_partial_refunds_add_up_to_the_price(currency: str, parts: list[int]) -> None:
    price = Money.from_minor_units(sum(parts), currency)
    payment = a_payment(status=COMPLETED, price=price, refunded=Money.from_minor_units(0, currency))
    for number, part in enumerate(parts):
        assert payment.refundable.minor_units == sum(parts[number:])
        payment = payment.with_refund(Money.from_minor_units(part, currency))
    assert (payment.status, payment.refunded) == (REFUNDED, price)


def test_free_seat_needs_no_payment() -> None:
    assert status_at_booking(Money(Decimal(0), "INR")) is NOT_REQUIRED
    assert status_at_booking(PRICE) is PENDING


@given(
    price=st.integers(1, 100_000),
    parts=st.lists(st.one_of(st.none(), st.integers(-5, 120_000)), max_size=8),
    currency=st.sampled_from(["INR", "JPY", "KWD", "MGA"]),
)
def test_sum_of_refunds_never_exceeds_the_price(price: int, parts: list[int | None], currency: str) -> None:
    payment = replace(a_payment(status=COMPLETED), price=Money.from_minor_units(price, currency))
    payment = replace(payment, refunded=Money(Decimal(0), currency))
    given_back = Decimal(0)
    for part in parts:
        amount = None if part is None else Decimal(part).scaleb(-exponent(currency))
        try:
            back = payment.refund_of(amount)
        except Invalid as refused:
            assert refused.details.keys() == {"amount"}
            continue
        except (NothingToRefund, RefundExceedsPayment):
            assert amount is None or payment.refundable.is_zero or amount > payment.refundable.amount
            continue
        assert back == (payment.refundable if amount is None else Money(amount, currency))
        assert not back.is_zero
        payment = payment.with_refund(back)
        given_back += back.amount
        assert payment.refunded.amount == given_back <= payment.price.amount
    assert payment.can_become(PaymentStatus.REFUNDED) == (given_back < payment.price.amount)


@pytest.mark.parametrize(
    ("amount", "currency", "why"),
    [
        ("0", "INR", "Must be greater than 0"),
        ("-1", "INR", "Must not be negative"),
        ("NaN", "INR", "Must be a finite number"),
        ("0.001", "INR", "INR has 2 decimal places"),
        ("0.5", "JPY", "JPY has 0 decimal places"),
        ("0.001", "KWD", "Must be a multiple of 0.01 KWD"),
        ("0.50", "MGA", "Must be a multiple of 1 MGA"),
    ],
)
def test_invalid_refund_amount_is_rejected(amount: str, currency: str, why: str) -> None:
    payment = replace(a_payment(status=COMPLETED), price=Money(Decimal(30), currency))
    payment = replace(payment, refunded=Money(Decimal(0), currency))
    with pytest.raises(Invalid) as refused:
        payment.refund_of(Decimal(amount))
    assert refused.value.details == {"amount": why}
