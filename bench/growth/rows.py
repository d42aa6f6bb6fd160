"""The rows of both databases, made from numbers, so that the small and the large one have the same shares of all kinds.

A `busy` facilitator, member, event, coach and client have a fixed share of all rows; every page that is read is full in
the small database too. The facilitator `REGULAR` has the same calendar in both from 90 days ago on, before which there
is a fixed share of all events and appointments.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

FACILITATORS = 20
"""Their ids begin with 1; the first one is the busy one."""
REGULAR, ADMIN, MEMBER = FACILITATORS + 1, FACILITATORS + 2, FACILITATORS + 3
"""The busy member is also the busy client of appointments."""
FEW = 100
"""Dead and pending messages, refused webhooks, and the events of the facilitator in the CRM."""
SOLSTICES = 60
"""Events that have this word, at all times."""
FEED_TOKEN = "of-the-feed"
_DAYS_AHEAD, _DAYS_BACK = 30, 20
"""Of the regular facilitator: an event and an appointment on each."""
_TITLES = ("Gathering", "Sound healing", "Morning yoga", "Circle", "Silent walk")
_CATEGORIES = ("yoga", "sound", "art", None)
_TYPES = ("session", "workshop", "retreat")

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Size:
    bookings: int
    now: datetime

    @property
    def events(self) -> int:
        """Two of five are ahead, over ten months; the others are of the fifteen months before. One of seven is
        cancelled, one of ten is the busy facilitator's. The last one is the busy event."""
        return self.bookings * 3 // 10

    @property
    def members(self) -> int:
        return self.bookings // 10

    @property
    def appointments(self) -> int:
        return self.bookings // 10

    def starts_at(self, event: int) -> datetime:
        return self.now + timedelta(days=750) * (event / self.events - 0.6)


def users(size: Size) -> Iterator[Row]:
    for number in range(FACILITATORS + 2):
        role = "admin" if number + 1 == ADMIN else "facilitator"
        yield number + 1, f"{role}{number}@example.com", f"Person {number}", role
    for number in range(size.members):
        yield MEMBER + number, f"member{number}@example.com", f"Member {number}", "user"


def regular_starts(size: Size, history: int) -> Iterator[datetime]:
    """Of the regular facilitator: one a day from 20 days ago on, and `history` more than 90 days ago."""
    noon = size.now.replace(hour=12)
    yield from (noon + timedelta(days=day) for day in range(-_DAYS_BACK, _DAYS_AHEAD))
    yield from (size.now - timedelta(days=91) - timedelta(hours=2) * number for number in range(history))


def events(size: Size) -> Iterator[Row]:
    rare = size.events // SOLSTICES
    for number in range(1, size.events + 1):
        starts_at = size.starts_at(number)
        ends_at = starts_at + timedelta(hours=1)
        yield (
            number,
            1 if number % 10 == 0 or number == size.events else 2 + number % (FACILITATORS - 1),
            f"{_TITLES[number % 5]} {number % 50}",
            "Slow and steady, for experienced practitioners" + (" Solstice" if number % rare == 1 else ""),
            _TYPES[number % 3],
            _CATEGORIES[number % 4],
            starts_at,
            ends_at,
            size.bookings,
            30,
            "INR",
            "cancelled" if number % 7 == 3 else "active",
            ends_at if ends_at < size.now else None,
        )
    for number, starts_at in enumerate(regular_starts(size, size.events // 10), start=size.events + 1):
        ends_at = starts_at + timedelta(hours=1)
        yield (
            *(number, REGULAR, "Regular", "", "session", None, starts_at, ends_at, 10, 30, "INR", "active"),
            ends_at if ends_at < size.now else None,
        )


def bookings(size: Size) -> Iterator[Row]:
    """One of twenty is the busy member's, each of another event; one of fifty is of the busy event."""
    for number in range(size.bookings):
        event, member = 1 + number * 7919 % (size.events - 1), MEMBER + 1 + number % (size.members - 1)
        if number % 20 == 0:
            event, member = 1 + number // 20 * 6, MEMBER
        elif number % 50 == 1:
            event = size.events
        cancelled = size.now if number % 10 == 9 else None
        status = "cancelled" if cancelled else "completed" if size.starts_at(event) < size.now else "confirmed"
        made_at = size.now - timedelta(days=450) * (1 - number / size.bookings)
        owner = 1 if event % 10 == 0 or event == size.events else 2 + event % (FACILITATORS - 1)
        paid = "completed" if number % 4 == 1 else "not_required"
        yield number + 1, event, member, status, paid, made_at, cancelled, 30, "INR", owner


def payments(size: Size) -> Iterator[Row]:
    for number in range(1, size.bookings, 4):
        at = size.now - timedelta(days=450) * (1 - number / size.bookings)
        yield number + 1, "offline", 30, "INR", "completed", at, at


def reviews(size: Size) -> Iterator[Row]:
    for number in range(size.members // 2):
        yield size.events, MEMBER + number, 5, "Lovely", size.now


def outbox(size: Size) -> Iterator[Row]:
    for number in range(size.bookings):
        destination = ("crm", "email", "realtime")[number % 3]
        rare = number % (size.bookings // FEW)
        status = "dead" if rare == 0 else "delivered"
        yield (
            destination,
            f"booking:{number}",
            "booking_created",
            "{}",
            status,
            size.now,
            size.now,
            size.now if status == "delivered" else None,
        )


def appointments(size: Size) -> Iterator[Row]:
    """One of ten is of the busy coach and the busy client."""
    for number in range(size.appointments):
        busy = number % 10 == 0
        starts_at = size.now - timedelta(hours=2) * (number + 1)
        coach = 1 if busy else 2 + number % (FACILITATORS - 1)
        member = MEMBER if busy else MEMBER + 1 + number % (size.members - 1)
        ends_at = starts_at + timedelta(hours=1)
        yield (
            *(member, coach, starts_at, ends_at, starts_at, ends_at, "completed", "not_required", 0, "INR", "[]"),
            *(starts_at, starts_at),
        )
    for number, morning in enumerate(regular_starts(size, size.appointments // 10)):
        starts_at, member = morning - timedelta(hours=3), MEMBER + 1 + number % (size.members - 1)
        ends_at, status = starts_at + timedelta(hours=1), "completed" if starts_at < size.now else "confirmed"
        yield (
            *(member, REGULAR, starts_at, ends_at, starts_at, ends_at, status, "not_required", 0, "INR", "[]"),
            *(starts_at, starts_at),
        )


def notifications(size: Size) -> Iterator[Row]:
    for number in range(size.bookings):
        yield f"message {number}", "{}", "booking_created", number, 1 + number % size.events, 1, size.now, "skipped"


def events_in_crm(size: Size) -> Iterator[Row]:
    for number in range(1, size.events + 1):
        owner = 1 if number % 10 == 0 else 2 + number % (FACILITATORS - 1)
        yield number, owner, "Yoga", size.now, 3, 10, True, 1


def webhooks(size: Size) -> Iterator[Row]:
    for number in range(size.members):
        yield f"webhook {number}", "{}", number, size.now


Table = tuple[str, Callable[[Size], Iterator[Row]]]

BOOKING_TABLES: Mapping[str, Table] = {
    "users": ("id, email, name, role", users),
    "events": (
        "id, facilitator_id, title, description, event_type, category, starts_at, ends_at, capacity, price, currency, "
        "status, completed_at",
        events,
    ),
    "bookings": (
        "id, event_id, user_id, status, payment_status, created_at, cancelled_at, price, currency, facilitator_id",
        bookings,
    ),
    "payments": ("booking_id, gateway, amount, currency, status, created_at, received_at", payments),
    "reviews": ("event_id, user_id, rating, comment, created_at", reviews),
    "outbox": ("destination, lane, fact, snapshot, status, occurred_at, due_at, settled_at", outbox),
    "coaching_bookings": (
        "client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status, payment_status, price, currency, "
        "refund_policy, created_at, updated_at",
        appointments,
    ),
}
CRM_TABLES: Mapping[str, Table] = {
    "notifications": (
        "message_id, body, action, booking_id, event_id, facilitator_id, received_at, status",
        notifications,
    ),
    "facilitator_events": (
        "id, facilitator_id, title, starts_at, bookings_count, max_participants, is_active, version",
        events_in_crm,
    ),
    "crm_bookings": ("message_id, body, booking_id, received_at", webhooks),
}

_AFTER = f"""
INSERT INTO calendar_feeds (user_id, fingerprint, created_at) VALUES ({REGULAR}, sha256('{FEED_TOKEN}'), now());
INSERT INTO facilitator_profiles (user_id, rating_sum, rating_count)
SELECT id, 9, 2 FROM users WHERE role = 'facilitator';
SELECT setval(pg_get_serial_sequence(name, 'id'), 1000000000) FROM unnest(ARRAY['users', 'events', 'bookings']) name;
"""
_AFTER_IN_CRM = f"""
INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body, status, response, next_attempt_at, sent_at)
SELECT id, 'payment', '{{}}', CASE WHEN refused THEN 'failed' ELSE 'sent' END, 'because', NULL,
       CASE WHEN NOT refused THEN now() END
FROM (SELECT id, row_number() OVER (ORDER BY id) % greatest(1, count(*) OVER () / {FEW}) = 0 AS refused
      FROM crm_bookings) numbered;
"""


async def fill(dsn: str, size: Size, tables: Mapping[str, Table]) -> None:
    """By COPY, as the superuser, without triggers and foreign keys."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET session_replication_role = replica; SET maintenance_work_mem = '256MB'")
        for table, (columns, rows) in tables.items():
            await connection.copy_to_table(table, columns=columns.split(", "), source=_text(rows(size)))
        await connection.execute(_AFTER if tables is BOOKING_TABLES else _AFTER_IN_CRM)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _text(rows: Iterator[Row]) -> AsyncIterator[bytes]:
    lines: list[str] = []
    for row in rows:
        lines.append("\t".join(map(_field, row)))
        if len(lines) == 5_000:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    yield "".join(f"{line}\n" for line in lines).encode()


def _field(value: Any) -> str:
    return "\\N" if value is None else str(value)
