"""What docs/webhooks.md says to receivers of messages: how to verify them, and an example of each type."""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.outbox import ROUTES, Destination, Message, MessageType
from infrastructure.delivery.crm_payload import to_payload
from servicekit.signatures import Signer, key_of
from tests.support.messages import a_coaching_message, a_message

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"

PAID = {"booking": {"payment_status": "completed"}, "money": {"amount": 30.5, "currency": "INR"}}
OF_EVENT = {"booking": None, "user": None}
CHANGES: dict[MessageType, dict[str, Any]] = {
    MessageType.BOOKING_CREATED: {},
    MessageType.BOOKING_CONFIRMED: {"coaching": {"status": "confirmed"}},
    MessageType.BOOKING_RESCHEDULED: {
        "coaching": {"status": "confirmed", "sequence": 1},
        "before": {"starts_at": "2026-11-30T10:00:00Z", "ends_at": "2026-11-30T11:00:00Z"},
    },
    MessageType.BOOKING_CANCELLED: {"booking": {"status": "cancelled"}, "event": {"booked": 3}, "reason": "I am ill"},
    MessageType.BOOKING_COMPLETED: {"coaching": {"status": "completed", "sequence": 1}},
    MessageType.PAYMENT_COMPLETED: PAID,
    MessageType.PAYMENT_FAILED: {"booking": {"payment_status": "failed"}, "money": {"amount": 30.5, "currency": "INR"}},
    MessageType.BOOKING_REFUNDED: {
        "booking": {"status": "cancelled", "payment_status": "refunded"},
        "money": {"amount": 30.5, "currency": "INR"},
    },
    MessageType.DISPUTE_OPENED: {"booking": {"dispute": "open"}, "money": {"amount": 30.5, "currency": "INR"}},
    MessageType.DISPUTE_WON: {"booking": {"dispute": "won"}, "money": {"amount": 30.5, "currency": "INR"}},
    MessageType.DISPUTE_LOST: {
        "booking": {"payment_status": "refunded", "dispute": "lost"},
        "money": {"amount": 30.5, "currency": "INR"},
    },
    MessageType.EVENT_CREATED: OF_EVENT,
    MessageType.EVENT_UPDATED: OF_EVENT | {"event": {"title": "Evening Yoga"}},
    MessageType.EVENT_CANCELLED: OF_EVENT | {"event": {"status": "cancelled"}},
}


def examples() -> list[dict[str, Any]]:
    """The body of each type of message, as it is sent."""
    encode = msgspec.json.Encoder(decimal_format="number").encode
    return [json.loads(encode(to_payload(a_message_of(message_type)))) for message_type in CHANGES]


def a_message_of(message_type: MessageType) -> Message:
    """Of a session with a coach, where only those have such messages."""
    make = a_coaching_message if "coaching" in CHANGES[message_type] else a_message
    return make(message_type, **CHANGES[message_type])


def block(language: str, beginning: str) -> str:
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [found] = [each for each in blocks if each.startswith(beginning)]
    return found


def test_every_message_type_is_listed_with_an_example_body() -> None:
    assert [*CHANGES] == [message_type for message_type in CHANGES if Destination.CRM in ROUTES[message_type]]
    assert {*CHANGES, MessageType.USER_ERASED} == {
        message_type for message_type, destinations in ROUTES.items() if Destination.CRM in destinations
    }
    assert [json.loads(line) for line in block("json", '{"booking_id"').splitlines()] == examples()
    assert all(f"| `{message_type}` |" in PAGE.read_text() for message_type in CHANGES)


def test_documented_receiver_verifies_with_the_published_package(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))
    monkeypatch.setenv("SIGNING_SECRET", f"whsec_{old}")
    receiver: dict[str, Any] = {}
    exec(block("python", "import os"), receiver)
    body = json.dumps(examples()[0]).encode()
    headers = Signer([key_of(new), key_of(f"whsec_{old}")]).headers("msg_1", int(time.time()), body)
    assert receiver["receive"](body, headers) == 204
    assert receiver["receive"](body + b" ", headers) == 401
    assert receiver["receive"](body, headers | {"webhook-id": "msg_2"}) == 401
    assert receiver["receive"](body, {}) == 401
    assert receiver["receive"](body, Signer([key_of(new)]).headers("msg_1", int(time.time()), body)) == 401
