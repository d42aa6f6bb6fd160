"""The JSON of a message for other services, with the fields of both published CRM documents at the top level."""

from datetime import datetime
from typing import Any

from domain.appointments import LIVE
from domain.outbox import Message, MessageType
from infrastructure.delivery.appointment_payloads import (
    AppointmentPayload,
    Participant,
    is_about_appointment,
    read_appointment,
)
from infrastructure.delivery.payloads import FacilitatorPayload, Payload, Person, read_payload, zulu
from servicekit.date_range import is_enterable


def to_payload(message: Message) -> dict[str, Any]:
    if message.message_type is MessageType.USER_ERASED:
        return _erased_user(message)
    return _appointment_payload(message) if is_about_appointment(message) else _booking_payload(message)


def _erased_user(message: Message) -> dict[str, Any]:
    return {
        "action": message.message_type,
        "message_id": str(message.id),
        "occurred_at": zulu(message.occurred_at),
        "user": {"id": message.payload["user"]["id"]},
    }


def _booking_payload(message: Message) -> dict[str, Any]:
    """The CRM mails the facilitator, unless mail to the address is limited."""
    payload = read_payload(message)
    booking = payload.booking
    return {
        "booking_id": booking and booking.id,
        "booking_reference": booking and booking.reference,
        "action": message.message_type,
        "occurred_at": zulu(message.occurred_at),
        "user": payload.user and _person(payload.user),
        "event": _event(payload),
        "facilitator_id": payload.facilitator.id,
        "facilitator": _facilitator(payload.facilitator) | _verified(payload.facilitator),
        **({"email_facilitator": False} if payload.facilitator.mail_limited else {}),
        "status": booking and booking.status,
        "payment_status": booking and booking.payment_status,
        "dispute": booking and booking.dispute,
        "notes": booking and booking.notes,
        "reason": payload.reason,
        "price": booking and payload.agreed.price,
        "amount": payload.money and payload.money.amount,
        "currency": (payload.money or payload.agreed).currency if booking else None,
    }


def _appointment_payload(message: Message) -> dict[str, Any]:
    """An appointment as a booking of an event with one participant. The backend itself sends the mail to the coach."""
    payload = read_appointment(message)
    session = payload.appointment
    return {
        "kind": "coaching",
        "booking_id": str(session.id),
        "action": message.message_type,
        "occurred_at": zulu(message.occurred_at),
        "user": _person(payload.client),
        "event": _session(payload),
        "previous": payload.before
        and {"start_datetime": zulu(payload.before.starts_at), "end_datetime": zulu(payload.before.ends_at)},
        "facilitator_id": payload.coach.id,
        "facilitator": _facilitator(payload.coach),
        "email_facilitator": False,
        "status": session.status,
        "payment_status": session.payment_status,
        "dispute": session.dispute,
        "notes": session.notes,
        "meeting_link": session.meeting_link,
        "reason": payload.reason,
        "price": session.exact_price,
        "amount": payload.money and payload.money.amount,
        "currency": session.currency,
    }


def _session(payload: AppointmentPayload) -> dict[str, Any]:
    session = payload.appointment
    return {
        "id": str(session.id),
        "title": f"Coaching with {payload.coach.name}",
        "date_time": zulu(session.starts_at),
        "start_datetime": zulu(session.starts_at),
        "end_datetime": zulu(session.ends_at),
        "duration_minutes": session.minutes,
        "virtual_link": session.meeting_link,
        "facilitator_id": payload.coach.id,
        "max_participants": 1,
        "current_participants": int(session.status in LIVE),
        "is_active": session.status in LIVE,
        "price": session.exact_price,
        "currency": session.currency,
        "version": session.sequence,
    }


def _person(person: Person | Participant) -> dict[str, Any]:
    return {"id": person.id, "name": person.name, "email": person.email}


def _facilitator(person: Person | Participant) -> dict[str, Any]:
    """With the IANA name of the facilitator's time zone, if known."""
    return _person(person) | ({"timezone": person.timezone} if person.timezone else {})


def _verified(person: FacilitatorPayload) -> dict[str, Any]:
    return {} if person.is_verified is None else {"is_verified": person.is_verified}


def _event(payload: Payload) -> dict[str, Any]:
    event = payload.event
    return {
        "id": event.id,
        "title": event.title,
        "date_time": _date(event.starts_at),
        "start_datetime": _date(event.starts_at),
        "end_datetime": _date(event.ends_at),
        "location": event.location,
        "virtual_link": payload.join_link,
        "facilitator_id": payload.facilitator.id,
        "max_participants": event.capacity,
        "current_participants": event.booked,
        "is_active": event.status == "active",
        "price": event.exact_price,
        "currency": event.currency,
        "version": event.version,
    }


def _date(moment: datetime) -> str | None:
    """The date and time; None outside of the range that receivers accept (an event that is older than this rule)."""
    return zulu(moment) if is_enterable(moment) else None
