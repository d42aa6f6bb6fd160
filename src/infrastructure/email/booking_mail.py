"""The letter to the person who booked a place in an event."""

from domain.bookings import BookingStatus
from domain.outbox import Message, MessageType
from infrastructure.delivery.payloads import BookingPayload, Payload, Person, WrittenPayload, read_payload
from infrastructure.email.content import LEAVES_CALENDARS, Invitation, Letter, SenderIdentity, Unmailable, shortened
from infrastructure.email.copy.bookings import button, event_facts, facts, words
from infrastructure.icalendar.components import Attendee, Entry, Method, Organizer, Status, booking_uid, described
from servicekit.text import isolated


def booking_email(message: Message, identity: SenderIdentity) -> Letter:
    """Raises `Unmailable`."""
    then = read_payload(message)
    if then.written is not None and then.booking is not None and then.user is not None:
        return _participant_email(then.written, then, then.booking, then.user, identity)
    wording = words(message.message_type, then, then.booking) if then.booking else None
    if wording is None or then.booking is None or then.user is None:
        raise Unmailable(f"no mail is written about {message.message_type}")
    invited = message.message_type not in LEAVES_CALENDARS
    return Letter(
        recipient=then.user,
        reply_to=then.facilitator,
        subject=wording.subject.format(title=shortened(then.event.title)),
        headline=wording.headline,
        sentence=wording.sentence.format(
            title=isolated(then.event.title), money=then.money, facilitator=isolated(then.facilitator.name)
        ),
        facts=facts(message.message_type, then, then.booking, then.user, occurred_at=message.occurred_at),
        button=button(message.message_type, then),
        booking_link=identity.booking_link(
            then.booking.reference, is_live=then.booking.status == BookingStatus.CONFIRMED
        ),
        invitation=_invitation(message, then, then.booking, then.user, identity) if invited else None,
    )


def _participant_email(
    written: WrittenPayload, then: Payload, booking: BookingPayload, reader: Person, identity: SenderIdentity
) -> Letter:
    title, facilitator = isolated(then.event.title), isolated(then.facilitator.name)
    return Letter(
        recipient=reader,
        reply_to=then.facilitator,
        subject=isolated(written.subject),
        headline=written.subject,
        sentence=f"A message to the participants of {title}, from {facilitator}:",
        text=written.text,
        facts=event_facts(then, booking, reader),
        booking_link=identity.booking_link(booking.reference, is_live=booking.status == BookingStatus.CONFIRMED),
    )


def _invitation(
    message: Message, then: Payload, booking: BookingPayload, attendee: Person, identity: SenderIdentity
) -> Invitation:
    """SEQUENCE is the event's version, which grows with every change of the event and whenever a place is taken, paid
    or given back: an entry that was taken off because nobody paid in time comes back when the money comes late."""
    event = then.event
    method: Method = "CANCEL" if message.message_type is MessageType.BOOKING_CANCELLED else "REQUEST"
    status: Status = "CANCELLED" if method == "CANCEL" else "TENTATIVE" if booking.awaits_payment else "CONFIRMED"
    entry = Entry(
        uid=booking.uid or booking_uid(booking.id, identity.host),
        sequence=event.version,
        stamp=message.occurred_at,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        status=status,
        summary=event.title,
        description=described(
            event.description,
            then.join_link,
            f"Booking {booking.reference}, with {isolated(then.facilitator.name)}",
        ),
        location=event.location,
        url=then.join_link,
        # The mail comes from us, not from the facilitator's own address.
        organizer=Organizer(then.facilitator.name, then.facilitator.email, sent_by=identity.sender.addr_spec),
        attendees=[Attendee(attendee.name, attendee.email)],
    )
    return Invitation(entry, method)
