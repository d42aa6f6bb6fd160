"""The time zone of a facilitator's profile travels with the message, and the CRM's mails show times in it."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from crm.notifications import InvalidFields, read_notification
from domain.outbox import Destination, MessageType
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import _to_json
from tests.crm.parts import a_message
from tests.support.messages import a_coaching_message
from tests.support.messages import a_message as an_outbox_message
from tests.support.people import People, Person
from tests.support.standard_mail import received

JOHN = {"id": 2, "name": "John Doe", "email": "facilitator@example.com"}


def mailed(message: dict[str, Any]) -> tuple[str, str]:
    """Subject and time of the mail about a message."""
    notification = read_notification(message)
    claim = MailClaim(1, UUID(int=1), notification, datetime(2026, 11, 20, tzinfo=UTC), "John", "john@example.com", 1)
    mail = received(NotificationEmailWriter("CRM <crm@convene.example>").compose(claim))
    body = mail.get_body(("plain",))
    assert body is not None
    [line] = [line for line in body.get_content().splitlines() if line.startswith("When:")]
    return mail["Subject"], line.removeprefix("When:").strip()


@pytest.mark.parametrize(
    ("zone", "subject", "line"),
    [
        (
            "America/New_York",
            "1 Dec 2026, 04:00 America/New_York",
            "Tuesday, 1 December 2026, 04:00 to 05:00 America/New_York (UTC-05:00)",
        ),
        (
            "Pacific/Kiritimati",
            "1 Dec 2026, 23:00 Pacific/Kiritimati",
            "Tuesday, 1 December 2026, 23:00 to Wednesday, 2 December 2026, 00:00 Pacific/Kiritimati (UTC+14:00)",
        ),
        *[
            (unknown, "1 Dec 2026, 09:00 UTC", "Tuesday, 1 December 2026, 09:00 to 10:00 UTC")
            for unknown in ("UTC", "", None, ..., "Mars/Olympus", "../etc/passwd", "x" * 5000, "posix/Asia/Tokyo")
        ],
    ],
)
def test_mail_shows_times_in_the_time_zone_of_the_facilitator(zone: Any, subject: str, line: str) -> None:
    facilitator = JOHN if zone is ... else {**JOHN, "timezone": zone}
    written = mailed(a_message(facilitator=facilitator))
    assert written[0].endswith(f"({subject})")
    assert written[1] == line


def test_both_offsets_are_shown_if_the_clock_changes_in_between() -> None:
    event = {"start_datetime": "2026-10-24T23:30:00Z", "end_datetime": "2026-10-25T01:30:00Z"}
    _, line = mailed(a_message(event=event, facilitator={**JOHN, "timezone": "Europe/Berlin"}))
    assert line == "Sunday, 25 October 2026, 01:30 (UTC+02:00) to 02:30 (UTC+01:00) Europe/Berlin"


def test_time_zone_that_is_not_text_is_named() -> None:
    with pytest.raises(InvalidFields) as refused:
        read_notification(a_message(facilitator={**JOHN, "timezone": 2}))
    assert refused.value.details.keys() == {"facilitator.timezone"}


def test_payload_for_the_crm_has_the_time_zone_if_known() -> None:
    facilitator = to_payload(an_outbox_message(facilitator={"timezone": "Europe/Berlin"}))["facilitator"]
    assert facilitator["timezone"] == "Europe/Berlin"
    assert "timezone" not in to_payload(an_outbox_message())["facilitator"]
    assert (
        to_payload(a_coaching_message(MessageType.BOOKING_CREATED, None))["facilitator"]["timezone"] == "Europe/Berlin"
    )


async def test_time_zone_of_the_profile_is_used_in_the_mail_to_the_facilitator(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection, ada: Person
) -> None:
    john = await shared_people.facilitator()
    assert (await john.put("/profile", {"timezone": "Asia/Kathmandu"})).is_success
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    row = await shared_database.fetchrow(
        """SELECT snapshot FROM outbox
           WHERE destination = $1 AND fact = 'booking_created' AND (snapshot -> 'booking' ->> 'id')::bigint = $2""",
        *(Destination.CRM, booking["id"]),
    )
    assert row is not None
    message = an_outbox_message(**json.loads(row["snapshot"]))
    assert mailed(json.loads(_to_json(to_payload(message))))[0].endswith("Asia/Kathmandu)")
