"""Types of contract E's parameters."""

import re
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from domain.accounts import UserNotFound
from domain.appointments import AppointmentNotFound, AppointmentStatus, length_of
from domain.attachments import AttachmentId, AttachmentNotFound
from domain.calendar_feed import FeedNotFound
from domain.calendars import CalendarNotConnected, Provider
from domain.coaches import CoachNotFound
from domain.errors import Invalid
from domain.ids import AppointmentId
from interfaces.http.parameters import Converter, instant, member_of, page_size_up_to, positive, uuid_in_path

_SKIPPED = re.compile("0|[1-9][0-9]{0,17}", re.ASCII)
_INSTANT = {"type": "string", "examples": ["2026-01-18", "2026-01-18T14:00:00Z"]}
_LARGEST_PAGE = 100

SMALL_PAGE = 20
DEFAULT_LENGTH = timedelta(minutes=60)

APPOINTMENT_STATUS = member_of(AppointmentStatus, "Only bookings with this status.", "Must be one of {}")


def _skipped(name: str, text: str) -> int:
    if not _SKIPPED.fullmatch(text):
        raise Invalid({name: "Must be a whole number, 0 or more"})
    return int(text)


def _length(name: str, text: str) -> timedelta:
    return length_of(positive(name, text))


def _provider(_name: str, text: str) -> Provider:
    if text not in set(Provider):
        raise CalendarNotConnected
    return Provider(text)


def _feed_token(_name: str, text: str) -> str:
    token, _, extension = text.rpartition(".")
    if extension != "ics":
        raise FeedNotFound
    return token


AppointmentIdInPath = Annotated[AppointmentId, uuid_in_path("The booking's id.", AppointmentNotFound)]
AttachmentIdInPath = Annotated[AttachmentId, uuid_in_path("The attachment's id.", AttachmentNotFound)]
ClientIdInPath = Annotated[UUID, uuid_in_path("The client: their `uuid`.", UserNotFound)]
CoachIdInPath = Annotated[UUID, uuid_in_path("The coach: their `uuid`.", CoachNotFound)]
ProviderInPath = Annotated[
    Provider,
    Converter(
        "The calendar's provider.", {"type": "string", "enum": [*Provider]}, _provider, raises=CalendarNotConnected
    ),
]
FeedToken = Annotated[
    str,
    Converter(
        "The last part of the feed's secret address, `….ics`.", {"type": "string"}, _feed_token, raises=FeedNotFound
    ),
]
StatusFilter = Annotated[AppointmentStatus | None, APPOINTMENT_STATUS]
SmallPageSize = Annotated[
    int,
    Converter(
        "The maximum number of items.",
        {"type": "integer", "minimum": 1, "maximum": _LARGEST_PAGE},
        page_size_up_to(_LARGEST_PAGE),
    ),
]
Skipped = Annotated[
    int | None,
    Converter("The number of bookings to skip.", {"type": "integer", "minimum": 0, "default": 0}, _skipped),
]
_RANGE_START = Converter(
    "The start of the range: a date (its first instant in UTC) or a date and time.", _INSTANT, instant
)
_RANGE_END = Converter(
    "The end of the range, after `start_date`: a date (its first instant) or a date and time. 23:59, with or "
    "without seconds, is the end of its day.",
    _INSTANT,
    instant,
)
RangeStart = Annotated[datetime, _RANGE_START]
RangeEnd = Annotated[datetime, _RANGE_END]
OptionalRangeStart = Annotated[datetime | None, _RANGE_START]
OptionalRangeEnd = Annotated[datetime | None, _RANGE_END]
Length = Annotated[
    timedelta,
    Converter(
        "The length of the session in minutes.",
        {"type": "integer", "minimum": 15, "maximum": 480, "default": DEFAULT_LENGTH // timedelta(minutes=1)},
        _length,
    ),
]
RedirectUri = Annotated[
    str,
    Converter(
        "The address that the browser returns to. Must equal one of `OAUTH_REDIRECT_ALLOWLIST`.", {"type": "string"}
    ),
]
