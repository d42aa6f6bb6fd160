"""The JSON of an entry in both transports, and the id of the last received entry."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from application.notifications.ports import EntryId, LiveUpdate
from domain.api_keys import Scope
from domain.errors import Invalid
from domain.outbox import MessageType
from interfaces.http.schemas import one_of, whole_seconds

_LARGEST = 2**63 - 1


SCOPES = Scope.BOOKINGS_READ, Scope.APPOINTMENTS_READ
"""Entries are about both."""


class Entry(Struct):
    """`data` is the payload that the CRM receives for the same message type."""

    id: int
    type: Annotated[str, one_of(MessageType)]
    occurred_at: datetime
    data: dict[str, Any]


def as_json(entry: LiveUpdate) -> bytes:
    return msgspec.json.encode(Entry(entry.id, entry.message_type, whole_seconds(entry.occurred_at), entry.payload))


def last_seen(name: str, given: str | None) -> EntryId | None:
    """The id of the last received entry. An empty value, which browsers send, means none. Raises `Invalid`."""
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= len(str(_LARGEST)) and int(given) <= _LARGEST):
        raise Invalid({name: "Must be the id of an entry"})
    return EntryId(int(given))
