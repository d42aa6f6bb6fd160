"""Disputes at Stripe and Razorpay, with the API, the worker and local servers of both; at the sandbox, by its page."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest

from application.payments.audit import AuditPayments
from application.payments.disputes import DisputeOutcome, SettleDispute
from domain.disputes import Dispute, DisputeStatus
from domain.money import Money
from domain.payments import DisputeUpdate, PaymentStatus
from infrastructure.postgres.payments.audit import PostgresPaymentAudit
from infrastructure.postgres.payments.webhooks import PostgresGatewayEvents
from tests.payments import razorpay_harness as razorpay
from tests.payments import stripe_harness as stripe
from tests.payments.gateway_harness import PAID, Booked, PaymentsHarness, SandboxDeployment
from tests.payments.test_sandbox import GatewayHarness as SandboxHarness
from tests.support.load import Member
from tests.support.people import People


async def shown(harness: PaymentsHarness, booked: Booked, person: Member) -> dict[str, Any]:
    answer = await harness.api.get(f"/bookings/{booked['booking']['id']}", headers=person.headers)
    body: dict[str, Any] = answer.json()
    return {name: body[name] for name in ("status", "payment_status", "dispute")}


async def differences(harness: PaymentsHarness) -> list[str]:
    """What an audit finds."""
    settle = harness.parts.money.jobs.settle_dispute
    audit = PostgresPaymentAudit(harness.parts.database)
    found = await AuditPayments(audit, settle.gateways, timedelta(0))()
    assert found.compared == 1
    return [each.why for each in found.mismatches]


async def test_refund_of_a_cancelled_booking_waits_for_stripes_dispute(stripe_harness: stripe.GatewayHarness) -> None:
    harness, person = stripe_harness, await stripe_harness.person()
    booked, intent = await harness.a_paid_booking(person, await harness.event())
    inquiry = harness.stripe.disputes_charge(intent, status="warning_needs_response")
    await harness.process_webhooks()
    assert (await shown(harness, booked, person))["dispute"] == "open"
    harness.stripe.updates_dispute(inquiry, "needs_response")
    await harness.process_webhooks()
    assert await harness.message_count(booked, "dispute_opened") == 2

    path = f"/bookings/{booked['booking']['id']}"
    refused = await harness.post(f"{path}/refund", {}, by=harness.facilitator)
    assert (refused.status_code, refused.json()["code"]) == (400, "payment_disputed")
    terms = (await harness.api.get(f"{path}/cancellation", headers=person.headers)).json()
    assert (terms["refund_amount"], terms["dispute"]) == (30, "open")
    assert await harness.cancels(person, booked)
    await harness.run_worker()
    assert harness.stripe.refunds == {}
    assert await differences(harness) == []

    harness.stripe.updates_dispute(inquiry, "won")
    late = harness.stripe.webhook("charge.dispute.created", inquiry | {"status": "needs_response"})
    harness.stripe.webhooks += [late, *harness.stripe.webhooks]
    await harness.process_webhooks()
    assert await shown(harness, booked, person) == {
        "status": "cancelled",
        "payment_status": "refunded",
        "dispute": "won",
    }
    assert await harness.refunds() == [("processed", Decimal(30), "booking_cancelled")]
    assert await harness.message_count(booked, "dispute_won") == 1
    assert await harness.kept() == harness.stripe.kept() == 0
    assert await differences(harness) == []


async def test_refund_that_stripe_refuses_finds_the_dispute_whose_webhook_was_lost(
    stripe_harness: stripe.GatewayHarness,
) -> None:
    harness, person = stripe_harness, await stripe_harness.person()
    booked, intent = await harness.a_paid_booking(person, await harness.event())
    dispute = harness.stripe.disputes_charge(intent)
    harness.stripe.webhooks.clear()
    assert await differences(harness) == ["dispute unknown here, open at the gateway"]
    assert await harness.cancels(person, booked)
    await harness.run_worker()
    assert (await shown(harness, booked, person))["dispute"] == "open"
    harness.stripe.updates_dispute(dispute, "lost")
    harness.stripe.webhooks.clear()
    assert await differences(harness) == ["charged back 0.00 INR here, 30.00 INR at the gateway"]
    harness.stripe.webhooks.append(harness.stripe.webhook("charge.dispute.closed", dispute))
    await harness.process_webhooks()
    await harness.time_passes()
    await harness.run_worker()
    assert harness.stripe.refunds == {}
    assert (await shown(harness, booked, person))["payment_status"] == "refunded"
    row = await harness.database.fetchrow("SELECT refunded, charged_back, refunds_wait FROM payments")
    assert row is not None
    assert tuple(row) == (0, 30, False)
    dead = await harness.database.fetchval("SELECT count(*) FROM outbox WHERE status = 'dead'")
    assert (dead, await harness.mismatches(), await differences(harness)) == (0, [], [])


@pytest.mark.parametrize("by_link", [False, True])
async def test_razorpays_dispute_arrives_before_the_payment(
    razorpay_harness: razorpay.GatewayHarness, by_link: bool
) -> None:
    """The payment of a link has an order that only the link's own webhook relates to the booking."""
    harness, person = razorpay_harness, await razorpay_harness.person()
    booked = await harness.books(person, await harness.event())
    if by_link:
        payment = harness.razorpay.pays_link(booked["payment_url"])
    else:
        payment = harness.razorpay.pays(harness.order_of(booked)["id"])
    dispute = harness.razorpay.disputes_payment(payment)
    harness.razorpay.updates_dispute(dispute, "under_review")
    harness.razorpay.updates_dispute(dispute, "lost")
    harness.razorpay.webhooks = harness.razorpay.webhooks[::-1]
    await harness.process_webhooks()
    assert await shown(harness, booked, person) == {
        "status": "confirmed",
        "payment_status": "refunded",
        "dispute": "lost",
    }
    assert await harness.message_count(booked, "dispute_lost") == 1
    refused = await harness.post(f"/bookings/{booked['booking']['id']}/refund", {}, by=harness.facilitator)
    assert refused.json()["code"] == "payment_charged_back"
    assert (await harness.mismatches(), await differences(harness)) == ([], [])


async def test_closed_inquiry_of_razorpay_leaves_the_payment(razorpay_harness: razorpay.GatewayHarness) -> None:
    harness, person = razorpay_harness, await razorpay_harness.person()
    booked = await harness.books(person, await harness.event())
    payment = harness.razorpay.pays(harness.order_of(booked)["id"])
    dispute = harness.razorpay.disputes_payment(payment, phase="retrieval")
    harness.razorpay.updates_dispute(dispute, "closed")
    await harness.process_webhooks()
    assert await harness.state(booked) == PAID
    assert (await shown(harness, booked, person))["dispute"] == "won"
    refund = await harness.post(f"/bookings/{booked['booking']['id']}/refund", {}, by=harness.facilitator)
    assert refund.status_code == 200, refund.text


async def test_buttons_of_the_sandbox_open_and_decide_a_dispute(
    sandbox_deployment: SandboxDeployment, emptied_database: asyncpg.Connection
) -> None:
    on = sandbox_deployment
    async with httpx.AsyncClient(base_url=on.address) as api:
        harness = SandboxHarness(api, People(api), on.parts, on.settings.public_url)
        guest = await harness.people.user()
        booking, url = await harness.book(guest, await (await harness.people.facilitator()).creates_event(price=30))
        page = url.removeprefix(harness.public_url)
        await harness.press(url, "paid")
        assert "Dispute the payment" in (await api.get(page)).text
        await harness.press(url, "dispute/open")
        assert (await guest.get(f"/bookings/{booking}")).json()["dispute"] == "open"
        assert "Decide for the payer" in (await api.get(page)).text
        await harness.press(url, "dispute/lost")
        await harness.press(url, "dispute/won")
        shown = (await guest.get(f"/bookings/{booking}")).json()
        assert (shown["dispute"], shown["payment_status"]) == ("lost", "refunded")
        assert (await api.post(f"{page}/dispute/unknown")).status_code == 404


async def receive_while_a_dispute_arrives(harness: stripe.GatewayHarness) -> DisputeOutcome:
    """The dispute is applied after the receipt of its payment looked for waiting webhooks, and before its commit."""
    booked = await harness.books(await harness.person(), await harness.event())
    payment_id = await harness.database.fetchval(
        "SELECT id FROM payments WHERE booking_id = $1", booked["booking"]["id"]
    )
    settle: SettleDispute = harness.parts.money.jobs.settle_dispute
    dispute = Dispute("du_1", Money(Decimal(30), "INR"), DisputeStatus.OPEN)
    async with settle.open_work() as work:
        payment = await work.payments.get(payment_id)
        await work.payments.save(replace(payment, status=PaymentStatus.COMPLETED, gateway_id="pi_1"))
        await work.gateway_events.lock_payment("stripe", "pi_1")
        assert list(await work.gateway_events.waiting_for("stripe", "pi_1")) == []
        applied = asyncio.create_task(settle("stripe", DisputeUpdate(dispute, "pi_1")))

        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not applied.done() and not await harness.database.fetchval(waiting):
            await asyncio.wait([applied], timeout=0.01)
        await work.commit()
    return await applied


async def test_dispute_that_arrives_during_the_receipt_of_its_payment_is_applied(
    stripe_harness: stripe.GatewayHarness,
) -> None:
    assert await receive_while_a_dispute_arrives(stripe_harness) is DisputeOutcome.RECORDED


async def test_without_the_lock_such_a_dispute_is_missed(
    stripe_harness: stripe.GatewayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""

    async def no_lock(self: PostgresGatewayEvents, gateway: str, gateway_id: str) -> None: ...

    monkeypatch.setattr(PostgresGatewayEvents, "lock_payment", no_lock)
    assert await receive_while_a_dispute_arrives(stripe_harness) is DisputeOutcome.WAITS
