"""SQL for the payloads of messages: the state of a booking and its event, read in the transaction that changes them."""

import json
from collections.abc import Iterable

from domain.events import VisibleDetails
from domain.money import Money
from domain.outbox import Destination
from domain.time import Interval
from infrastructure.postgres.calendars.identity import uid

_EVENT = """jsonb_build_object(
    'id', e.id, 'title', e.title, 'description', e.description, 'event_type', e.event_type, 'category', e.category,
    'starts_at', e.starts_at, 'ends_at', e.ends_at, 'location', e.location, 'virtual_link', e.virtual_link,
    'capacity', e.capacity, 'booked', e.booked, 'price', e.price::text, 'currency', e.currency,
    'status', e.status, 'revision', e.revision, 'version', e.version)"""

AGREED_NOW = ("b.price", "b.currency")
"""Price and currency of a new booking."""
AGREED = (
    "coalesce(b.price, (SELECT amount FROM payments WHERE booking_id = b.id ORDER BY id LIMIT 1), 0)",
    "coalesce(b.currency, (SELECT currency FROM payments WHERE booking_id = b.id ORDER BY id LIMIT 1), e.currency)",
)
"""Price and currency of booking `b` of event `e`. Older bookings, from before they were stored, have those of their
payment; without a payment they were free of charge."""
AGREED_POLICY = "coalesce(b.refund_policy, e.refund_policy)"
"""The booking's refund policy. Older bookings have the event's policy, which is stored with them before it changes."""


def _booking(agreed: tuple[str, str]) -> str:
    price, currency = agreed
    return f"""jsonb_build_object(
    'id', b.id, 'reference', b.reference, 'status', b.status, 'payment_status', b.payment_status, 'notes', b.notes,
    'uid', {uid("booking", "b.id")},
    'created_at', b.created_at, 'cancelled_at', b.cancelled_at, 'hold_until', b.hold_until, 'dispute', b.dispute,
    'price', ({price})::text, 'currency', {currency})"""


def payment_of(column: str) -> str:
    """SQL for the payment of booking `b`; of several the one with the latest receipt or refund."""
    return f"""(
    SELECT jsonb_build_object('gateway', p.gateway, 'id', p.gateway_payment_id, 'received_at', p.received_at,
        'url', CASE WHEN p.status IN ('pending', 'failed') THEN p.checkout_url END)
    FROM payments p
    WHERE p.{column} = b.id
    ORDER BY greatest(p.received_at, (SELECT max(settled_at) FROM refunds WHERE payment_id = p.id)) DESC NULLS LAST,
        p.id DESC
    LIMIT 1)"""  # noqa: S608 (composed of constants)


_USER = "jsonb_build_object('id', u.id, 'name', u.name, 'email', u.email, 'timezone', u.timezone)"


MAIL_LIMITED = "(f.mail_limited AND NOT f.is_verified)"
"""Whether mail to facilitator `f` is limited. The CRM then sends none; what is sent instead is enqueued with the
message to the CRM."""

_FACILITATOR = f"""jsonb_build_object('id', f.id, 'name', f.name, 'email', f.email, 'timezone', f.timezone,
    'is_verified', f.is_verified, 'mail_limited', {MAIL_LIMITED})"""


def _snapshot(booking: str, user: str, reason: str, money: str, payment: str) -> str:
    return (
        f"jsonb_build_object('booking', {booking}, 'user', {user}, 'event', {_EVENT}, "
        f"'facilitator', {_FACILITATOR}, 'reason', {reason}, 'money', {money}, 'payment', {payment})"
    )


def booking_payload(reason: str = "NULL::text", money: str = "NULL::jsonb", *, agreed: tuple[str, str] = AGREED) -> str:
    """SQL for the payload of booking `b` by user `u` of event `e` of facilitator `f`. `money`: the received or refunded
    amount, in messages about one; the payload then includes the payment."""
    payment = "NULL" if money == "NULL::jsonb" else f"CASE WHEN {money} IS NOT NULL THEN {payment_of('booking_id')} END"
    return _snapshot(_booking(agreed), _USER, reason, money, payment)


def event_payload() -> str:
    """SQL for the payload of event `e` of facilitator `f`."""
    return _snapshot("NULL", "NULL", "NULL", "NULL", "NULL")


BOOKING_ORDERING_KEY = "'booking:' || b.id"
EVENT_ORDERING_KEY = "'event:' || e.id"


FACILITATOR = "facilitator"
"""The recipient in the payload of a mail to the facilitator of an event."""


def destinations(names: Iterable[Destination], *, facilitator: bool = False) -> str:
    """SQL for these destinations, as rows of `d(name, recipient)`. `facilitator`: also a mail to the facilitator, to be
    restricted by `TO_RECIPIENT`."""
    rows = [f"('{name}', NULL)" for name in names]
    rows += [f"('{Destination.EMAIL}', '{FACILITATOR}')"] if facilitator else []
    return f"(VALUES {', '.join(rows)}) AS d(name, recipient)" if rows else _NO_DESTINATIONS


_NO_DESTINATIONS = "(SELECT NULL::text, NULL::text WHERE false) AS d(name, recipient)"
TO_RECIPIENT = f"(d.recipient IS NULL OR {MAIL_LIMITED})"
FOR_RECIPIENT = "coalesce(':' || d.recipient, '')"
"""The end of the ordering key: a mail to the facilitator has another one than that to the client."""
RECIPIENT = "jsonb_strip_nulls(jsonb_build_object('recipient', d.recipient))"
"""What is added to the payload."""


def money_json(money: Money | None) -> str | None:
    """The parameter for `money`."""
    return None if money is None else json.dumps({"amount": str(money.amount), "currency": money.currency})


VISIBLE_DETAILS = """jsonb_build_object('title', e.title, 'location', e.location, 'virtual_link', e.virtual_link,
    'starts_at', e.starts_at, 'ends_at', e.ends_at)"""
"""SQL for the details of event `e` that participants see, as in `details_json`."""


def details_json(details: VisibleDetails | None) -> str | None:
    """The parameter for `before`: the details of an event that participants see."""
    if details is None:
        return None
    seen = {"title": details.title, "location": details.location, "virtual_link": details.virtual_link}
    return json.dumps(seen | _times(details.interval))


def interval_json(interval: Interval | None) -> str | None:
    """The parameter for `before`: the time of an appointment."""
    return None if interval is None else json.dumps(_times(interval))


def _times(interval: Interval) -> dict[str, str]:
    return {"starts_at": interval.starts_at.isoformat(), "ends_at": interval.ends_at.isoformat()}
