"""A fact as other services are told it: the fields of both published CRM documents at the top level."""

from typing import Any

from domain.messages import Message
from infrastructure.deliveries.snapshots import Person, Snapshot, read_snapshot, zulu


def told(message: Message) -> dict[str, Any]:
    then = read_snapshot(message)
    booking = then.booking
    return {
        "booking_id": booking and booking.id,
        "booking_reference": booking and booking.reference,
        "action": message.fact,
        "occurred_at": zulu(message.occurred_at),
        "user": then.user and _person(then.user),
        "event": _event(then),
        "facilitator_id": then.facilitator.id,
        "facilitator": _person(then.facilitator),
        "status": booking and booking.status,
        "payment_status": booking and booking.payment_status,
        "notes": booking and booking.notes,
        "reason": then.reason,
        "amount": then.money and then.money.amount,
        "currency": then.money and then.money.currency,
    }


def _person(person: Person) -> dict[str, Any]:
    return {"id": person.id, "name": person.name, "email": person.email}


def _event(then: Snapshot) -> dict[str, Any]:
    event = then.event
    return {
        "id": event.id,
        "title": event.title,
        "date_time": zulu(event.starts_at),
        "start_datetime": zulu(event.starts_at),
        "end_datetime": zulu(event.ends_at),
        "location": event.location,
        "virtual_link": event.virtual_link,
        "facilitator_id": then.facilitator.id,
        "max_participants": event.capacity,
        "current_participants": event.booked,
        "is_active": event.status == "active",
        "price": event.exact_price,
        "currency": event.currency,
        "version": event.version,
    }
