"""Calendar entries written by the library `icalendar`, the reference for those of the product."""

from datetime import UTC

from icalendar import Calendar, Event, vCalAddress, vText, vUri

from infrastructure.icalendar.components import Attendee, Entry, Method, Organizer, folded
from servicekit.date_range import in_zone
from servicekit.links import usable_link


def invitation(entry: Entry, method: Method) -> str:
    calendar = Calendar()
    calendar.add("VERSION", "2.0")
    calendar.add("PRODID", "-//Convene//Bookings//EN")
    calendar.add("CALSCALE", "GREGORIAN")
    calendar.add("METHOD", method)
    calendar.add_component(_event(entry))
    # Folded by us: the library counts characters in some lines, not octets.
    return "".join(folded(line) for line in calendar.content_lines() if line)


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
    address.params["CN"] = vText(person.name.replace('"', "'"))
    return address
