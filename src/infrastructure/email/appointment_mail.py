"""Content of mails about appointments: one to the client and one to the coach, each in the time zone of the reader."""

from collections.abc import Sequence

from domain.appointments import AppointmentStatus
from domain.outbox import Message, MessageType
from infrastructure.delivery.appointment_payloads import (
    AppointmentPayload,
    Participant,
    SessionPayload,
    read_appointment,
)
from infrastructure.email.content import (
    WITHOUT_INVITATION,
    EmailContent,
    Invitation,
    SenderIdentity,
    SessionOfSeries,
    Unmailable,
    shortened,
)
from infrastructure.email.copy.appointments import appointment_copy, button, details
from infrastructure.email.copy.series import payment_button, series_copy, series_details
from infrastructure.icalendar.components import Attendee, Entry, Organizer, Status, appointment_uid, described
from servicekit.local_times import reading_zone, when
from servicekit.text import isolated

_APPOINTMENT_WITH = "Coaching with "
STATUS: dict[AppointmentStatus, Status] = {
    AppointmentStatus.PENDING: "TENTATIVE",
    AppointmentStatus.CONFIRMED: "CONFIRMED",
    AppointmentStatus.COMPLETED: "CONFIRMED",
    AppointmentStatus.CANCELLED: "CANCELLED",
}


def appointment_email(message: Message, identity: SenderIdentity) -> EmailContent:
    """Raises `Unmailable`."""
    payload = read_appointment(message)
    if payload.series and payload.recipient is not None:
        return _series_email(message, payload, identity)
    copy = appointment_copy(message.message_type, payload)
    if copy is None or payload.recipient is None:
        raise Unmailable(f"no mail is written about {message.message_type} to {payload.recipient}")
    recipient, other = _recipient_and_other(payload)
    title = _APPOINTMENT_WITH + isolated(other.name)
    is_live = payload.appointment.status in {AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}
    names = {"client": isolated(payload.client.name), "coach": isolated(payload.coach.name), "money": payload.money}
    return EmailContent(
        recipient=recipient,
        reply_to=other,
        subject=copy.subject.format(title=shortened(other.name, _APPOINTMENT_WITH)),
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


def _recipient_and_other(payload: AppointmentPayload) -> tuple[Participant, Participant]:
    return (payload.coach, payload.client) if payload.recipient == "coach" else (payload.client, payload.coach)


def _series_email(message: Message, payload: AppointmentPayload, identity: SenderIdentity) -> EmailContent:
    recipient, other = _recipient_and_other(payload)
    copy, title = series_copy(payload), _APPOINTMENT_WITH + isolated(other.name)
    names = {"client": isolated(payload.client.name), "coach": isolated(payload.coach.name)}
    number, zone = len(payload.series), reading_zone(recipient.timezone)

    def line(session: SessionPayload) -> SessionOfSeries:
        to_client = recipient is payload.client
        links = (
            payment_button(payload, session),
            identity.booking_link(str(session.id), is_live=True) if to_client else None,
        )
        return SessionOfSeries(when(session.starts_at, session.ends_at, zone), [link for link in links if link])

    entries = [_entry(message, session, title, identity, []) for session in payload.series]
    return EmailContent(
        recipient=recipient,
        reply_to=other,
        subject=copy.subject.format(title=shortened(other.name, _APPOINTMENT_WITH), number=number),
        headline=copy.headline,
        sentence=copy.sentence.format(number=number, **names),
        details=series_details(payload, title, zone),
        sessions=[line(session) for session in payload.series],
        invitation=Invitation(entries, "PUBLISH"),
    )


def _invitation(message: Message, payload: AppointmentPayload, title: str, identity: SenderIdentity) -> Invitation:
    is_tentative = STATUS[payload.appointment.status] == "TENTATIVE"
    attendees = [
        Attendee(payload.client.name, payload.client.email),
        Attendee(payload.coach.name, payload.coach.email, "NEEDS-ACTION" if is_tentative else "ACCEPTED"),
    ]
    entry = _entry(message, payload.appointment, title, identity, attendees)
    return Invitation([entry], "CANCEL" if message.message_type is MessageType.BOOKING_CANCELLED else "REQUEST")


def _entry(
    message: Message,
    session: SessionPayload,
    title: str,
    identity: SenderIdentity,
    attendees: Sequence[Attendee],
) -> Entry:
    """This service is the organiser of both entries: calendars ignore changes to entries that their owner organises."""
    sender = identity.sender
    return Entry(
        uid=session.uid or appointment_uid(session.id, identity.host),
        sequence=session.sequence,
        stamp=message.occurred_at,
        starts_at=session.starts_at,
        ends_at=session.ends_at,
        status=STATUS[session.status],
        summary=title,
        description=described(session.notes, session.meeting_link, f"Booking {session.id}"),
        location=None,
        url=session.meeting_link,
        organizer=Organizer(sender.display_name or sender.addr_spec, sender.addr_spec),
        attendees=attendees,
    )
