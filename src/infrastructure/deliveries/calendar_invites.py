"""A booking as an entry of the attendee's calendar (iCalendar RFC 5545, invitations RFC 5546)."""

from datetime import UTC, datetime

from icalendar import Calendar, Event, vCalAddress, vText, vUri

from domain.messages import Fact
from infrastructure.deliveries.snapshots import BookingThen, Person, Snapshot

REQUEST, CANCEL = "REQUEST", "CANCEL"


def method(fact: Fact) -> str:
    return CANCEL if fact is Fact.BOOKING_CANCELLED else REQUEST


def invite(
    fact: Fact, then: Snapshot, booking: BookingThen, attendee: Person, *, occurred_at: datetime, sender: str, host: str
) -> str:
    """The .ics, with CRLF line ends and times in UTC. One booking is one entry: its UID never changes.

    SEQUENCE is the event's version, which grows with every change of the event and whenever a place is taken or given
    back: an entry that was taken off because nobody paid in time comes back when the money comes late.
    """
    event = then.event
    cancelled = method(fact) == CANCEL
    entry = Event()
    entry.add("UID", f"booking-{booking.id}@{host}")
    entry.add("SEQUENCE", event.version)
    entry.add("DTSTAMP", occurred_at.astimezone(UTC))
    entry.add("DTSTART", event.starts_at.astimezone(UTC))
    entry.add("DTEND", event.ends_at.astimezone(UTC))
    entry.add("SUMMARY", event.title)
    entry.add("DESCRIPTION", _description(then, booking))
    if place := event.location or event.virtual_link:
        entry.add("LOCATION", place)
    if event.virtual_link:
        entry.add("URL", vUri(event.virtual_link))
    entry.add("STATUS", "CANCELLED" if cancelled else "CONFIRMED")
    entry.add("TRANSP", "TRANSPARENT" if cancelled else "OPAQUE")
    organizer = _person(then.facilitator)
    # The mail comes from us, not from the facilitator's own address.
    organizer.params["SENT-BY"] = vText(f"mailto:{sender}")
    entry.add("ORGANIZER", organizer, encode=False)
    guest = _person(attendee)
    guest.params["ROLE"] = vText("REQ-PARTICIPANT")
    guest.params["PARTSTAT"] = vText("ACCEPTED")
    guest.params["RSVP"] = vText("FALSE")
    entry.add("ATTENDEE", guest, encode=False)

    calendar = Calendar()
    calendar.add("VERSION", "2.0")
    calendar.add("PRODID", "-//Convene//Bookings//EN")
    calendar.add("CALSCALE", "GREGORIAN")
    calendar.add("METHOD", method(fact))
    calendar.add_component(entry)
    ics: bytes = calendar.to_ical()
    return ics.decode()


def _description(then: Snapshot, booking: BookingThen) -> str:
    parts = [
        then.event.description,
        f"Join online: {then.event.virtual_link}" if then.event.virtual_link else "",
        f"Booking {booking.reference}, with {then.facilitator.name}",
    ]
    return "\n\n".join(part for part in parts if part)


def _person(person: Person) -> vCalAddress:
    address = vCalAddress(f"mailto:{person.email}")
    # A quoted parameter cannot hold a double quote (RFC 5545, 3.2).
    address.params["CN"] = vText(person.name.replace('"', "'"))
    return address
