"""Messages without the personal data of an erased user.

What is kept is listed, so that fields of other senders, which the CRM does not know, go as well: ids, times, amounts,
states, and the name and address of the other side of the booking. Notes of the client go with either side: they are
written to the facilitator, whom they may name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DELETED_USER = "Deleted user"
"""The name of an erased client in lists and mails."""

_KEPT = (
    *("kind", "booking_id", "booking_reference", "action", "occurred_at", "facilitator_id", "email_facilitator"),
    *("status", "payment_status", "dispute", "price", "amount", "currency"),
)
_KEPT_OF_EVENT = (
    *("id", "date_time", "start_datetime", "end_datetime", "duration_minutes", "facilitator_id", "max_participants"),
    *("current_participants", "price", "currency", "is_active", "version"),
)
_WRITTEN_BY_FACILITATOR = ("title", "location", "virtual_link")
_TIMES = ("start_datetime", "end_datetime")
_KEPT_OF_WEBHOOK = ("booking_id", "user_id", "event_id", "facilitator_id", "payment_status")


def erased_notification(body: Mapping[str, Any], *, client: bool, facilitator: bool) -> dict[str, Any]:
    """The body of a notification whose client, facilitator or both were erased."""
    event = body.get("event")
    of_event = _KEPT_OF_EVENT if facilitator else (*_KEPT_OF_EVENT, *_WRITTEN_BY_FACILITATOR)
    kept = _only(body, _KEPT) | {"event": _only(event, of_event)}
    if isinstance(body.get("previous"), Mapping):
        kept["previous"] = _only(body["previous"], _TIMES)
    if isinstance(body.get("facilitator"), Mapping):
        kept["facilitator"] = _only(body["facilitator"], ("id",)) if facilitator else body["facilitator"]
    return kept | _client_of(body, client=client)


def erased_webhook(body: Mapping[str, Any], *, client: bool) -> dict[str, Any]:
    """The body of a webhook whose client, facilitator or both were erased."""
    event = body.get("event")
    kept = _only(body, _KEPT_OF_WEBHOOK)
    if event is not None:
        kept["event"] = _only(event, ("id", "facilitator_id")) if isinstance(event, Mapping) else event
    return kept | _client_of(body, client=client)


def _client_of(body: Mapping[str, Any], *, client: bool) -> dict[str, Any]:
    if not isinstance(body.get("user"), Mapping):
        return {}
    if not client:
        return _only(body, ("user",))
    return {"user": _only(body["user"], ("id",)) | {"name": DELETED_USER}}


def _only(part: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: part[name] for name in names if name in part} if isinstance(part, Mapping) else {}
