"""Each thing that must never be is seen when it is: with the guards of the database taken out, broken by hand."""

import asyncpg
import pytest

from tests.support.invariants import broken_invariants
from tests.support.load import many_users, some_events

_BOOKING = """INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
    SELECT e.id, u.id, 'confirmed', 'pending', now() FROM events e, users u WHERE u.role = 'user'"""
_SESSION = """INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
        payment_status, price, currency, refund_policy, created_at, updated_at)
    SELECT u.id, f.id, now(), now() + interval '1 h', now(), now() + interval '1 h', 'confirmed', 'not_required', 0,
        'INR', '[]', now(), now() FROM users u, users f WHERE u.role = 'user' AND f.role = 'facilitator'"""
_DUPLICATE = """INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
    SELECT d, 'booking:' || b.id, 'booking_created', '{}', now()
    FROM bookings b, unnest(ARRAY['crm', 'email', 'realtime']) d"""
_SOUND = f"{_BOOKING}; UPDATE events SET booked = 1; {_DUPLICATE};"


@pytest.mark.parametrize(
    ("breaking", "sentence"),
    [
        ("UPDATE events SET booked = 2", "has 1 live, 2 booked of 2"),
        (f"UPDATE events SET capacity = 1, booked = 2; {_BOOKING}; DELETE FROM outbox; {_DUPLICATE}", "2 booked of 1"),
        (f"UPDATE events SET booked = 2; {_BOOKING}; DELETE FROM outbox; {_DUPLICATE}", "has 2 places in event"),
        (f"{_SESSION}; {_SESSION}", "has 2 live sessions"),
        (
            """INSERT INTO reminders (booking_id, user_id, "before", starts_at, due_at)
               SELECT id, user_id, '1 h', now(), now() FROM bookings; UPDATE events SET booked = 0;
               UPDATE bookings SET status = 'cancelled', cancelled_at = now()""",
            "is planned for what is cancelled",
        ),
        ("UPDATE bookings SET payment_status = 'completed'", "is paid without money"),
        (
            """INSERT INTO payments (booking_id, gateway, amount, currency, status, created_at, refunded)
               SELECT id, 'offline', 30, 'INR', 'completed', now(), 10 FROM bookings""",
            "refunds 0",
        ),
        ("DELETE FROM facilitator_count_changes WHERE bookings = 1", "the counts of facilitator"),
        ("UPDATE bookings SET facilitator_id = user_id", "has the facilitator of another event"),
        ("UPDATE outbox SET claimed_by = uuidv7(), due_at = now() - interval '6 s'", "is claimed until"),
        ("UPDATE outbox SET claimed_by = uuidv7(), due_at = now() + interval '1 min'", "is claimed until"),
        ("DELETE FROM outbox WHERE destination = 'crm'", "owes crm booking_created 0 times, not 1"),
        (_DUPLICATE, "owes email booking_created 2 times, not 1"),
        (
            """UPDATE events SET booked = 0;
               UPDATE bookings SET status = 'cancelled', cancelled_at = now()""",
            "owes crm booking_cancelled 0 times, not 1",
        ),
        ("UPDATE outbox SET fact = 'booking_cancelled' WHERE destination = 'crm'", "booking_cancelled 1 times, not 0"),
        (_SESSION, "owes email booking_created 0 times, not 1"),
        ("UPDATE outbox SET fact = 'booking_moved' WHERE destination = 'crm'", "which nobody wants"),
        ("UPDATE outbox SET lane = 'booking:4711' WHERE destination = 'crm'", "booking:4711 is of nothing"),
    ],
)
async def test_every_broken_invariant_is_detected(database: asyncpg.Connection, breaking: str, sentence: str) -> None:
    (facilitator,) = await many_users(database, 1, role="facilitator")
    await many_users(database, 1)
    await some_events(database, facilitator.id, 1, capacity=2)
    await database.execute(_SOUND)
    assert await broken_invariants(database) == []

    await database.execute("ALTER TABLE events DROP CONSTRAINT ck_events_never_oversold")
    await database.execute("ALTER TABLE coaching_bookings DROP CONSTRAINT ex_coaching_bookings_one_at_a_time")
    await database.execute("DROP INDEX uq_bookings_one_live_place")
    await database.execute(breaking)

    assert any(sentence in broken for broken in await broken_invariants(database))
