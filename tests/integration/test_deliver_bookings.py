"""What the API really writes into the outbox, carried to the CRM and into mail."""

from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path

from application.outbox.delivery import DeliverMessages
from application.outbox.ports import Sender
from domain.outbox import Destination, RetrySchedule
from infrastructure.delivery.crm import CrmSender
from infrastructure.email.composer import EmailSender, MailComposer
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from servicekit.mail_transport import FileTransport
from tests.support.messages import deliver_due
from tests.support.people import People
from tests.support.receivers import receiving


async def test_bookings_moves_and_cancellations_reach_crm_and_inbox_in_order(
    people: People, database_url: str, tmp_path: Path
) -> None:
    facilitator, ada, bob = await people.facilitator(), await people.user("Ada"), await people.user("Bob")
    event = await facilitator.creates_event(title="Yoga")
    booking = await ada.books(event["id"])
    await bob.books(event["id"])
    assert (await facilitator.put(f"/events/{event['id']}", {"location": "Garden"})).is_success
    assert (await ada.post(f"/bookings/{booking['id']}/cancel")).is_success
    assert (await facilitator.delete(f"/events/{event['id']}")).is_success

    own = Database(database_url)
    async with receiving() as crm:
        sender = CrmSender(crm.url, "t")
        mail = EmailSender(
            MailComposer(mail_from="no-reply@convene.example", public_url="https://book.example"),
            FileTransport(tmp_path),
        )
        senders: dict[Destination, Sender] = {Destination.CRM: sender, Destination.EMAIL: mail}
        due = DeliverMessages(
            PostgresOutboxClaims(own), PostgresCircuitBreakers(own), senders, RetrySchedule((timedelta(0),))
        )
        for destination in senders:
            await deliver_due(due, destination)
        async with own.connection() as connection:
            lost = await connection.fetch(
                "SELECT fact, last_error FROM outbox WHERE status <> 'delivered' AND destination = ANY($1)", [*senders]
            )
        await sender.close()
    await own.close()

    assert lost == []
    about_ada = [request.json for request in crm.requests if request.json["booking_id"] == booking["id"]]
    assert [body["action"] for body in about_ada] == ["booking_created", "booking_cancelled"]
    assert [body["status"] for body in about_ada] == ["confirmed", "cancelled"]
    assert about_ada[0]["event"]["price"] == 30.0
    assert about_ada[0]["facilitator"]["email"] == facilitator.email
    about_event = [request.json["action"] for request in crm.requests if request.json["booking_id"] is None]
    assert about_event[-2:] == ["event_updated", "event_cancelled"]
    assert _subjects(tmp_path, ada.email) == {"You are booked: Yoga", "New place: Yoga", "Booking cancelled: Yoga"}
    assert _subjects(tmp_path, bob.email) == {"You are booked: Yoga", "New place: Yoga", "Cancelled: Yoga"}


def _subjects(directory: Path, recipient: str) -> set[str]:
    mails = [message_from_bytes(path.read_bytes(), policy=default) for path in directory.glob("*.eml")]
    return {mail["Subject"] for mail in mails if recipient in mail["To"]}
