"""Payments as clients meet them: links, previews, money on the spot; and what the tables themselves refuse."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import People, Person
from tests.support.shapes import misfits


@pytest.fixture(scope="module")
async def sandbox(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """The API, which takes payments at the sandbox."""
    app = create_app(make_shared_settings(payment_provider="sandbox"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


@pytest.fixture
async def unreachable(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with an unreachable gateway."""
    settings = make_shared_settings(
        payment_provider="razorpay",
        razorpay_key_id="rzp_test_1",
        razorpay_key_secret="a secret of the tests",
        razorpay_webhook_secret="another secret of the tests",
        razorpay_api_base="http://127.0.0.1:9",
    )
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


def refused(sentence: str, code: str) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str}


NOT_YOURS = (403, refused("You can only access your own bookings", "not_your_booking"))
NO_BOOKING = (404, refused("Booking not found", "booking_not_found"))
NOTHING_TO_PAY = (400, refused("There is nothing to pay for this booking", "nothing_to_pay"))
CANCELLED = (400, refused("Booking is already cancelled", "booking_already_cancelled"))


def check(answer: httpx.Response, expected: tuple[int, dict[str, Any]]) -> None:
    assert (answer.status_code, misfits(expected[1], answer.json())) == (expected[0], []), answer.text


async def a_booking(facilitator: Person, guest: Person, **event: Any) -> tuple[int, str | None]:
    """Its id and where it is paid."""
    offered = await facilitator.creates_event(**event)
    answer = await guest.post("/bookings", json={"event_id": offered["id"]})
    assert answer.status_code == 201, answer.text
    return answer.json()["booking"]["id"], answer.json()["payment_url"]


async def test_payment_link_is_the_same_each_time(sandbox: httpx.AsyncClient) -> None:
    people = People(sandbox)
    guest = await people.user()
    booking, url = await a_booking(await people.facilitator(), guest)
    for _ in range(3):
        answer = await guest.post(f"/bookings/{booking}/pay")
        assert (answer.status_code, answer.json()) == (200, {"payment_url": url})
    assert url


async def test_only_the_user_of_the_booking_gets_link_and_terms(sandbox: httpx.AsyncClient) -> None:
    people = People(sandbox)
    facilitator, guest, other = await people.facilitator(), await people.user(), await people.user()
    booking, _ = await a_booking(facilitator, guest)
    for path, call in (("pay", "POST"), ("cancellation", "GET")):
        for stranger in (other, facilitator):
            answer = await sandbox.request(call, f"/bookings/{booking}/{path}", headers=stranger.headers)
            check(answer, NOT_YOURS)
        assert (await sandbox.request(call, f"/bookings/{booking}/{path}")).status_code == 401


@pytest.mark.parametrize("number", ["999999", "0", "x", str(2**63)])
async def test_unknown_booking_has_no_payment_data(sandbox: httpx.AsyncClient, number: str) -> None:
    guest = await People(sandbox).user()
    check(await guest.get(f"/bookings/{number}/cancellation"), NO_BOOKING)
    facilitator = await People(sandbox).facilitator()
    check(await facilitator.post(f"/facilitator/bookings/{number}/payment"), NO_BOOKING)


async def test_free_paid_or_cancelled_booking_has_nothing_to_pay(sandbox: httpx.AsyncClient) -> None:
    people = People(sandbox)
    facilitator, guest = await people.facilitator(), await people.user()
    free, url = await a_booking(facilitator, guest, price=0)
    paid, _ = await a_booking(facilitator, guest)
    assert (await facilitator.post(f"/facilitator/bookings/{paid}/payment")).status_code == 200
    cancelled, _ = await a_booking(facilitator, guest)
    assert (await guest.post(f"/bookings/{cancelled}/cancel")).status_code == 200
    assert url is None
    for booking in (free, paid, cancelled):
        check(await guest.post(f"/bookings/{booking}/pay"), NOTHING_TO_PAY)


async def test_offline_payment_has_no_link_and_no_hold(
    shared_people: People, emptied_database: asyncpg.Connection
) -> None:
    guest = await shared_people.user()
    booking, url = await a_booking(await shared_people.facilitator(), guest)
    answer = await guest.post(f"/bookings/{booking}/pay")
    assert (url, answer.status_code, answer.json()) == (None, 200, {"payment_url": None})
    assert await emptied_database.fetchval("SELECT hold_until FROM bookings WHERE id = $1", booking) is None


async def test_unavailable_gateway_costs_the_link_but_not_the_seat(unreachable: httpx.AsyncClient) -> None:
    people = People(unreachable)
    guest = await people.user()
    booking, url = await a_booking(await people.facilitator(), guest)
    assert url is None
    assert (await guest.get(f"/bookings/{booking}")).json()["status"] == "confirmed"
    answer = await guest.post(f"/bookings/{booking}/pay")
    check(answer, (503, {"error": str, "code": "gateway_unavailable", "request_id": str}))


async def test_cancellation_terms_equal_the_refund(shared_people: People) -> None:
    facilitator, guest = await shared_people.facilitator(), await shared_people.user()
    policy = [{"hours_before": 168, "percent": 100}, {"hours_before": 24, "percent": 50}]
    booking, _ = await a_booking(facilitator, guest, in_days=2, price=25.05, refund_policy=policy)
    unpaid = {"paid": 0, "refund_percent": 50, "refund_amount": 0}
    always = {"booking_id": booking, "currency": "INR", "refund_policy": policy, "dispute": None}
    assert (await guest.get(f"/bookings/{booking}/cancellation")).json() == always | unpaid
    await facilitator.post(f"/facilitator/bookings/{booking}/payment")

    terms = (await guest.get(f"/bookings/{booking}/cancellation")).json()
    refund = (await guest.post(f"/bookings/{booking}/cancel")).json()["refund"]

    assert terms == always | {"paid": 25.05, "refund_percent": 50, "refund_amount": 12.53}
    assert (refund["amount"], refund["currency"]) == (12.53, "INR")
    check(await guest.get(f"/bookings/{booking}/cancellation"), CANCELLED)
    check(await guest.post(f"/bookings/{booking}/cancel"), CANCELLED)


async def test_facilitator_records_an_offline_payment_once(
    shared_people: People, emptied_database: asyncpg.Connection
) -> None:
    facilitator, guest = await shared_people.facilitator(), await shared_people.user()
    booking, _ = await a_booking(facilitator, guest)
    path = f"/facilitator/bookings/{booking}/payment"
    not_yours = (403, refused("You can only manage your own events", "not_your_event"))
    check(await (await shared_people.facilitator()).post(path), not_yours)
    assert (await guest.post(path)).status_code == 403

    for _ in range(2):
        answer = await facilitator.post(path)
        recorded = {"message": "Payment recorded", "booking_id": booking, "payment_status": "completed"}
        assert (answer.status_code, answer.json()) == (200, recorded)

    facts = await emptied_database.fetch("SELECT destination FROM outbox WHERE fact = 'payment_completed'")
    assert sorted(row["destination"] for row in facts) == ["crm", "email", "realtime"]
    cancelled, _ = await a_booking(facilitator, guest)
    await guest.post(f"/bookings/{cancelled}/cancel")
    answer = await facilitator.post(f"/facilitator/bookings/{cancelled}/payment")
    check(answer, (400, refused("Booking is cancelled", "booking_cancelled")))


async def test_ended_event_cannot_be_cancelled(shared_people: People, emptied_database: asyncpg.Connection) -> None:
    facilitator = await shared_people.facilitator()
    event = await facilitator.creates_event()
    await emptied_database.execute("UPDATE events SET starts_at = now() - interval '2 hours', ends_at = now()")
    answer = await facilitator.post(f"/facilitator/events/{event['id']}/cancel")
    check(answer, (400, refused("Event is over", "event_over")))


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE payments SET refunded = amount + 0.01", "refunded"),
        ("UPDATE payments SET refunded = -0.01", "refunded"),
        ("UPDATE payments SET amount = 0", "amount"),
        ("UPDATE payments SET status = 'not_required'", "status"),
        (
            """INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at)
               SELECT id, 0, currency, 'x', 'pending', now() FROM payments""",
            "amount",
        ),
        (
            """INSERT INTO refunds (payment_id, amount, currency, reason, status, requested_at)
               SELECT id, 1, currency, 'x', 'paid', now() FROM payments""",
            "status",
        ),
    ],
)
async def test_database_rejects_invalid_payment_data(
    shared_people: People, emptied_database: asyncpg.Connection, statement: str, rule: str
) -> None:
    await a_booking(await shared_people.facilitator(), await shared_people.user())
    with pytest.raises(asyncpg.CheckViolationError, match=rule):
        await emptied_database.execute(statement)


async def test_database_rejects_a_duplicate_order_or_webhook(
    shared_people: People, emptied_database: asyncpg.Connection
) -> None:
    facilitator, guest = await shared_people.facilitator(), await shared_people.user()
    for _ in range(2):
        await a_booking(facilitator, guest)
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_payments_order"):
        await emptied_database.execute("UPDATE payments SET gateway_reference = 'order-1'")
    event = (
        "INSERT INTO gateway_events (gateway, id, kind, payload, received_at) VALUES ('till', 'e', 'k', '{}', now())"
    )
    await emptied_database.execute(event)
    with pytest.raises(asyncpg.UniqueViolationError):
        await emptied_database.execute(event)
