"""Content of mails about appointments: one to the client and one to the coach, each in the time zone of the reader."""

from domain.appointments import AppointmentStatus
from domain.outbox import Message, MessageType
from infrastructure.delivery.appointment_payloads import AppointmentPayload, read_appointment
from infrastructure.email.content import (
    WITHOUT_INVITATION,
    EmailContent,
    Invitation,
    SenderIdentity,
    Unmailable,
    shortened,
)
from infrastructure.email.copy.appointments import appointment_copy, button, details
from infrastructure.icalendar.components import Attendee, Entry, Organizer, Status, appointment_uid, described
from servicekit.local_times import reading_zone
from servicekit.text import isolated

STATUS: dict[AppointmentStatus, Status] = {
    AppointmentStatus.PENDING: "TENTATIVE",
    AppointmentStatus.CONFIRMED: "CONFIRMED",
    AppointmentStatus.COMPLETED: "CONFIRMED",
    AppointmentStatus.CANCELLED: "CANCELLED",
}


def appointment_email(message: Message, identity: SenderIdentity) -> EmailContent:
    """Raises `Unmailable`."""
    payload = read_appointment(message)
    copy = appointment_copy(message.message_type, payload)
    if copy is None or payload.recipient is None:
        raise Unmailable(f"no mail is written about {message.message_type} to {payload.recipient}")
    recipient, other = (
        (payload.coach, payload.client) if payload.recipient == "coach" else (payload.client, payload.coach)
    )
    appointment_with = "Coaching with "
    title = appointment_with + isolated(other.name)
    is_live = payload.appointment.status in {AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}
    names = {"client": isolated(payload.client.name), "coach": isolated(payload.coach.name), "money": payload.money}
    return EmailContent(
        recipient=recipient,
        reply_to=other,
        subject=copy.subject.format(title=shortened(other.name, appointment_with)),
        headline=copy.headline,
        sentence=copy.sentence.format(**names),
        details=details(message.message_type, payload, title, reading_zone(recipient.timezone), message.occurred_at),
        button=button(message.message_type, payload),
        booking_link=identity.booking_link(str(payload.appointment.id), is_live=is_live)
        if recipient is payload.client
        else None,
        invitation=None
        if message.message_type in WITHOUT_INVITATION
        else _invitation(message, payload, title, identity),
    )


def _invitation(message: Message, payload: AppointmentPayload, title: str, identity: SenderIdentity) -> Invitation:
    """This service is the organiser of both entries: calendars ignore changes to entries that their owner organises."""
    session, status = payload.appointment, STATUS[payload.appointment.status]
    sender = identity.sender
    entry = Entry(
        uid=session.uid or appointment_uid(session.id, identity.host),
        sequence=session.sequence,
        stamp=message.occurred_at,
        starts_at=session.starts_at,
        ends_at=session.ends_at,
        status=status,
        summary=title,
        description=described(session.notes, session.meeting_link, f"Booking {session.id}"),
        location=None,
        url=session.meeting_link,
        organizer=Organizer(sender.display_name or sender.addr_spec, sender.addr_spec),
        attendees=[
            Attendee(payload.client.name, payload.client.email),
            Attendee(payload.coach.name, payload.coach.email, "NEEDS-ACTION" if status == "TENTATIVE" else "ACCEPTED"),
        ],
    )
    return Invitation(entry, "CANCEL" if message.message_type is MessageType.BOOKING_CANCELLED else "REQUEST")
