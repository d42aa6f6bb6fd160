"""Bookings as iCalendar (RFC 5545): one in an invitation (RFC 5546), all of an account in a feed (RFC 7986).

A booking is one entry. Its UID is the same in every invitation and in the feed, and never changes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from servicekit.date_range import in_zone
from servicekit.links import usable_link

Method = Literal["REQUEST", "CANCEL", "PUBLISH"]
"""REQUEST and CANCEL are about one entry. PUBLISH may have several with UIDs of their own, which then have no attendees
(RFC 5546, 3.2.1 and 3.2.2)."""
Status = Literal["TENTATIVE", "CONFIRMED", "CANCELLED"]
_REFRESH_EVERY = "PT1H"
_LINE_OCTETS = 75
_HEAD = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Convene//Bookings//EN", "CALSCALE:GREGORIAN")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_QUOTED_NAME = re.compile("[ ',;:\u2019]")


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


def invitation(entries: Sequence[Entry], method: Method) -> str:
    """The .ics of a mail, with CRLF line ends and times in UTC. Raises ValueError for an address with a line break."""
    lines = [line for entry in entries for line in _event(entry)]
    return _written((*_HEAD, f"METHOD:{method}", *lines, "END:VCALENDAR"))


def feed(name: str, entries: Iterable[Entry]) -> str:
    """The .ics of a calendar feed. The same entries result in the same text. Raises ValueError as `invitation`."""
    title = _text(name)
    lines = [*_HEAD, f"NAME:{title}", f"X-WR-CALNAME:{title}"]
    lines += [f"REFRESH-INTERVAL;VALUE=DURATION:{_REFRESH_EVERY}", f"X-PUBLISHED-TTL:{_REFRESH_EVERY}"]
    for entry in entries:
        lines.extend(_event(entry))
    return _written((*lines, "END:VCALENDAR"))


def _event(entry: Entry) -> Iterator[str]:
    """The content lines of an entry, not folded."""
    url, stamp = usable_link(entry.url), _utc(entry.stamp)
    yield "BEGIN:VEVENT"
    yield f"SUMMARY:{_text(entry.summary)}"
    yield f"DTSTART:{_utc(entry.starts_at)}"
    yield f"DTEND:{_utc(entry.ends_at)}"
    yield f"DTSTAMP:{stamp}"
    yield f"UID:{_text(entry.uid)}"
    yield f"SEQUENCE:{entry.sequence}"
    for person in entry.attendees:
        yield (
            f"ATTENDEE;CN={_name(person.name)};PARTSTAT={person.answer};ROLE=REQ-PARTICIPANT;RSVP=FALSE"
            f":{_mailto(person.email)}"
        )
    yield f"DESCRIPTION:{_text(entry.description)}"
    yield f"LAST-MODIFIED:{stamp}"
    if place := entry.location or url:
        yield f"LOCATION:{_text(place)}"
    if organizer := entry.organizer:
        sent_by = f';SENT-BY="{_parameter(_mailto(organizer.sent_by))}"' if organizer.sent_by else ""
        yield f"ORGANIZER;CN={_name(organizer.name)}{sent_by}:{_mailto(organizer.email)}"
    yield f"STATUS:{entry.status}"
    yield f"TRANSP:{'TRANSPARENT' if entry.status == 'CANCELLED' else 'OPAQUE'}"
    if url:
        yield f"URL:{url}"
    yield "END:VEVENT"


def _text(value: str) -> str:
    """A value of type TEXT (RFC 5545, 3.3.11). Every line break is written as one."""
    value = value.replace("\\", "\\\\").replace(";", r"\;").replace(",", r"\,")
    return _LINE_BREAK.sub(r"\\n", value)


def _name(name: str) -> str:
    """A name as the parameter CN, quoted if it contains a space or another character that requires it."""
    written = _parameter(name)
    return f'"{written}"' if _QUOTED_NAME.search(written) else written


def _parameter(value: str) -> str:
    """The value of a parameter (RFC 6868). It cannot contain a double quote (RFC 5545, 3.2), which becomes a single
    one."""
    return _LINE_BREAK.sub("^n", value.replace('"', "'").replace("^", "^^"))


def _mailto(email: str) -> str:
    if _LINE_BREAK.search(email):
        raise ValueError("an address has a line break")
    return f"mailto:{email}"


def _utc(moment: datetime) -> str:
    text = in_zone(moment, UTC).isoformat()
    return f"{text[:19].replace('-', '').replace(':', '')}Z"


def _written(lines: Iterable[str]) -> str:
    return "".join(folded(line) for line in lines)


def folded(line: str) -> str:
    """A content line with its end, folded so that no line has more than 75 octets (RFC 5545, 3.1)."""
    if len(line) <= _LINE_OCTETS and line.isascii():
        return f"{line}\r\n"
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
