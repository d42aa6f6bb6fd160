"""No stored date, however far away, keeps a mail, an .ics file or a message for the CRM from being written."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from crm.notifications import Event, Notification, Person
from domain.outbox import Destination, MessageType
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.email.composer import MailComposer
from servicekit.local_times import ahead, instant, when
from tests.support.messages import a_message
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="no-reply@convene.example", public_url="https://book.example.org")
ZONES = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "America/New_York"]
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
# Most of what could go wrong lies within a day of the calendar's ends.
MOMENTS = st.one_of(
    st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC)),
    st.timedeltas(timedelta(0), timedelta(days=2)).map(lambda left: LAST - left),
    st.timedeltas(timedelta(0), timedelta(days=2)).map(lambda since: FIRST + since),
)


@given(MOMENTS, MOMENTS, MOMENTS, st.sampled_from(ZONES))
def test_every_instant_is_formatted_in_every_zone(
    starts_at: datetime, ends_at: datetime, now: datetime, name: str
) -> None:
    zone = ZoneInfo(name)
    assert when(starts_at, ends_at, zone)
    assert instant(starts_at, zone)
    assert ahead(max(starts_at, now), now, zone)


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=20)
@given(starts_at=MOMENTS, hours=st.integers(1, 10**6))
def test_mail_with_invitation_is_composed_for_any_date(zone: str, starts_at: datetime, hours: int) -> None:
    ends_at = LAST if LAST - starts_at < timedelta(hours=hours) else starts_at + timedelta(hours=hours)
    times = {"starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}
    then: dict[str, Any] = {"event": times, "user": {"timezone": zone}}
    mail = received(COMPOSER.compose(a_message(destination=Destination.EMAIL, **then)))
    assert "text/calendar" in [part.get_content_type() for part in mail.walk()]
    assert received(COMPOSER.compose(a_message(MessageType.BOOKING_CANCELLED, destination=Destination.EMAIL, **then)))


def test_mail_about_an_event_that_ends_at_the_last_instant() -> None:
    then: dict[str, Any] = {"event": {"ends_at": "9999-12-31T23:59:59+00:00"}, "user": {"timezone": "Asia/Tokyo"}}
    mail = received(COMPOSER.compose(a_message(destination=Destination.EMAIL, **then)))
    body = mail.get_body(("plain",))
    assert body is not None
    line = "19:00 (UTC+09:00) to Friday, 31 December 9999, 23:59 (UTC+00:00) Asia/Tokyo"
    assert line in body.get_content()


def test_crm_payload_has_no_date_that_the_crm_rejects() -> None:
    event = to_payload(a_message(event={"ends_at": "9999-12-31T23:59:59+00:00"}))["event"]
    assert event["start_datetime"] == "2026-12-01T10:00:00Z"
    assert event["end_datetime"] is None


@given(MOMENTS, MOMENTS)
def test_crm_composes_a_mail_for_every_stored_date(starts_at: datetime, ends_at: datetime) -> None:
    notification = Notification(
        event=Event(title="Open end", start_datetime=starts_at, end_datetime=ends_at),
        booking_id=12,
        action="booking_created",
        user=Person(name="Ada"),
    )
    now = datetime(2026, 11, 20, tzinfo=UTC)
    claim = MailClaim(1, UUID(int=1), notification, now, "John", "john@example.com", 1)
    assert received(NotificationEmailWriter("crm@convene.example").compose(claim))["Subject"]
