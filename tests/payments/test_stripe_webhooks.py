"""What comes in by Stripe's name, and what only looks like it."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import asyncpg
import httpx
import pytest

from application.payments.ports.gateways import GatewayRefused
from domain.payments import InvalidSignature
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from infrastructure.gateways.stripe.gateway import StripeGateway
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.payments.gateway_harness import FAILED, PAID, PENDING
from tests.payments.stripe_harness import GatewayHarness, open_gateway_harness
from tests.support.gateway_server import Entity
from tests.support.http import serving
from tests.support.machine_clock import SystemClock
from tests.support.memory.store import SettableClock
from tests.support.process_harness import LONG_RUN
from tests.support.stripe_server import (
    SECRET_KEY,
    WEBHOOK_PATH,
    WEBHOOK_SECRET,
    Webhook,
    signature_of,
    signed,
)

RETURNS = SignedReturnAddresses("http://here", b"a key")


@pytest.fixture
def gateway_harness(stripe_harness: GatewayHarness) -> GatewayHarness:
    return stripe_harness


def ago(body: bytes, seconds: int) -> str:
    return signed(body, at=int(time.time()) - seconds)


FORGERIES: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    "no signature": lambda body: (body, ""),
    "another secret": lambda body: (body, signed(body, secret="whsec_another")),
    "the key": lambda body: (body, signed(body, secret=SECRET_KEY)),
    "tampered": lambda body: (body.replace(b"3000", b"3001"), signed(body)),
    "re-serialised": lambda body: (json.dumps(json.loads(body)).encode(), signed(body)),
    "sorted": lambda body: (json.dumps(json.loads(body), sort_keys=True, indent=2).encode(), signed(body)),
    "a space more": lambda body: (body + b" ", signed(body)),
    "empty": lambda body: (b"", signed(body)),
    "v0": lambda body: (body, signed(body).replace("v1=", "v0=")),
    "upper case": lambda body: (body, f"t={int(time.time())},v1={signature_of(body).upper()}"),
    "cut short": lambda body: (body, signed(body)[:-1]),
    "without a time": lambda body: (body, f"v1={signature_of(body)}"),
    "a time that is none": lambda body: (body, f"t=now,v1={signature_of(body)}"),
    "another time": lambda body: (body, f"t={int(time.time()) - 1},v1={signature_of(body)}"),
    "without equals signs": lambda body: (body, signature_of(body)),
    "no ASCII": lambda body: (body, f"t={int(time.time())},v1={'é' * 64}"),
    "301 seconds old": lambda body: (body, ago(body, 301)),
    "301 seconds ahead": lambda body: (body, ago(body, -302)),
    "the time said twice": lambda body: (body, f"{ago(body, -1000)},t={int(time.time())}"),
}


async def test_forged_webhooks_are_rejected(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(session)
    [genuine] = gateway_harness.stripe.events("checkout.session.completed")
    for name, forgery in FORGERIES.items():
        body, signature = forgery(genuine.body)
        headers = {b"Content-Type": b"application/json"}
        if signature:
            headers[b"Stripe-Signature"] = signature.encode()
        answer = await gateway_harness.api.post(WEBHOOK_PATH, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature"), name
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM gateway_events") == 0
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PENDING
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID, "the genuine one is heard"


@pytest.mark.parametrize(
    "signature",
    [
        lambda body: ago(body, 290),
        lambda body: ago(body, -299),
        lambda body: f"{signed(body, secret='whsec_old')},v1={signature_of(body)}",
        lambda body: f"{signed(body)},v0={'0' * 64}",
    ],
    ids=["290 seconds old", "299 seconds ahead", "two signatures, one of them valid", "beside one of the scheme v0"],
)
async def test_correctly_signed_webhook_is_accepted(
    gateway_harness: GatewayHarness, signature: Callable[[bytes], str]
) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(session)
    [webhook] = gateway_harness.stripe.events("checkout.session.completed")
    answer = await webhook.send(gateway_harness.api, signature(webhook.body))
    assert (answer.status_code, answer.json()) == (200, {"status": "received"})
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PAID


async def test_timestamp_tolerance_is_five_minutes_by_the_clock_port() -> None:
    """Read at one moment: over HTTP a second may pass."""
    now = 1_700_000_000
    clock = SettableClock(datetime.fromtimestamp(now, UTC))
    gateway = StripeGateway(SECRET_KEY, WEBHOOK_SECRET, base_url="http://127.0.0.1:1", returns=RETURNS, clock=clock)
    body = b'{"id": "evt_1", "object": "event", "type": "payout.paid", "data": {"object": {}}}'

    def is_taken(seconds_ahead: int) -> bool:
        try:
            event = gateway.read_webhook(body, {"stripe-signature": signed(body, at=now + seconds_ahead)})
        except InvalidSignature:
            return False
        return (event.id, event.kind, event.report) == ("evt_1", "payout.paid", None)

    assert [is_taken(seconds) for seconds in (-301, -300, -299, 0, 299, 300, 301)] == [False, *[True] * 5, False]
    await gateway.close()


async def test_body_that_is_not_text_has_an_invalid_signature() -> None:
    gateway = StripeGateway(
        SECRET_KEY, WEBHOOK_SECRET, base_url="http://127.0.0.1:1", returns=RETURNS, clock=SystemClock()
    )
    with pytest.raises(InvalidSignature):
        gateway.read_webhook(b"\xff\xfe", {"stripe-signature": signed(b"\xff\xfe")})
    await gateway.close()


async def test_signed_body_that_is_not_an_event_is_rejected(gateway_harness: GatewayHarness) -> None:
    for body in (b"[]", b"no JSON", b"{}", b'{"id": 1}', b"null", b'{"object": "v2.core.event"}'):
        answer = await Webhook("", body).send(gateway_harness.api)
        assert answer.status_code == 400, body
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM gateway_events") == 0


async def test_without_stripe_keys_webhooks_return_503(make_settings: Callable[..., Settings]) -> None:
    async with serving(create_app(make_settings())) as address, httpx.AsyncClient(base_url=address) as api:
        answer = await Webhook("", b"{}").send(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway_unavailable")


async def test_repeated_event_has_one_effect(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(session)
    assert await _jobs_of_one_event(gateway_harness, times=1_000 if LONG_RUN else 60) == 1
    assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM gateway_events") == 1
    assert await gateway_harness.message_count(booked) == 1
    assert await gateway_harness.kept() == gateway_harness.stripe.kept() == 3_000


async def test_without_inbox_key_one_event_has_many_effects(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    """Negative control."""
    await database.execute("ALTER TABLE gateway_events DROP CONSTRAINT pk_gateway_events")
    async with open_gateway_harness(make_settings, database) as gateway_harness:
        _, session = await gateway_harness.a_booking()
        gateway_harness.stripe.pays(session)
        assert await _jobs_of_one_event(gateway_harness, times=20) == 20


async def _jobs_of_one_event(gateway_harness: GatewayHarness, *, times: int) -> int:
    """It comes over 20 connections, while the worker works."""
    [webhook] = gateway_harness.stripe.events("checkout.session.completed")
    working = asyncio.create_task(_keeps_working(gateway_harness))
    async with httpx.AsyncClient(base_url=gateway_harness.api.base_url, timeout=120) as api:

        async def send_in_turn() -> list[httpx.Response]:
            # Not all at once: httpx takes seconds of CPU time to queue a thousand requests.
            return [await webhook.send(api) for _ in range(times // 20)]

        answers = list(chain.from_iterable(await asyncio.gather(*(send_in_turn() for _ in range(20)))))
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert {answer.status_code for answer in answers} == {200}
    await gateway_harness.run_worker()
    jobs: int = await gateway_harness.database.fetchval("SELECT count(*) FROM outbox WHERE fact = 'gateway_event'")
    return jobs


async def _keeps_working(gateway_harness: GatewayHarness) -> None:
    while True:
        await gateway_harness.run_worker()
        await asyncio.sleep(0.05)


async def test_events_in_any_order_and_repeated_end_in_the_same_state(gateway_harness: GatewayHarness) -> None:
    """Declined, completed, paid later; from the last to the first, each twice."""
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.declines(session)
    gateway_harness.stripe.pays(session, at_once=False)
    gateway_harness.stripe.arrives(session)
    for webhook in reversed(gateway_harness.stripe.webhooks):
        await gateway_harness.send_webhooks([webhook, webhook])
        await gateway_harness.run_worker()
        assert await gateway_harness.state(booked) == PAID
    assert await gateway_harness.message_count(booked) == 1


async def test_late_event_changes_nothing(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.declines(session)
    gateway_harness.stripe.pays(session)
    declined, completed = gateway_harness.stripe.events("payment_intent.payment_failed", "checkout.session.completed")
    await gateway_harness.send_webhooks([completed])
    await gateway_harness.run_worker()
    await gateway_harness.send_webhooks([declined])
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PAID


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"amount": 2_999}, "received 29.99 INR, asked for 30.00 INR"),
        ({"currency": "jpy"}, "received 3,000 JPY, asked for 30.00 INR"),
    ],
)
async def test_wrong_amount_or_currency_is_recorded_and_not_confirmed(
    gateway_harness: GatewayHarness, changes: dict[str, Any], why: str
) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.pays(session, **changes)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PENDING
    assert await gateway_harness.mismatches() == [why]
    await gateway_harness.time_passes()
    await gateway_harness.parts.money.reconcile()
    assert await gateway_harness.state(booked) == PENDING, "asking does not confirm it either"
    assert await gateway_harness.mismatches() == [why], "kept once"


async def test_other_order_is_recorded_and_not_confirmed(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    other, _ = await gateway_harness.a_booking()
    payment_id = session["metadata"]["payment_id"]
    stranger = session | {"id": "cs_test_other", "payment_status": "paid", "status": "complete"}
    mixed_up = session | {
        "metadata": gateway_harness.session_of(other)["metadata"],
        "payment_status": "paid",
        "status": "complete",
    }
    unknown = stranger | {"id": "cs_test_unknown", "metadata": {"payment_id": "0198c0de-0000-7000-8000-000000000000"}}
    for about in (stranger, mixed_up, unknown):
        await gateway_harness.send_webhooks([gateway_harness.stripe.webhook("checkout.session.completed", about)])
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == await gateway_harness.state(other) == PENDING
    assert sorted(await gateway_harness.mismatches()) == sorted(
        [
            f"order cs_test_other is not {session['id']}",
            f"payment {gateway_harness.session_of(other)['metadata']['payment_id']} is not {payment_id}",
            "no payment of ours has this order",
        ]
    )


UNRELATED: list[tuple[str, Entity]] = [
    ("checkout.session.completed", {"id": "cs_live_1", "payment_status": "paid", "metadata": {}}),
    ("checkout.session.completed", {"id": "cs_live_1", "payment_status": "paid", "metadata": {"payment_id": "7"}}),
    ("checkout.session.expired", {"id": "cs_live_1", "metadata": None}),
    ("payment_intent.payment_failed", {"id": "pi_1", "status": "x", "currency": "eur", "metadata": {}}),
    ("charge.refunded", {"id": "ch_1", "refunds": None}),
    ("refund.created", {"id": "re_1", "amount": 1, "currency": "eur", "status": "pending"}),
    ("refund.updated", {"id": "re_1", "amount": 1, "currency": "eur", "status": "succeeded"}),
    ("customer.created", {"id": "cus_1"}),
]


async def test_unrelated_events_are_only_recorded(gateway_harness: GatewayHarness) -> None:
    """An account is often used by others too."""
    for kind, about in UNRELATED:
        await gateway_harness.send_webhooks([gateway_harness.stripe.webhook(kind, about)])
    stored = await gateway_harness.database.fetch("SELECT kind FROM gateway_events ORDER BY received_at")
    assert [row["kind"] for row in stored] == [kind for kind, _ in UNRELATED]
    assert await gateway_harness.database.fetchval("SELECT count(*) FROM outbox") == 0
    assert await gateway_harness.mismatches() == []


async def test_expired_session_fails_the_payment(gateway_harness: GatewayHarness) -> None:
    booked, session = await gateway_harness.a_booking()
    gateway_harness.stripe.expires(session)
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == FAILED


async def test_unknown_currency_is_rejected(gateway_harness: GatewayHarness) -> None:
    _, session = await gateway_harness.a_booking()
    strange = session | {"payment_status": "paid", "currency": "zzz"}
    answer = await gateway_harness.stripe.webhook("checkout.session.completed", strange).send(gateway_harness.api)
    assert (answer.status_code, answer.json()["code"]) == (400, GatewayRefused.code)
