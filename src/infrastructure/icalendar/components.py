"""Bookings as iCalendar (RFC 5545): one in an invitation (RFC 5546), all of an account in a feed (RFC 7986).

A booking is one entry. Its UID is the same in every invitation and in the feed, and never changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from icalendar import Calendar, Event, vCalAddress, vDuration, vText, vUri

from servicekit.date_range import in_zone
from servicekit.links import usable_link

Method = Literal["REQUEST", "CANCEL"]
Status = Literal["TENTATIVE", "CONFIRMED", "CANCELLED"]
REFRESH_EVERY = timedelta(hours=1)
_LINE_OCTETS = 75


@dataclass(frozen=True, slots=True)
class Organizer:
    """`sent_by` is the address that sends on behalf of the organiser."""

    name: str
    email: str
    sent_by: str | None = None


@dataclass(frozen=True, slots=True)
class Attendee:
    name: str
    email: str
    answer: Literal["ACCEPTED", "NEEDS-ACTION"] = "ACCEPTED"


@dataclass(frozen=True, slots=True)
class Entry:
    """`sequence` grows with every change; `stamp` is the time of the last change, which is also the meaning of DTSTAMP
    in a calendar without a METHOD, such as a feed (RFC 5545, 3.8.7.2)."""

    uid: str
    sequence: int
    stamp: datetime
    starts_at: datetime
    ends_at: datetime
    status: Status
    summary: str
    description: str
    location: str | None
    url: str | None
    organizer: Organizer | None = None
    attendees: Sequence[Attendee] = ()


def uid_host(public_url: str) -> str:
    """The domain of UIDs while the deployment has not stored one: the host of its address."""
    return urlsplit(public_url).hostname or "localhost"


def booking_uid(booking_id: int, host: str) -> str:
    return f"booking-{booking_id}@{host}"


def appointment_uid(appointment_id: UUID, host: str) -> str:
    return f"coaching-{appointment_id}@{host}"


def event_uid(event_id: int, host: str) -> str:
    """The UID of an event in its facilitator's calendar."""
    return f"event-{event_id}@{host}"


def described(text: str | None, link: str | None, last: str) -> str:
    """An entry's description: the text, the link to join, and the last line, which names the booking."""
    return "\n\n".join(part for part in (text, f"Join online: {link}" if usable_link(link) else "", last) if part)


def invitation(entry: Entry, method: Method) -> str:
    """The .ics of a mail, with CRLF line ends and times in UTC."""
    calendar = _calendar()
    calendar.add("METHOD", method)
    calendar.add_component(_event(entry))
    return _written(calendar)


def feed(name: str, entries: Iterable[Entry]) -> str:
    """The .ics of a calendar feed. The same entries result in the same text."""
    calendar = _calendar()
    calendar.add("NAME", name)
    calendar.add("X-WR-CALNAME", name)
    calendar.add("REFRESH-INTERVAL", vDuration(REFRESH_EVERY), parameters={"VALUE": "DURATION"})
    calendar.add("X-PUBLISHED-TTL", vDuration(REFRESH_EVERY))
    for entry in entries:
        calendar.add_component(_event(entry))
    return _written(calendar)


def _calendar() -> Calendar:
    calendar = Calendar()
    calendar.add("VERSION", "2.0")
    calendar.add("PRODID", "-//Convene//Bookings//EN")
    calendar.add("CALSCALE", "GREGORIAN")
    return calendar


def _event(entry: Entry) -> Event:
    event = Event()
    event.add("UID", entry.uid)
    event.add("SEQUENCE", entry.sequence)
    event.add("DTSTAMP", in_zone(entry.stamp, UTC))
    event.add("LAST-MODIFIED", in_zone(entry.stamp, UTC))
    event.add("DTSTART", in_zone(entry.starts_at, UTC))
    event.add("DTEND", in_zone(entry.ends_at, UTC))
    url = usable_link(entry.url)
    event.add("SUMMARY", entry.summary)
    event.add("DESCRIPTION", entry.description)
    if place := entry.location or url:
        event.add("LOCATION", place)
    if url:
        event.add("URL", vUri(url))
    event.add("STATUS", entry.status)
    event.add("TRANSP", "TRANSPARENT" if entry.status == "CANCELLED" else "OPAQUE")
    if organizer := entry.organizer:
        address = _address(organizer)
        if organizer.sent_by:
            address.params["SENT-BY"] = vText(f"mailto:{organizer.sent_by}")
        event.add("ORGANIZER", address, encode=False)
    for attendee in entry.attendees:
        address = _address(attendee)
        address.params["ROLE"] = vText("REQ-PARTICIPANT")
        address.params["PARTSTAT"] = vText(attendee.answer)
        address.params["RSVP"] = vText("FALSE")
        event.add("ATTENDEE", address, encode=False)
    return event


def _address(person: Organizer | Attendee) -> vCalAddress:
    address = vCalAddress(f"mailto:{person.email}")
    # A quoted parameter cannot hold a double quote (RFC 5545, 3.2).
    address.params["CN"] = vText(person.name.replace('"', "'"))
    return address


def _written(calendar: Calendar) -> str:
    """As `calendar.to_ical()`, which takes 5 microseconds for each character of a long line."""
    return "".join(folded(line) for line in calendar.content_lines() if line)


def folded(line: str) -> str:
    """A content line with its end, folded so that no line has more than 75 octets (RFC 5545, 3.1)."""
    octets = line.encode()
    if len(octets) <= _LINE_OCTETS:
        return line + "\r\n"
    parts, start, room = [], 0, _LINE_OCTETS
    while len(octets) - start > room:
        end = start + room
        while octets[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        parts.append(octets[start:end])
        start, room = end, _LINE_OCTETS - 1
    parts.append(octets[start:])
    return b"\r\n ".join(parts).decode() + "\r\n"
