"""Notifications: the fields of a message in the forms of both API documents, and values derived from them.

Standard library and msgspec only. A message about a booking must name the booking, the person and the event; a
message about an event itself (`event_…`) only the event and its facilitator. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from servicekit import json_values
from servicekit.date_range import OUT_OF_RANGE, in_zone, is_enterable
from servicekit.local_times import reading_zone
from servicekit.text import without_invisible

LARGEST_ID = 2**63 - 1

_USER_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

Id = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_ID)]
BookingId = Id | UUID
"""The id of a seat is a number, that of an appointment a UUID."""
Moment = Annotated[datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
LONGEST_NAME = 1_000
"""Characters of the name of a person or an event in lists and mails. The body is stored unchanged."""


class Person(msgspec.Struct, frozen=True):
    id: int | str | None = None
    name: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        _make_readable(self, "name")


class Facilitator(msgspec.Struct, frozen=True):
    """`timezone`: the IANA name of the time zone of times in mails."""

    id: Id | None = None
    name: str | None = None
    email: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        _make_readable(self, "name")


class Event(msgspec.Struct, frozen=True):
    id: int | str | None = None
    title: str | None = None
    date_time: Moment | None = None
    start_datetime: Moment | None = None
    end_datetime: Moment | None = None
    duration_minutes: Count | None = None
    location: str | None = None
    virtual_link: str | None = None
    facilitator_id: Id | None = None
    max_participants: Count | None = None
    current_participants: Count | None = None
    price: int | float | str | None = None
    currency: str | None = None
    is_active: bool | None = None
    version: Count | None = None

    def __post_init__(self) -> None:
        _make_readable(self, "title")

    @property
    def starts_at(self) -> datetime | None:
        return _utc(self.start_datetime or self.date_time)

    @property
    def ends_at(self) -> datetime | None:
        return _utc(self.end_datetime)


class Times(msgspec.Struct, frozen=True):
    start_datetime: Moment | None = None
    end_datetime: Moment | None = None


class Notification(msgspec.Struct, frozen=True):
    """One message of the booking system. With `kind` `coaching` it is about an appointment: `booking_id` and `event.id`
    are then its UUID, and the facilitator is the coach."""

    event: Event
    booking_id: BookingId | None = None
    kind: str | None = None
    booking_reference: str | None = None
    action: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    occurred_at: Moment | None = None
    user: Person | None = None
    previous: Times | None = None
    facilitator_id: Id | None = None
    facilitator: Facilitator | None = None
    status: str | None = None
    payment_status: str | None = None
    notes: str | None = None
    meeting_link: str | None = None
    reason: str | None = None
    price: int | float | str | None = None
    """The price at the time of booking, in `currency`; the event's present price may differ."""
    amount: int | float | str | None = None
    currency: str | None = None
    email_facilitator: bool = True
    """False if the sender mails the facilitator itself."""

    @property
    def timezone(self) -> ZoneInfo:
        """The time zone of times in mails: UTC if the message has none or an unknown one."""
        return reading_zone(self.facilitator.timezone if self.facilitator else None)

    @property
    def about_event(self) -> bool:
        return is_about_event(self.action)

    @property
    def facilitator_key(self) -> int | None:
        """The facilitator's user id: at the top level (A), in the event (B) or in the facilitator."""
        return self.facilitator_id or self.event.facilitator_id or (self.facilitator.id if self.facilitator else None)

    @property
    def client_key(self) -> int | None:
        """The client's user id."""
        return user_key(self.user.id) if self.user else None

    @property
    def facilitator_keys(self) -> frozenset[int]:
        """Every user id that the message names as the facilitator's."""
        inside = self.facilitator.id if self.facilitator else None
        return frozenset(key for key in (self.facilitator_id, self.event.facilitator_id, inside) if key)

    @property
    def people(self) -> frozenset[int]:
        """The user ids of client and facilitator."""
        client = self.client_key
        return self.facilitator_keys | {client} if client else self.facilitator_keys

    @property
    def occurred_at_utc(self) -> datetime | None:
        return _utc(self.occurred_at)

    @property
    def event_key(self) -> int | None:
        """The event's id, if it is one of the booking system."""
        key = self.event.id
        return key if isinstance(key, int) and 1 <= key <= LARGEST_ID else None

    @property
    def event_is_active(self) -> bool:
        return self.action != "event_cancelled" if self.event.is_active is None else self.event.is_active

    @property
    def cancelled_with_event(self) -> bool:
        """Whether it was cancelled with its event: the facilitator then gets one mail, about the event."""
        return self.action == "booking_cancelled" and self.reason == "event_cancelled"

    @property
    def caused_by_facilitator(self) -> bool:
        """Whether the facilitator caused it (event created, changed or completed) and therefore gets no mail."""
        return self.action in ("event_created", "event_updated", "booking_completed")


class ErasedUser(msgspec.Struct, frozen=True):
    """`id`: the user id in the booking system."""

    id: Id


class Erasure(msgspec.Struct, frozen=True):
    """The last message about a user, whose personal data the receiver erases."""

    action: Literal["user_erased"]
    user: ErasedUser
    occurred_at: Moment | None = None


class MissingFields(Exception):
    """Required fields are absent or null."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(", ".join(fields))
        self.fields = fields


class InvalidFields(Exception):
    """Fields have a wrong type or an invalid value: reasons by field path."""

    def __init__(self, details: dict[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in details.items()))
        self.details = details


def is_about_event(action: object) -> bool:
    return isinstance(action, str) and action.startswith("event_")


def read_notification(body: dict[str, Any]) -> Notification:
    """The notification in a JSON object. Raises `MissingFields` or `InvalidFields`."""
    about_event = is_about_event(body.get("action"))
    required = ("event",) if about_event else ("booking_id", "user", "event")
    missing = [field for field in required if body.get(field) is None]
    if about_event and not _names_facilitator(body):
        missing.append("facilitator_id")
    if missing:
        raise MissingFields(missing)
    try:
        notification = json_values.convert(body, Notification)
    except msgspec.ValidationError as error:
        raise InvalidFields(field_error(error)) from None
    outside = {
        field: OUT_OF_RANGE
        for field, moment in _moments(notification)
        if moment is not None and not is_enterable(moment)
    }
    if outside:
        raise InvalidFields(outside)
    return notification


def is_erasure(body: Mapping[str, Any]) -> bool:
    return body.get("action") == "user_erased"


def read_erasure(body: Mapping[str, Any]) -> Erasure:
    """The erasure in a JSON object. Raises `MissingFields` or `InvalidFields`."""
    user = body.get("user")
    if user is None:
        raise MissingFields(["user"])
    if isinstance(user, dict) and user.get("id") is None:
        raise MissingFields(["user.id"])
    try:
        return json_values.convert(body, Erasure)
    except msgspec.ValidationError as error:
        raise InvalidFields(field_error(error)) from None


def _moments(notification: Notification) -> Iterator[tuple[str, datetime | None]]:
    """Every date and time of a notification, with its path."""
    event, previous = notification.event, notification.previous or Times()
    yield "occurred_at", notification.occurred_at
    yield "event.date_time", event.date_time
    yield "event.start_datetime", event.start_datetime
    yield "event.end_datetime", event.end_datetime
    yield "previous.start_datetime", previous.start_datetime
    yield "previous.end_datetime", previous.end_datetime


def field_error(error: msgspec.ValidationError) -> dict[str, str]:
    """The invalid field, as a path with dots, and the reason."""
    reason, _, path = str(error).partition(" - at `$")
    return {path.rstrip("`").lstrip(".") or "body": json_values.plain_reason(reason)}


def _names_facilitator(body: dict[str, Any]) -> bool:
    def holds(part: object, field: str) -> bool:
        return isinstance(part, dict) and part.get(field) is not None

    return (
        holds(body, "facilitator_id")
        or holds(body.get("event"), "facilitator_id")
        or holds(body.get("facilitator"), "id")
        or holds(body.get("facilitator"), "email")
    )


def _make_readable(record: msgspec.Struct, field: str) -> None:
    """Removes invisible characters from received text, which is not rejected."""
    if text := getattr(record, field):
        msgspec.structs.force_setattr(record, field, without_invisible(text[:LONGEST_NAME]))


def user_key(identity: object) -> int | None:
    """A user id of the booking system, as a number or its text."""
    if isinstance(identity, str) and _USER_ID.fullmatch(identity):
        identity = int(identity)
    return identity if isinstance(identity, int) and 1 <= identity <= LARGEST_ID else None


def _utc(moment: datetime | None) -> datetime | None:
    """The instant in UTC. A time without an offset is in UTC."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else in_zone(moment, UTC)
