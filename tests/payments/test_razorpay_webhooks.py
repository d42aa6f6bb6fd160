"""What comes in by Razorpay's name: webhooks, callbacks, and what only looks like them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.payments.gateway_harness import FAILED, PAID, PENDING
from tests.payments.razorpay_harness import GatewayHarness
from tests.support.process_harness import LONG_RUN
from tests.support.razorpay_server import KEY_SECRET, WEBHOOK_PATH, WEBHOOK_SECRET, Webhook, sign


@pytest.fixture
def gateway_harness(razorpay_harness: GatewayHarness) -> GatewayHarness:
    return razorpay_harness


def re_serialised(body: bytes) -> bytes:
    return json.dumps(json.loads(body), separators=(",", ":")).encode()


FORGERIES: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    "no signature": lambda body: (body, ""),
    "another secret": lambda body: (body, sign("another secret", body)),
    "the key's secret": lambda body: (body, sign(KEY_SECRET, body)),
    "tampered": lambda body: (body.replace(b"3000", b"3001"), sign(WEBHOOK_SECRET, body)),
    "re-serialised": lambda body: (re_serialised(body), sign(WEBHOOK_SECRET, body)),
    "sorted": lambda body: (json.dumps(json.loads(body), sort_keys=True).encode(), sign(WEBHOOK_SECRET, body)),
    "a space more": lambda body: (body + b" ", sign(WEBHOOK_SECRET, body)),
    "upper case": lambda body: (body, sign(WEBHOOK_SECRET, body).upper()),
    "cut short": lambda body: (body, sign(WEBHOOK_SECRET, body)[:-1]),
    "two signatures": lambda body: (body, f"{sign('x', body)},{sign(WEBHOOK_SECRET, body)}"),
    "no ASCII": lambda body: (body, "é" * 64),
}


async def test_forged_webhooks_are_rejected(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    gateway_harness.razorpay.pays(order["id"])
    [genuine] = gateway_harness.razorpay.webhooks_of("payment.captured")
    for name, forgery in FORGERIES.items():
        body, signature = forgery(genuine.body)
        assert body != genuine.body or signature != genuine.headers["X-Razorpay-Signature"], name
        headers = {"Content-Type": "application/json", "X-Razorpay-Event-Id": genuine.id}
        if signature:
            headers["X-Razorpay-Signature"] = signature
        encoded = {header.encode(): value.encode() for header, value in headers.items()}
        answer = await gateway_harness.api.post(WEBHOOK_PATH, content=body, headers=encoded)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature"), name
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PENDING
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM gateway_events") == 0

    await gateway_harness.send_webhooks([genuine])
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PAID, "what was forged did not take the genuine one's place"


async def test_repeated_webhook_has_one_effect(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    gateway_harness.razorpay.pays(order["id"])
    [captured] = gateway_harness.razorpay.webhooks_of("payment.captured")
    for _ in range(10 if LONG_RUN else 3):
        answers = await asyncio.gather(
            *(captured.send(gateway_harness.api) for _ in range(20)), gateway_harness.run_worker()
        )
        assert {answer.status_code for answer in answers if answer is not None} == {200}
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM gateway_events") == 1
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM outbox WHERE fact = 'gateway_event'") == 1


async def test_same_body_with_different_ids_has_one_effect(gateway_harness: GatewayHarness) -> None:
    """The id is in an unsigned header."""
    booked, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.pays(order["id"])
    [captured] = gateway_harness.razorpay.webhooks_of("payment.captured")
    await gateway_harness.send_webhooks(
        [Webhook(captured.event, f"evt_{number}", captured.body) for number in range(20 if LONG_RUN else 6)]
    )
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1
    gateway_harness.razorpay.gives_back(payment)
    [processed] = gateway_harness.razorpay.webhooks_of("refund.processed")
    await gateway_harness.send_webhooks(
        [Webhook(processed.event, f"evt_again_{number}", processed.body) for number in range(20 if LONG_RUN else 6)]
    )
    await gateway_harness.run_worker()
    rows = await gateway_harness.database.fetch("SELECT gateway_refund_id, amount FROM refunds")
    assert [tuple(row) for row in rows] == [(next(iter(gateway_harness.razorpay.refunds)), 30)]
    assert await gateway_harness.mismatches() == []
    assert (
        await gateway_harness.database.fetchval("SELECT max(attempts) FROM outbox WHERE destination = 'payments'") == 1
    )


async def test_wrong_amount_or_currency_is_recorded_and_not_confirmed(gateway_harness: GatewayHarness) -> None:
    others: list[dict[str, Any]] = [{"amount": 2_999}, {"amount": 3_001}, {"currency": "USD"}]
    for changes in others:
        booked, order = await gateway_harness.a_booking()
        payment = gateway_harness.razorpay.pays(order["id"], **changes)
        await gateway_harness.process_webhooks()
        await gateway_harness.time_passes()
        await gateway_harness.parts.money.reconcile()
        answer = await gateway_harness.post("/payment/success", gateway_harness.razorpay.callback(payment))
        assert (answer.status_code, answer.json()["code"]) == (400, "payment_differs")
        assert await gateway_harness.state(booked) == PENDING
        assert await gateway_harness.message_count(booked) == 0
    assert await gateway_harness.mismatches() == [
        "received 29.99 INR, asked for 30.00 INR",
        "received 30.01 INR, asked for 30.00 INR",
        "received 30.00 USD, asked for 30.00 INR",
    ]


async def test_notes_edited_in_the_checkout_do_not_pay_another_booking(
    gateway_harness: GatewayHarness,
) -> None:
    """A payment completes the booking of its order; the notes do not matter."""
    one, order = await gateway_harness.a_booking()
    another, wanted = await gateway_harness.a_booking()
    link_notes = next(
        each["notes"] for each in gateway_harness.razorpay.links.values() if each["notes"]["order_id"] == wanted["id"]
    )
    payment = gateway_harness.razorpay.pays(order["id"], notes=link_notes)
    await gateway_harness.process_webhooks()
    gateway_harness.razorpay.gives_back(payment, 100)
    await gateway_harness.process_webhooks()
    assert (await gateway_harness.state(one))[2] == "completed"
    assert await gateway_harness.state(another) == PENDING


async def test_webhook_about_an_unknown_order_is_accepted_and_recorded(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    foreign = order | {"id": "order_of_another_shop", "receipt": "TS1989", "notes": []}
    payment = {"id": "pay_1", "order_id": foreign["id"], "amount": 100, "currency": "INR", "status": "captured"}
    webhook = gateway_harness.razorpay.webhook("payment.captured", payment=payment)
    await gateway_harness.send_webhooks(
        [webhook, gateway_harness.razorpay.webhook("order.paid", payment=payment, order=foreign)]
    )
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PENDING
    assert await gateway_harness.mismatches() == ["no payment of ours has this order"]


async def test_irrelevant_webhook_is_accepted_to_stop_retries(
    gateway_harness: GatewayHarness,
) -> None:
    for event in ("payment.dispute.created", "invoice.paid", "order.paid", "refund.created", "x", ""):
        await gateway_harness.send_webhooks([gateway_harness.razorpay.webhook(event)])
    await gateway_harness.run_worker()
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM gateway_events") == 6
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM outbox WHERE fact = 'gateway_event'") == 0


# Callbacks


async def test_success_without_a_signature_for_this_payment_is_rejected(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    other, of_other = await gateway_harness.a_booking()
    paid = gateway_harness.razorpay.callback(gateway_harness.razorpay.pays(of_other["id"]))
    for forged in (
        paid | {"razorpay_order_id": order["id"]},
        paid | {"razorpay_payment_id": "pay_of_nobody"},
        paid | {"razorpay_signature": "signature_hash"},
        paid | {"razorpay_signature": sign(WEBHOOK_SECRET, f"{of_other['id']}|{paid['razorpay_payment_id']}".encode())},
    ):
        answer = await gateway_harness.post("/payment/success", forged)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    assert await gateway_harness.state(booked) == await gateway_harness.state(other) == PENDING


async def test_signed_success_counts_while_razorpay_is_unavailable(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    payment = gateway_harness.razorpay.pays(order["id"])
    gateway_harness.razorpay.trouble("500")
    answer = await gateway_harness.post("/payment/success", gateway_harness.razorpay.callback(payment))
    assert answer.json()["booking"]["payment_status"] == "completed"
    gateway_harness.razorpay.mend()
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.mismatches() == []


async def test_forged_failure_does_not_change_a_paid_order(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    gateway_harness.razorpay.pays(order["id"])
    await gateway_harness.process_webhooks()
    answer = await gateway_harness.post(
        "/payment/failure", {"razorpay_order_id": order["id"], "razorpay_payment_id": "pay_1"}
    )
    assert (answer.status_code, answer.json()["booking"]["payment_status"]) == (200, "completed")
    assert await gateway_harness.state(booked) == PAID


async def test_forged_failure_of_an_open_order_changes_nothing(gateway_harness: GatewayHarness) -> None:
    event_id = await gateway_harness.event(capacity=1)
    booked = await gateway_harness.books(await gateway_harness.person(), event_id)
    order = gateway_harness.order_of(booked)
    answer = await gateway_harness.post(
        "/payment/failure", {"razorpay_order_id": order["id"], "razorpay_payment_id": "pay_1"}
    )
    assert (answer.status_code, answer.json()["booking"]["payment_status"]) == (200, "pending")
    assert await gateway_harness.state(booked) == PENDING
    assert await gateway_harness.database.fetchval("SELECT booked FROM events WHERE id = $1", event_id) == 1


async def test_failure_is_verified_with_razorpay(gateway_harness: GatewayHarness) -> None:
    booked, order = await gateway_harness.a_booking()
    failed = gateway_harness.razorpay.fails(order["id"])
    body = {"razorpay_order_id": order["id"], "razorpay_payment_id": failed["id"]}
    gateway_harness.razorpay.trouble("500")
    answer = await gateway_harness.post("/payment/failure", body)
    assert (answer.status_code, answer.json()["booking"]["payment_status"]) == (200, "pending"), (
        "Razorpay is unavailable"
    )
    gateway_harness.razorpay.mend()
    answer = await gateway_harness.post("/payment/failure", body)
    assert answer.json()["booking"]["payment_status"] == "failed"
    assert await gateway_harness.state(booked) == FAILED
    gateway_harness.razorpay.pays(order["id"])
    answer = await gateway_harness.post("/payment/failure", body)
    assert answer.json()["booking"]["payment_status"] == "completed", "the true state, whatever was claimed"
    assert await gateway_harness.message_count(booked) == 1
