"""A process dies between its commit and its answer: a retry with the same key returns the original answer.

The deaths are written into the database here; `tests/resilience/test_repeated_requests.py` kills processes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.appointments import a_price_for, at, uuid_of, wanted
from tests.support.crash_after_commit import died_after_the_commit
from tests.support.description_checks import operations
from tests.support.http import serving
from tests.support.people import PASSWORD, People, Person, event
from tests.support.settings import settings_for


@pytest.fixture(scope="module")
async def harness(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """With payments at the sandbox, and room for the unpaid bookings of the whole module."""
    settings = settings_for(
        shared_database_url,
        redis_url,
        tmp_path_factory.mktemp("data"),
        payment_provider="sandbox",
        unpaid_holds_per_account="100",
        unpaid_holds_per_coach="100",
    )
    async with serving(create_app(settings)) as address, a_client(address) as client:
        yield client


@pytest.fixture(scope="module")
async def guest(harness: httpx.AsyncClient) -> Person:
    return await People(harness).user()


@pytest.fixture(scope="module")
async def host(harness: httpx.AsyncClient) -> Person:
    return await People(harness).facilitator()


@pytest.fixture(scope="module")
async def coach(host: Person, shared_database_url: str) -> str:
    uuid = await uuid_of(host)
    await a_price_for(shared_database_url, uuid)
    return uuid


SendTwice = Callable[..., Any]


@pytest.fixture
def send_twice(harness: httpx.AsyncClient, shared_database: asyncpg.Connection) -> SendTwice:
    """Posts, dies before the answer is kept, and posts the same again: both answers."""

    async def twice(person: Person | None, path: str, body: Any = None, **given: Any) -> list[httpx.Response]:
        key = str(uuid4())
        headers = (person.headers if person else {}) | given.pop("headers", {}) | {"Idempotency-Key": key}
        answers = []
        for _ in range(2):
            answers.append(await harness.post(path, json=body, headers=headers, **given))
            assert answers[-1].status_code < 300, answers[-1].text
            await died_after_the_commit(shared_database, key)
        first, again = answers
        assert again.status_code == first.status_code
        return answers

    return twice


def same(answers: list[httpx.Response]) -> Any:
    first, again = answers
    assert again.json() == first.json()
    return first.json()


async def a_paid_seat(host: Person, guest: Person) -> tuple[int, int]:
    """Event and booking, paid on the spot."""
    created = await host.creates_event(price=30)
    booking = await guest.books(created["id"])
    assert (await host.post(f"/facilitator/bookings/{booking['id']}/payment")).status_code == 200
    return created["id"], booking["id"]


async def test_cancelled_booking_is_returned_after_a_crash(host: Person, guest: Person, send_twice: SendTwice) -> None:
    _, booking = await a_paid_seat(host, guest)
    answer = same(await send_twice(guest, f"/bookings/{booking}/cancel"))
    assert answer["refund"]["amount"] == 30
    free = await guest.books((await host.creates_event(price=0))["id"])
    assert same(await send_twice(guest, f"/bookings/{free['id']}/cancel"))["refund"] is None


async def test_refund_is_returned_after_a_crash(host: Person, guest: Person, send_twice: SendTwice) -> None:
    _, booking = await a_paid_seat(host, guest)
    answer = same(await send_twice(host, f"/bookings/{booking}/refund", {"amount": 12.5}))
    assert answer["refund"]["amount"] == 12.5
    rest = same(await send_twice(host, f"/bookings/{booking}/refund"))
    assert rest["refund"]["amount"] == 17.5


async def test_review_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice, shared_database: asyncpg.Connection
) -> None:
    created = await host.creates_event(price=0)
    await guest.books(created["id"])
    await shared_database.execute(
        "UPDATE events SET starts_at = now() - interval '25 h', ends_at = now() - interval '1 h' WHERE id = $1",
        created["id"],
    )
    body = {"rating": 4, "comment": "  Calm.  "}
    answer = same(await send_twice(guest, f"/events/{created['id']}/reviews", body))
    assert (answer["review"]["rating"], answer["review"]["comment"]) == (4, "Calm.")
    assert len((await guest.get(f"/events/{created['id']}/reviews")).json()["reviews"]) == 1


@pytest.mark.parametrize("path", ["/auth/register", "/api/register", "/api/auth/register"])
async def test_account_is_returned_after_a_crash(harness: httpx.AsyncClient, send_twice: SendTwice, path: str) -> None:
    body = {"email": f"{uuid4()}@example.com", "password": PASSWORD, "name": "Died Young", "role": "facilitator"}
    first, again = [answer.json() for answer in await send_twice(None, path, body)]
    assert again["user"] == first["user"]
    if "access_token" in first:
        for token in {first["access_token"], again["access_token"]}:
            shown = await harness.get("/profile", headers={"Authorization": f"Bearer {token}"})
            assert shown.json()["id"] == first["user"]["id"]
    else:
        assert again == first


async def test_retried_registration_with_a_changed_password_returns_no_tokens(
    harness: httpx.AsyncClient,
) -> None:
    body = {"email": f"{uuid4()}@example.com", "password": PASSWORD, "name": "Changed Mind"}
    key = {"Idempotency-Key": str(uuid4())}
    first = await harness.post("/api/auth/register", json=body, headers=key)
    token = {"Authorization": f"Bearer {first.json()['access_token']}"}
    change = {"current_password": PASSWORD, "new_password": "another password 7"}
    assert (await harness.post("/auth/password", json=change, headers=token)).status_code == 200

    again = await harness.post("/api/auth/register", json=body, headers=key)
    assert (again.status_code, again.json()["code"]) == (401, "invalid_credentials")


async def test_concurrent_registrations_with_one_key_make_one_account_and_store_no_token(
    harness: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    body = {"email": f"{uuid4()}@example.com", "password": PASSWORD, "name": "Double Click"}
    key = str(uuid4())
    answers = await asyncio.gather(
        *(harness.post("/api/register", json=body, headers={"Idempotency-Key": key}) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.json()["user"]["id"] for answer in answers}) == 1
    kept = await shared_database.fetchval("SELECT k::text FROM idempotency_keys k WHERE key = $1", key)
    assert not any(answer.json()["access_token"] in kept for answer in answers)
    other = await harness.post("/api/register", json=body | {"name": "Other"}, headers={"Idempotency-Key": key})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    taken = [await harness.post("/api/register", json=body, headers={"Idempotency-Key": f"{key}2"}) for _ in range(2)]
    assert [answer.json()["code"] for answer in taken] == ["email_taken"] * 2
    assert "idempotency-replayed" not in taken[1].headers, "a refusal without an account is not kept"


async def test_offline_payment_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice, coach: str
) -> None:
    created = await host.creates_event(price=30)
    booking = await guest.books(created["id"])
    answer = same(await send_twice(host, f"/facilitator/bookings/{booking['id']}/payment"))
    assert answer["payment_status"] == "completed"
    session = (await guest.post("/booking", wanted(coach, at(8)))).json()["id"]
    assert same(await send_twice(host, f"/booking/{session}/payment"))["payment_status"] == "completed"


async def test_payment_reported_by_a_service_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice
) -> None:
    created = await host.creates_event(price=30)
    booking = await guest.books(created["id"])
    body = {"booking_id": booking["id"], "user_id": guest.id, "event_id": created["id"]}
    token = {"Authorization": "Bearer a-service-token-of-the-tests"}
    assert same(await send_twice(None, "/service/offline-payments", body, headers=token))["payment_status"]


async def test_participant_cancelled_by_the_facilitator_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice
) -> None:
    _, booking = await a_paid_seat(host, guest)
    answer = same(await send_twice(host, f"/facilitator/bookings/{booking}/cancel"))
    assert answer["refund"]["amount"] == 30
    free = await guest.books((await host.creates_event(price=0))["id"])
    assert same(await send_twice(host, f"/facilitator/bookings/{free['id']}/cancel"))["refund"] is None


async def test_invitation_and_its_withdrawal_are_returned_after_a_crash(
    host: Person, send_twice: SendTwice, shared_database: asyncpg.Connection
) -> None:
    event_id = (await host.creates_event())["id"]
    body = {"name": "Rosa Parks", "email": f"{uuid4()}@example.com"}
    held = same(await send_twice(host, f"/facilitator/events/{event_id}/bookings", body))["invitation"]
    assert await shared_database.fetchval("SELECT booked FROM events WHERE id = $1", event_id) == 1
    gone = same(await send_twice(host, f"/facilitator/invitations/{held['id']}/cancel"))["invitation"]
    assert (gone["id"], gone["status"]) == (held["id"], "withdrawn")
    assert await shared_database.fetchval("SELECT booked FROM events WHERE id = $1", event_id) == 0


async def test_message_to_participants_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice, shared_database: asyncpg.Connection
) -> None:
    event_id, booking = await a_paid_seat(host, guest)
    path, body = f"/facilitator/events/{event_id}/messages", {"subject": "Tonight", "text": "Bring tea"}
    assert same(await send_twice(host, path, body))["recipients"] == 1
    sent = "SELECT count(*) FROM outbox WHERE lane = $1 AND fact = 'participant_message'"
    assert await shared_database.fetchval(sent, f"booking:{booking}") == 1


@pytest.mark.parametrize("path", ["/facilitator/events/{}/cancel", "/facilitator/cancel/{}", "/api/sessions/{}/cancel"])
async def test_cancelled_event_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice, path: str
) -> None:
    created, _ = await a_paid_seat(host, guest)
    answer = same(await send_twice(host, path.format(created)))
    if "refunds_processed" in answer:
        assert (answer["refunds_processed"], answer["total_refund_amount"]) == (1, 30)


@pytest.mark.parametrize("path", ["/events", "/api/sessions"])
async def test_event_is_returned_after_a_crash(host: Person, send_twice: SendTwice, path: str) -> None:
    body = event()
    if path != "/events":
        body = {
            "title": "Session",
            "description": "Of contract C",
            "start_time": body["start_datetime"],
            "end_time": body["end_datetime"],
            "capacity": 5,
            "price": 10,
        }
    same(await send_twice(host, path, body))


@pytest.mark.parametrize(("path", "field"), [("/bookings", "event_id"), ("/api/bookings", "session_id")])
async def test_booking_is_returned_after_a_crash(
    host: Person, guest: Person, send_twice: SendTwice, path: str, field: str
) -> None:
    same(await send_twice(guest, path, {field: (await host.creates_event())["id"]}))


async def test_appointment_and_its_rescheduling_are_returned_after_a_crash(
    guest: Person, coach: str, send_twice: SendTwice
) -> None:
    session = same(await send_twice(guest, "/booking", wanted(coach, at(10))))["id"]
    body = {"session_datetime": at(12).isoformat()}
    assert same(await send_twice(guest, f"/booking/{session}/reschedule", body))["sequence"] == 1


async def test_series_is_returned_after_a_crash(guest: Person, coach: str, send_twice: SendTwice) -> None:
    first = at(14)
    assert (await guest.post("/booking", wanted(coach, first + timedelta(days=1)))).status_code == 201
    body = wanted(coach, first) | {"rrule": "FREQ=DAILY;COUNT=3", "skip_conflicts": True}
    answer = same(await send_twice(guest, "/booking/recurring", body))
    assert (len(answer["bookings"]), len(answer["refused"])) == (2, 1)


async def test_attachment_sent_with_a_new_form_boundary_is_returned_after_a_crash(
    guest: Person, coach: str, send_twice: SendTwice
) -> None:
    """Every client draws a new boundary for it."""
    session = (await guest.post("/booking", wanted(coach, at(18)))).json()["id"]
    file = {"file": ("plan.txt", b"Run, rest, run", "text/plain")}
    same(await send_twice(guest, f"/booking/{session}/attachments", files=file))
    assert len((await guest.get(f"/booking/{session}/attachments")).json()["attachments"]) == 1


async def test_same_form_is_the_same_attachment_and_another_is_rejected(guest: Person, coach: str) -> None:
    path = f"/booking/{(await guest.post('/booking', wanted(coach, at(20)))).json()['id']}/attachments"
    headers = guest.headers | {"Idempotency-Key": str(uuid4())}

    async def sends(content: bytes, name: str = "plan.txt") -> httpx.Response:
        return await guest.api.post(path, headers=headers, files={"file": (name, content, "text/plain")})

    first, again = await sends(b"Run"), await sends(b"Run")
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert (again.status_code, again.content) == (201, first.content)
    for other in (await sends(b"Rest"), await sends(b"Run", "other.txt")):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await guest.get(path)).json()["attachments"]) == 1


# Every POST

SHOWN_ABOVE = {
    *("cancelBooking", "createReview", "register", "registerOfA", "registerOfC", "recordPaymentOnTheSpot"),
    *("recordCoachingPayment", "recordOfflinePayment", "cancelEvent", "cancelEventOfD", "cancelSession"),
    *("createEvent", "createSession", "createBooking", "createBookingOfAOrC", "bookCoaching", "rescheduleCoaching"),
    *("bookSeries", "addAttachment", "refundBooking", "cancelParticipant", "writeToParticipants"),
    *("addParticipant", "withdrawInvitation"),
}
ELSEWHERE = {
    **dict.fromkeys(("connectGoogleCalendar", "connectOutlook", "syncBooking"), "tests/calendars/"),
    **dict.fromkeys(("confirmPayment", "reportFailedPayment"), "tests/payments/"),
}
RETRY_IS_SAFE = {
    **dict.fromkeys(("stripeWebhook", "razorpayWebhook"), "its inbox knows an event by the gateway's id"),
    **dict.fromkeys(("payBooking", "payCoaching"), "commits nothing: the gateway knows the payment's id"),
    **dict.fromkeys(("replayOutbox", "replayOutboxMessage"), "replays what is dead, and that is not dead any more"),
    **dict.fromkeys(("logIn", "logInOfA", "logInOfC", "signInWithGoogleOfC"), "another login is as good"),
    **dict.fromkeys(("logOut", "changePassword"), "whoever asks again is logged out: 401"),
    **dict.fromkeys(("resendVerification", "requestPasswordReset", "requestEmailChange"), "another mail is as good"),
    **dict.fromkeys(
        ("verifyEmail", "resetPassword", "changeEmail", "undoEmailChange"),
        "a token is used once: 400, and the change is there",
    ),
    **dict.fromkeys(("startTotpEnrolment", "startPasskey", "challengePasskeys"), "another challenge is as good"),
    "challengePasskeysOfLogin": "another challenge is as good",
    "completeLogin": "a code is used once: 401, and another login is as good",
    **dict.fromkeys(("confirmTotpEnrolment", "addPasskey"), "refused, and the factor is there; new codes can be had"),
    "removeFactor": "it is not there any more: 404",
    "replaceRecoveryCodes": "the codes are secret and stored nowhere; those that are newest count",
    "refreshToken": "a token that comes twice is one that was copied (docs/decisions/0004)",
    **dict.fromkeys(("activateUser", "deactivateUser", "changeUserRole"), "sets a state, and may be set again"),
    "createApiKey": "its secret is stored nowhere: another key is as good, and the first can be revoked",
    "openCalendarFeed": "the address is secret and stored nowhere; there is one, the newest",
}


def test_every_post_operation_is_tested() -> None:
    posts = {each.operation["operationId"] for each in operations() if each.method == "POST"}
    assert posts == SHOWN_ABOVE | ELSEWHERE.keys() | RETRY_IS_SAFE.keys()
