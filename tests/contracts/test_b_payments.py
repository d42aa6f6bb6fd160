"""Contract B, endpoints 15 and 16: results of Razorpay's Checkout sent by a client, in the document's order."""

from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from infrastructure.settings import Settings
from tests.contracts.documents import uncalled
from tests.payments.razorpay_harness import GatewayHarness, open_gateway_harness
from tests.support.shapes import misfits

BOOKING = {"id": int, "booking_reference": str, "payment_status": str}


def refused(sentence: str, code: str) -> dict[str, object]:
    return {"error": sentence, "code": code, "request_id": str}


def invalid(field: str) -> dict[str, object]:
    return refused("Validation error", "validation_error") | {"details": {field: str}}


@pytest.fixture
async def gateway_harness(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> AsyncIterator[GatewayHarness]:
    async with open_gateway_harness(make_settings, database) as gateway_harness:
        yield gateway_harness


# 15. Payment Success Callback


async def test_15_signed_success_completes_the_payment(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    callback = gateway_harness.razorpay.callback(gateway_harness.razorpay.pays(order["id"]))
    of_the_booking = {
        "id": booked["booking"]["id"],
        "booking_reference": booked["booking"]["booking_reference"],
        "payment_status": "completed",
    }
    # Who asks again, because the answer was lost, gets it again.
    for body in (callback, callback | {"org_logo": "", "checkout_logo": None}, callback):
        answer = await gateway_harness.post("/payment/success", body)
        assert answer.status_code == 200
        shape = {"message": "Payment processed successfully", "booking": BOOKING | of_the_booking}
        assert not misfits(shape, answer.json())
    assert await gateway_harness.message_count(booked) == 1


async def test_15_each_invalid_success_returns_its_error(gateway_harness: GatewayHarness) -> None:
    _, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.pays(order["id"])
    callback = gateway_harness.razorpay.callback(payment)
    answer = await gateway_harness.post("/payment/success", callback | {"razorpay_signature": "signature_hash"})
    assert answer.status_code == 400
    assert not misfits(refused("Invalid signature", "invalid_signature"), answer.json())
    for field in callback:
        answer = await gateway_harness.post(
            "/payment/success", {name: value for name, value in callback.items() if name != field}
        )
        assert answer.status_code == 400
        assert not misfits(invalid(field), answer.json())
        answer = await gateway_harness.post("/payment/success", callback | {field: ""})
        assert answer.status_code == 400
        assert not misfits(invalid(field), answer.json())
    unknown = {"id": "pay_of_nobody", "order_id": "order_of_nobody"}
    answer = await gateway_harness.post("/payment/success", gateway_harness.razorpay.callback(unknown))
    assert answer.status_code == 404
    assert not misfits(refused("Payment not found", "payment_not_found"), answer.json())


# 16. Payment Failure Callback


async def test_16_failure_is_recorded_as_reported_by_razorpay(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    body = {
        "razorpay_payment_id": gateway_harness.razorpay.fails(order["id"])["id"],
        "razorpay_order_id": order["id"],
        "error_code": "PAYMENT_DECLINED",
        "error_description": "Payment was declined by the bank",
    }
    of_the_booking = {
        "id": booked["booking"]["id"],
        "booking_reference": booked["booking"]["booking_reference"],
        "payment_status": "failed",
    }
    for _ in range(2):
        answer = await gateway_harness.post("/payment/failure", body)
        assert answer.status_code == 200
        shape = {"message": "Payment failure recorded", "booking": BOOKING | of_the_booking}
        assert not misfits(shape, answer.json())


async def test_16_each_invalid_failure_returns_its_error(gateway_harness: GatewayHarness) -> None:
    answer = await gateway_harness.post("/payment/failure", {"razorpay_order_id": "order_of_nobody"})
    assert answer.status_code == 404
    assert not misfits(refused("Payment not found", "payment_not_found"), answer.json())
    answer = await gateway_harness.post("/payment/failure", {"razorpay_payment_id": "pay_1234567890"})
    assert answer.status_code == 400
    assert not misfits(invalid("razorpay_order_id"), answer.json())


async def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
