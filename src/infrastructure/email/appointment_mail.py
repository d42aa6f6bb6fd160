"""The letters about coaching: one to the client and one to the coach, each in their own words and their own zone."""

from domain.appointments import AppointmentStatus
from domain.outbox import Message, MessageType
from infrastructure.delivery.appointment_payloads import AppointmentPayload, read_appointment
from infrastructure.email.content import LEAVES_CALENDARS, Invitation, Letter, SenderIdentity, Unmailable, shortened
from infrastructure.email.copy.appointments import button, facts, words
from infrastructure.icalendar.components import Attendee, Entry, Organizer, Status, appointment_uid, described
from servicekit.local_times import reading_zone
from servicekit.text import isolated

STATUS: dict[AppointmentStatus, Status] = {
    AppointmentStatus.PENDING: "TENTATIVE",
    AppointmentStatus.CONFIRMED: "CONFIRMED",
    AppointmentStatus.COMPLETED: "CONFIRMED",
    AppointmentStatus.CANCELLED: "CANCELLED",
}


def appointment_email(message: Message, identity: SenderIdentity) -> Letter:
    """Raises `Unmailable`."""
    then = read_appointment(message)
    wording = words(message.message_type, then)
    if wording is None or then.recipient is None:
        raise Unmailable(f"no mail is written about {message.message_type} to {then.recipient}")
    recipient, other = (then.coach, then.client) if then.recipient == "coach" else (then.client, then.coach)
    appointment_with = "Coaching with "
    title = appointment_with + isolated(other.name)
    is_live = then.appointment.status in {AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}
    named = {"client": isolated(then.client.name), "coach": isolated(then.coach.name), "money": then.money}
    return Letter(
        recipient=recipient,
        reply_to=other,
        subject=wording.subject.format(title=shortened(other.name, appointment_with)),
        headline=wording.headline,
        sentence=wording.sentence.format(**named),
        facts=facts(message.message_type, then, title, reading_zone(recipient.timezone), message.occurred_at),
        button=button(message.message_type, then),
        booking_link=identity.booking_link(str(then.appointment.id), is_live=is_live)
        if recipient is then.client
        else None,
        invitation=None if message.message_type in LEAVES_CALENDARS else _invitation(message, then, title, identity),
    )


def _invitation(message: Message, then: AppointmentPayload, title: str, identity: SenderIdentity) -> Invitation:
    """We invite both: a calendar that is told its owner organises an entry takes no changes from elsewhere."""
    session, status = then.appointment, STATUS[then.appointment.status]
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
            Attendee(then.client.name, then.client.email),
            Attendee(then.coach.name, then.coach.email, "NEEDS-ACTION" if status == "TENTATIVE" else "ACCEPTED"),
        ],
    )
    return Invitation(entry, "CANCEL" if message.message_type is MessageType.BOOKING_CANCELLED else "REQUEST")
