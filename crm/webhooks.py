"""Requests to /webhook: a booking in the form of the published document D, and its deliveries.

`event` may be an id or an object; `user_id` and `event_id` may be at the top level instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from crm.notifications import Id, InvalidFields, MissingFields, Person, field_error, user_key
from servicekit import json_values


class EventReference(msgspec.Struct, frozen=True):
    id: Id | None = None
    facilitator_id: Id | None = None


class Webhook(msgspec.Struct, frozen=True):
    """A booking received by webhook."""

    booking_id: Id
    user: Person | None = None
    user_id: Id | None = None
    event: Id | EventReference | None = None
    event_id: Id | None = None
    facilitator_id: Id | None = None
    payment_status: str | None = None

    @property
    def user_key(self) -> int | None:
        nested_id = self.user.id if self.user else None
        return self.user_id or (user_key(nested_id) if isinstance(nested_id, int) else None)

    @property
    def event_key(self) -> int | None:
        return self.event_id or (self.event.id if isinstance(self.event, EventReference) else self.event)

    @property
    def facilitator_key(self) -> int | None:
        inside = self.event.facilitator_id if isinstance(self.event, EventReference) else None
        return self.facilitator_id or inside

    @property
    def client_keys(self) -> frozenset[int]:
        """Every user id that the webhook names as the client's."""
        keys = (self.user_id, user_key(self.user.id) if self.user else None)
        return frozenset(key for key in keys if key)

    @property
    def people(self) -> frozenset[int]:
        """The user ids of client and facilitator."""
        inside = self.event.facilitator_id if isinstance(self.event, EventReference) else None
        return self.client_keys | frozenset(key for key in (self.facilitator_id, inside) if key)

    @property
    def payment(self) -> Mapping[str, int] | None:
        """The payment report to the booking API; None without a payment, a user or an event."""
        user, event = self.user_key, self.event_key
        if self.payment_status != "paid" or user is None or event is None:
            return None
        return {"booking_id": self.booking_id, "user_id": user, "event_id": event}


def read_webhook(body: dict[str, Any]) -> Webhook:
    """The booking in a JSON object. Raises `MissingFields` or `InvalidFields`.

    A report of a payment needs no facilitator, because the booking API has the event's facilitator.
    """

    def lacks(*names: str) -> bool:
        return all(body.get(name) is None for name in names)

    missing = [field for field in ("booking_id",) if lacks(field)]
    missing += [name for name in ("user", "event") if lacks(name, f"{name}_id")]
    event = body.get("event")
    inside = isinstance(event, dict) and event.get("facilitator_id") is not None
    if lacks("facilitator_id") and not inside and body.get("payment_status") != "paid":
        missing.append("facilitator_id")
    if missing:
        raise MissingFields(missing)
    try:
        return json_values.convert(body, Webhook)
    except msgspec.ValidationError as error:
        raise InvalidFields(field_error(error)) from None
