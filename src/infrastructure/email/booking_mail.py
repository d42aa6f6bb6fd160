"""Content of mails to participants of events."""

from domain.bookings import BookingStatus
from domain.outbox import Message, MessageType
from infrastructure.delivery.payloads import BookingPayload, Payload, Person, WrittenPayload, read_payload
from infrastructure.email.content import (
    WITHOUT_INVITATION,
    EmailContent,
    Invitation,
    SenderIdentity,
    Unmailable,
    shortened,
)
from infrastructure.email.copy.bookings import booking_copy, button, details, event_details
from infrastructure.email.facilitator_mail import facilitator_email
from infrastructure.icalendar.components import Attendee, Entry, Method, Organizer, Status, booking_uid, described
from servicekit.text import isolated


def booking_email(message: Message, identity: SenderIdentity) -> EmailContent:
    """Raises `Unmailable`."""
    payload = read_payload(message)
    if payload.recipient is not None:
        return facilitator_email(message, payload)
    if payload.written is not None and payload.booking is not None and payload.user is not None:
        return _participant_email(payload.written, payload, payload.booking, payload.user, identity)
    copy = booking_copy(message.message_type, payload, payload.booking) if payload.booking else None
    if copy is None or payload.booking is None or payload.user is None:
        raise Unmailable(f"no mail is written about {message.message_type}")
    invited = message.message_type not in WITHOUT_INVITATION
    return EmailContent(
        recipient=payload.user,
        reply_to=payload.facilitator,
        subject=copy.subject.format(title=shortened(payload.event.title)),
        headline=copy.headline,
        sentence=copy.sentence.format(
            title=isolated(payload.event.title), money=payload.money, facilitator=isolated(payload.facilitator.name)
        ),
        details=details(message.message_type, payload, payload.booking, payload.user, occurred_at=message.occurred_at),
        button=button(message.message_type, payload),
        booking_link=identity.booking_link(
            payload.booking.reference, is_live=payload.booking.status == BookingStatus.CONFIRMED
        ),
        invitation=_invitation(message, payload, payload.booking, payload.user, identity) if invited else None,
    )


def _participant_email(
    written: WrittenPayload, payload: Payload, booking: BookingPayload, reader: Person, identity: SenderIdentity
) -> EmailContent:
    title, facilitator = isolated(payload.event.title), isolated(payload.facilitator.name)
    return EmailContent(
        recipient=reader,
        reply_to=payload.facilitator,
        subject=isolated(written.subject),
        headline=written.subject,
        sentence=f"A message to the participants of {title}, from {facilitator}:",
        text=written.text,
        details=event_details(payload, booking, reader),
        booking_link=identity.booking_link(booking.reference, is_live=booking.status == BookingStatus.CONFIRMED),
    )


def _invitation(
    message: Message, payload: Payload, booking: BookingPayload, attendee: Person, identity: SenderIdentity
) -> Invitation:
    """SEQUENCE is the event's version, which increases with every change of the event and whenever a seat is reserved,
    paid or released. An entry that was removed when a hold expired is therefore restored by a late payment."""
    event = payload.event
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
            payload.join_link,
            f"Booking {booking.reference}, with {isolated(payload.facilitator.name)}",
        ),
        location=event.location,
        url=payload.join_link,
        # The mail comes from us, not from the facilitator's own address.
        organizer=Organizer(payload.facilitator.name, payload.facilitator.email, sent_by=identity.sender.addr_spec),
        attendees=[Attendee(attendee.name, attendee.email)],
    )
    return Invitation([entry], method)
