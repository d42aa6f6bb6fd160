"""The examples of the API's description, recorded from real answers: `python -m tests.support.examples` writes them.

One small story calls every operation of an API that runs on a fresh database. What differs from run to run (times,
UUIDs, tokens, what Google login makes up) is replaced by values that look the same and stay.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pyotp

from infrastructure import container
from infrastructure.postgres import migrations
from interfaces.http.app import create_app, create_litestar
from interfaces.http.coaching_api.availability import WEEKDAYS
from interfaces.http.openapi import document as documentation
from interfaces.http.openapi.operations import operations
from tests.support.appointments import a_price_for
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.calendar_grants import BACK
from tests.support.google import FakeGoogle, fake_google, query_of
from tests.support.google_calendar import FakeGoogleCalendar, fake_google_calendar
from tests.support.http import serving
from tests.support.outlook import FakeOutlook, fake_outlook
from tests.support.razorpay_server import FakeRazorpay, fake_razorpay
from tests.support.recorder import Recorder, as_text
from tests.support.servers import running_postgres, running_redis, temporary_directory
from tests.support.settings import settings_for

FILE = Path(documentation.__code__.co_filename).with_name("examples.json")
PASSWORD = "password123"
MAILED_TOKENS = {
    "verify_email": "vYd3mQ8xTz1LrBkWn5sJc7gHoP2uEfAi9R4yVtXqM0w",
    "reset_password": "rKf8wZ2nQe6TxLb0cVm4pJgHs1yUoD7iA9R3tWqXkE5",
    "change_email": "qGt5xB9mUe2LwNc7vRz0kHdJs6yPoF4iA1T8rWbXkE3",
    "undo_email_change": "mLs2yV6kQa9HxDb4wTn8pGcJr1zUoE7iF3R5tCqXvB0",
}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
STRIPE = {"stripe_secret_key": "sk_test_examples", "stripe_webhook_secret": "whsec_examples"}


async def record(
    database_url: str, redis_url: str, data: Path, make_recorder: Callable[..., Recorder] = Recorder
) -> dict[str, Any]:
    """What `examples.json` must hold: by operation id. The database is empty and migrated."""
    async with (
        fake_google() as google,
        fake_razorpay() as razorpay,
        fake_google_calendar() as google_calendar,
        fake_outlook() as outlook,
    ):
        google_calendar.grants.client = (google.settings["google_client_id"], google.settings["google_client_secret"])
        calendars = {**outlook.settings, **google_calendar.settings}
        gateways = {**razorpay.settings, **STRIPE}
        settings = settings_for(database_url, redis_url, data, **{**calendars, **google.settings, **gateways})
        routes = {
            operation.id: (operation.method.upper(), operation.path)
            for operation in operations(create_litestar(container.build(settings)))
        }
        async with (
            serving(create_app(settings)) as address,
            httpx.AsyncClient(base_url=address, headers={"User-Agent": BROWSER}) as client,
        ):
            recorder = make_recorder(client, routes)
            await _story(recorder, google, razorpay, settings.backend_service_token, database_url)
            await _calendars(recorder, google_calendar, outlook)
    broken = settings_for("postgresql://nobody@127.0.0.1:1/none", redis_url, data)
    async with serving(create_app(broken)) as address, httpx.AsyncClient(base_url=address) as client:
        recorder.client = client
        await recorder("getHealth")
    return dict(sorted(recorder.examples.items()))


async def _story(
    call: Recorder, google: FakeGoogle, razorpay: FakeRazorpay, service_token: str, database_url: str
) -> None:
    await call("getRoot")
    await call("getHealth")
    ada, john = await _accounts(call, database_url)
    yoga, walk = await _events(call, john)
    booking = await _bookings(call, ada, yoga, walk)
    await _reviews(call, ada, john, database_url)
    await call(
        "recordOfflinePayment",
        service_token,
        {"booking_id": booking["id"], "user_id": booking["user"]["id"], "event_id": yoga["id"]},
    )
    await _payments(call, ada, john, razorpay)
    await _contract_a(call, yoga)
    await _contract_c(call, ada, john, yoga)
    await _contract_e(call, ada, john, database_url)
    await _facilitator(call, john, yoga)
    await call("cancelBooking", ada, booking_id=booking["id"])
    await _api_keys(call, ada)
    await _google_login(call, google)
    await _admin(call, database_url)
    await call("changePassword", ada, {"current_password": PASSWORD, "new_password": "a longer password"})
    credentials = {"email": "ada@example.com", "password": "a longer password"}
    ada, _ = [(await call("logIn", body=credentials))["access_token"] for _ in range(2)]
    other, _ = (await call("listLoginSessions", ada))["sessions"]
    await call("endLoginSession", ada, session_id=other["id"])
    await call("logOut", ada, {"everywhere": False})
    await call("requestPasswordReset", body={"email": "ada@example.com"})
    token = await _mailed_token(database_url, "reset_password")
    await call("resetPassword", body={"token": token, "password": "a new password"})
    await _second_factors(call, {"email": "ada@example.com", "password": "a new password"})
    await _email_change(call, database_url)
    await _erasure(call)


async def _accounts(call: Recorder, database_url: str) -> tuple[str, str]:
    """The access tokens of a user and of a facilitator."""
    ada = {"email": "ada@example.com", "password": PASSWORD}
    john = {"email": "john@example.com", "password": PASSWORD}
    await call("register", body=ada | {"name": "Ada Lovelace", "role": "user"})
    await call("register", body=john | {"name": "John Doe", "role": "facilitator"})
    tokens = await call("logIn", body=ada)
    ada_token = (await call("refreshToken", tokens["refresh_token"]))["access_token"]
    await call(
        "updateProfile", ada_token, {"name": "Ada Lovelace", "phone": "+91 98765 43210", "timezone": "Asia/Kolkata"}
    )
    await call("getProfile", ada_token)
    await call("exportProfile", ada_token)
    await call("resendVerification", ada_token)
    await call("verifyEmail", body={"token": await _mailed_token(database_url, "verify_email")})
    return ada_token, (await call("logIn", body=john))["access_token"]


async def _events(call: Recorder, john: str) -> tuple[dict[str, Any], dict[str, Any]]:
    yoga = (await call("createEvent", john, _event(call, 7)))["event"]
    walk = _event(
        call, 9, title="Forest walk", event_type="workshop", category="Nature", price=0, location="North gate"
    )
    walk = (await call("createEvent", john, walk))["event"]
    await call("listEvents", limit=20)
    await call("getEvent", event_id=yoga["id"])
    await call("updateEvent", john, {"location": "Studio A", "max_participants": 20}, event_id=yoga["id"])
    return yoga, walk


async def _bookings(call: Recorder, ada: str, yoga: dict[str, Any], walk: dict[str, Any]) -> dict[str, Any]:
    booked = await call("createBooking", ada, {"event_id": yoga["id"], "notes": "I bring my own mat"})
    booking: dict[str, Any] = booked["booking"]
    await call("createBooking", ada, {"event_id": walk["id"]})
    await call("getBooking", ada, booking_id=booking["id"])
    await call("listBookingReminders", ada, booking_id=booking["id"])
    await call("listBookings", ada, status="confirmed", limit=20)
    return booking


async def _api_keys(call: Recorder, ada: str) -> None:
    until = (call.neat.started + timedelta(days=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    key = {"name": "Front desk", "scopes": ["bookings:read", "bookings:write"], "expires_at": until}
    made = await call("createApiKey", ada, key)
    await call("listApiKeys", ada)
    await call("revokeApiKey", ada, key_id=made["id"])


async def _email_change(call: Recorder, database_url: str) -> None:
    change = {"email": "countess@example.com", "password": "a new password"}
    ada = (await call("logIn", body=change | {"email": "ada@example.com"}))["access_token"]
    await call("requestEmailChange", ada, change)
    tokens = [
        await _mailed_token(database_url, kind, email)
        for kind, email in (("change_email", change["email"]), ("undo_email_change", "ada@example.com"))
    ]
    for operation, token in zip(("changeEmail", "undoEmailChange"), tokens, strict=True):
        await call(operation, body={"token": token})


async def _erasure(call: Recorder) -> None:
    account = {"email": "guest@example.com", "password": PASSWORD}
    await call("register", body=account | {"name": "A guest", "role": "user"})
    token = (await call("logIn", body=account))["access_token"]
    await call("eraseProfile", token, {"password": PASSWORD})


async def _mailed_token(database_url: str, kind: str, email: str = "ada@example.com") -> str:
    """A token of Ada's about this address, as a worker puts it into a mail."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """INSERT INTO account_tokens (fingerprint, kind, user_id, email, created_at, expires_at)
           SELECT sha256($1::text::bytea), $2, id, $3, now(), now() + interval '1 h'
           FROM users WHERE email = 'ada@example.com'""",
        MAILED_TOKENS[kind],
        kind,
        email,
    )
    await connection.close()
    return MAILED_TOKENS[kind]


async def _reviews(call: Recorder, ada: str, john: str, database_url: str) -> None:
    """Past events cannot be booked, so an event is moved into the past."""
    event_id = (await call("createEvent", john, _event(call, 1, title="Sunrise meditation", price=0)))["event"]["id"]
    await call("createBooking", ada, {"event_id": event_id})
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "UPDATE events SET starts_at = starts_at - interval '3 days', ends_at = ends_at - interval '3 days'"
            " WHERE id = $1",
            event_id,
        )
    finally:
        await connection.close()
    await call("createReview", ada, {"rating": 5, "comment": "I came back to myself"}, event_id=event_id)
    await call("listReviews", event_id=event_id, limit=20)
    await call("filterEvents", type="yoga", rating=4.5)


async def _payments(call: Recorder, ada: str, john: str, razorpay: FakeRazorpay) -> None:
    async def booked(in_days: int) -> dict[str, Any]:
        event = (await call("createEvent", john, _event(call, in_days, price=1250)))["event"]
        booking: dict[str, Any] = (await call("createBooking", ada, {"event_id": event["id"]}))["booking"]
        return booking

    booking_id = (await booked(14))["id"]
    await call("payBooking", ada, {}, booking_id=booking_id)
    order_id = list(razorpay.orders)[-1]
    razorpay.fails(order_id)
    failure = {"error_code": "BAD_REQUEST_ERROR", "error_description": "Payment processing failed"}
    await call("reportFailedPayment", body={"razorpay_order_id": order_id} | failure)
    await call("confirmPayment", body=razorpay.callback(razorpay.pays(order_id)))
    [captured] = razorpay.webhooks_of("payment.captured")
    await call.signed("razorpayWebhook", captured.body, captured.headers)
    await call("showCancellation", ada, booking_id=booking_id)
    booking_id = (await booked(15))["id"]
    await call("recordPaymentOnTheSpot", john, booking_id=booking_id)
    await call("refundBooking", john, {"amount": 250}, booking_id=booking_id)
    body = json.dumps({"id": "evt_1", "object": "event", "type": "customer.created", "data": {"object": {}}}).encode()
    await call.signed(
        "stripeWebhook", body, {"Content-Type": "application/json", "Stripe-Signature": _stripe_signature(body)}
    )


def _stripe_signature(body: bytes) -> str:
    """Over the seconds and the body: https://docs.stripe.com/webhooks#verify-manually."""
    signed_at = int(time.time())
    signed = hmac.new(STRIPE["stripe_webhook_secret"].encode(), b"%d." % signed_at + body, hashlib.sha256)
    return f"t={signed_at},v1={signed.hexdigest()}"


async def _contract_a(call: Recorder, yoga: dict[str, Any]) -> None:
    account = {"email": "grace@example.com", "password": PASSWORD}
    await call("registerOfA", body={"name": "Grace Hopper"} | account)
    grace = (await call("logInOfA", body=account))["access_token"]
    await call("listEventsOfA", grace, limit=20)
    await call("getEventOfA", grace, event_id=yoga["id"])
    booking_id = (await call("createBookingOfAOrC", grace, {"event_id": yoga["id"]}))["booking_id"]
    await call("listBookingsOfA", grace, limit=20)
    await call("cancelBookingOfA", grace, booking_id=booking_id)


async def _contract_c(call: Recorder, ada: str, john: str, yoga: dict[str, Any]) -> None:
    account = {"email": "mary@example.com", "password": PASSWORD}
    about = {"bio": "Twenty years of breath work", "specialization": "Breathing"}
    await call("registerOfC", body=account | {"name": "Mary Seacole", "role": "facilitator"} | about)
    mary = (await call("logInOfC", body=account))["access_token"]
    session = {
        "title": "Breathing for singers",
        "description": "Breath as an instrument",
        "session_type": "workshop",
        "start_time": _at(call, 5, 17),
        "end_time": _at(call, 5, 19),
        "capacity": 8,
        "price": 45.5,
        "currency": "INR",
    }
    session_id = (await call("createSession", john, session))["session_id"]
    await call("updateSession", john, {"title": "Breathing for speakers", "capacity": 10}, session_id=session_id)
    await call("listSessions", ada, limit=20)
    await call("createBookingOfAOrC", mary, {"session_id": yoga["id"], "notes": "It is my first time"})
    await call("listBookingsOfC", ada, limit=20)
    await call("listOwnSessions", john, limit=20)
    await call("listSessionBookings", john, session_id=yoga["id"], limit=20)
    await call("listFacilitatorBookings", john, limit=20)
    await call("getDashboard", john)
    await call("cancelSession", john, session_id=session_id)
    session_id = (await call("createSession", john, session))["session_id"]
    await call("deleteSession", john, session_id=session_id)


async def _contract_e(call: Recorder, ada: str, john: str, database_url: str) -> None:
    coach = (await call("listCoaches", limit=20))["coaches"][0]["uuid"]
    await call("getCoach", coach_id=coach)
    wanted = {"coach_id": coach, "session_datetime": _at(call, 6, 14), "duration_minutes": 60}
    booked = await call(
        "bookCoaching", ada, wanted | {"notes": "Looking forward to discussing career transition strategies"}
    )
    booking_id = booked["id"]
    await call("getCoaching", ada, booking_id=booking_id)
    await call("rescheduleCoaching", ada, {"session_datetime": _at(call, 6, 15)}, booking_id=booking_id)
    await call("changeCoachingStatus", john, {"status": "confirmed"}, booking_id=booking_id)
    await call("noteCoaching", john, {"notes": "Bring your latest plan"}, booking_id=booking_id)
    await call("getCoachingHistory", ada, booking_id=booking_id)
    await call("listCoachingReminders", ada, booking_id=booking_id)
    await call("cancelCoaching", ada, booking_id=booking_id)
    await call("listCoachingsOfClient", ada, client_id=booked["client_id"], status="cancelled", skip=0, limit=20)
    await call("listCoachingsOfCoach", john, coach_id=coach, status="cancelled", skip=0, limit=20)
    await a_price_for(database_url, coach)
    paid = await call("bookCoaching", ada, wanted)
    await call("payCoaching", ada, {}, booking_id=paid["id"])
    await call("recordCoachingPayment", john, booking_id=paid["id"])
    await _attachments(call, ada, booked["id"])
    await _availability(call, ada, john, coach)
    address = (await call("openCalendarFeed", ada))["url"]
    await call("readCalendarFeed", feed=address.rpartition("/")[2])
    await call("closeCalendarFeed", ada)


async def _attachments(call: Recorder, ada: str, booking_id: str) -> None:
    goals = ("goals.txt", b"To lead, not to manage", "text/plain")
    attached = await call.uploads("addAttachment", ada, goals, booking_id)
    the_file = {"booking_id": booking_id, "attachment_id": attached["id"]}
    await call("listAttachments", ada, booking_id=booking_id)
    await call("downloadAttachment", ada, **the_file)
    await call("deleteAttachment", ada, **the_file)


async def _availability(call: Recorder, ada: str, john: str, coach: str) -> None:
    await call("getAvailability", john)
    day = [{"start": "09:00", "end": "12:30"}, {"start": "14:00", "end": "18:00"}]
    await call(
        "setAvailability",
        john,
        {
            "timezone": "Asia/Kolkata",
            "weekly_hours": dict.fromkeys(WEEKDAYS, day),
            "date_overrides": {"2025-12-24": []},
            "buffer_after_minutes": 15,
            "minimum_notice_minutes": 120,
            "bookable_days_ahead": 90,
            "refund_policy": [{"hours_before": 24, "percent": 100}],
        },
    )
    await call("listSlots", coach_id=coach, start_date=_at(call, 7, 3), end_date=_at(call, 8, 3), duration_minutes=60)
    series = {"coach_id": coach, "session_datetime": _at(call, 7, 5), "duration_minutes": 60}
    await call("bookSeries", ada, series | {"rrule": "FREQ=WEEKLY;COUNT=2", "notes": "Every week at the same time"})
    await call("getCoachAnalytics", john, coach_id=coach, start_date=_at(call, 7, 0), end_date=_at(call, 7, 12))


async def _facilitator(call: Recorder, john: str, yoga: dict[str, Any]) -> None:
    await call("listFacilitatorEvents", john, limit=2)
    await call("listEventBookings", john, event_id=yoga["id"], limit=20)
    await call("listRegistrations", john, event_id=yoga["id"], limit=20)
    await _participants(call, john)
    await call.follows("followFeed", john)
    for operation in ("cancelEvent", "cancelEventOfD", "deleteEvent"):
        event = (await call("createEvent", john, _event(call, 12)))["event"]
        await call(operation, john, event_id=event["id"])


async def _participants(call: Recorder, john: str) -> None:
    event = (await call("createEvent", john, _event(call, 21, price=0, title="Autumn retreat")))["event"]
    rosa = {"email": "rosa@example.com", "password": PASSWORD}
    await call("register", body=rosa | {"name": "Rosa Parks"})
    token = (await call("logIn", body=rosa))["access_token"]
    booking = (await call("createBooking", token, {"event_id": event["id"]}))["booking"]
    message = {"subject": "What to bring", "text": "Please bring warm socks.\n\nTea is waiting for you."}
    await call("writeToParticipants", john, message, event_id=event["id"])
    added = await call(
        "addParticipant", john, {"name": "Ella Baker", "email": "ella@example.com"}, event_id=event["id"]
    )
    await call("listInvitations", john, event_id=event["id"], limit=20)
    await call("withdrawInvitation", john, invitation_id=added["invitation"]["id"])
    await call("cancelParticipant", john, booking_id=booking["id"])


async def _second_factors(call: Recorder, account: dict[str, str]) -> None:
    password = {"password": account["password"]}
    token = (await call("logIn", body=account))["access_token"]
    started = await call("startTotpEnrolment", token, {"name": "Phone"} | password)
    app = pyotp.TOTP(started["secret"])
    added = await call("confirmTotpEnrolment", token, {"code": app.now()}, factor_id=started["id"])
    factor_id = added["factor"]["id"]
    required = await call.client.post("/auth/login", json=account)
    second_step = {"ticket": required.json()["ticket"], "code": app.at(int(time.time()), counter_offset=1)}
    token = (await call("completeLogin", body=second_step))["access_token"]
    await call("listFactors", token)
    laptop = SoftwareAuthenticator("http://127.0.0.1:5000")
    options = (await call("startPasskey", token, password))["options"]
    passkey = await call("addPasskey", token, {"name": "Laptop", "credential": laptop.create(options)})
    await call("challengePasskeys", token)
    required = await call.client.post("/auth/login", json=account)
    await call("challengePasskeysOfLogin", body={"ticket": required.json()["ticket"]})
    await call("renameFactor", token, {"name": "Tablet"} | password, factor_id=factor_id)
    await call("replaceRecoveryCodes", token, password)
    for each in (factor_id, passkey["factor"]["id"]):
        await call("removeFactor", token, password, factor_id=each)


async def _google_login(call: Recorder, google: FakeGoogle) -> None:
    who = {"sub": "108204268033311374519", "email": "emmy@example.com", "name": "Emmy Noether"}
    location = await call("signInWithGoogleOfD")
    await call("finishGoogleSignIn", **query_of("?" + google.consent(location, **who)))
    await call("signInWithGoogle")
    credentials = {"google_id": who["sub"], "email": who["email"], "name": who["name"]}
    await call("signInWithGoogleOfC", body=credentials | {"id_token": google.id_token(**who)})


async def _admin(call: Recorder, database_url: str) -> None:
    """Nothing is delivered here, so a message is said to have failed."""
    account = {"email": "root@example.com", "password": PASSWORD}
    await call("register", body=account | {"name": "Katherine Johnson", "role": "user"})
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("UPDATE users SET role = 'admin' WHERE email = $1", account["email"])
        message_id = await connection.fetchval(
            """UPDATE outbox SET status = 'dead', attempts = 1, settled_at = now(), last_error = '400 Bad Request',
                                 request_id = '4c1f0a9be2d84c7a9c3d5f60718293a4'
               WHERE seq = (SELECT min(seq) FROM outbox WHERE destination = 'crm' AND fact = 'booking_created'
                            AND snapshot -> 'booking' ->> 'hold_until' IS NULL)
               RETURNING id"""
        )
        await connection.execute(
            """INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail)
               VALUES ($1, 1, now(), 12, 'failed', 400, '400 Bad Request')""",
            message_id,
        )
    finally:
        await connection.close()
    root = (await call("logIn", body=account))["access_token"]
    await call("listOutbox", root, status="dead", destination="crm", limit=20)
    await call("getOutboxMessage", root, message_id=str(message_id))
    await call("replayOutboxMessage", root, message_id=str(message_id))
    emmy = (await call("listUsers", root, q="emmy", limit=20))["users"][0]["id"]
    await call("changeUserRole", root, {"role": "facilitator"}, user_id=emmy)
    await call("deactivateUser", root, user_id=emmy)
    await call("activateUser", root, user_id=emmy)
    await call("listAuditLog", root, action="event.created", limit=1)
    await call("replayOutbox", root, {"destination": "crm", "since": call.neat.today.strftime("%Y-%m-%dT%H:%M:%SZ")})


async def _calendars(call: Recorder, google: FakeGoogleCalendar, outlook: FakeOutlook) -> None:
    """A new client connects calendars, and puts a session with a new coach into one."""
    account = {"email": "katherine@example.com", "password": PASSWORD}
    await call("register", body=account | {"name": "Katherine Johnson", "role": "user"})
    katherine = (await call("logIn", body=account))["access_token"]
    account = {"email": "dorothy@example.com", "password": PASSWORD}
    await call("register", body=account | {"name": "Dorothy Vaughan", "role": "facilitator"})
    coach = (await call("logIn", body=account))["user"]["uuid"]
    wanted = {"coach_id": coach, "session_datetime": _at(call, 11, 14), "duration_minutes": 60}
    booking_id = (await call("bookCoaching", katherine, wanted))["id"]
    asked = await call("getGoogleCalendarConsent", katherine, redirect_uri=BACK)
    code, state = google.grants.consent(asked["auth_url"])
    await call("connectGoogleCalendar", katherine, {"code": code, "state": state}, redirect_uri=BACK)
    asked = await call("getOutlookConsent", katherine, redirect_uri=BACK)
    code, state = outlook.grants.consent(asked["auth_url"])
    await call("connectOutlook", katherine, {"code": code, "state": state}, redirect_uri=BACK)
    sync = {"booking_id": booking_id, "calendar_type": "google", "timezone": "America/New_York"}
    await call("syncBooking", katherine, sync)
    await call("listCalendarConnections", katherine)
    await call("disconnectCalendar", katherine, provider="outlook")


def _event(call: Recorder, in_days: int, **changes: Any) -> dict[str, Any]:
    return {
        "title": "Evening yoga",
        "description": "An hour of slow yoga for everybody",
        "event_type": "session",
        "category": "Yoga",
        "start_datetime": _at(call, in_days, 18),
        "end_datetime": _at(call, in_days, 19),
        "location": "Studio B",
        "virtual_link": None,
        "max_participants": 15,
        "price": 300,
        "currency": "INR",
    } | changes


def _at(call: Recorder, in_days: int, hour: int) -> str:
    return (call.neat.today + timedelta(days=in_days, hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _main() -> None:
    with temporary_directory() as data, running_postgres() as postgres, running_redis() as redis:
        await asyncio.to_thread(migrations.upgrade, postgres.dsn("convene"))
        examples = await record(postgres.dsn("convene"), redis.url, data)
    FILE.write_text(as_text(examples), encoding="utf-8")
    print(f"{FILE.name}: {len(examples)} operations")


if __name__ == "__main__":
    asyncio.run(_main())
