"""Everything about reminders, put together around a clock that tests set and a real mail server."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import asyncpg
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from application.bookings.completion import CompleteBookings
from application.notifications.change_mails import QueueChangeMails
from application.notifications.ports import ReminderQueries
from application.notifications.reminders import MailWithReminders, QueueReminders
from application.outbox.delivery import DeliverMessages
from application.ports import PageRequest
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import User, UserId
from domain.availability import MINUTES_A_DAY, Availability, Hours
from domain.events import EventId
from domain.ids import AppointmentId, BookingId, PayableRef
from domain.money import Money
from domain.outbox import Destination, MessageId, RetrySchedule
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure import container
from infrastructure.container import Container
from infrastructure.email.composer import EmailSender, MailComposer
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from infrastructure.postgres.reminders.repository import PostgresReminderResults
from infrastructure.settings import Settings
from servicekit.mail_transport import SmtpTransport
from servicekit.smtp_server import smtp_server
from tests.support.load import many_users
from tests.support.messages import deliver_due
from tests.support.without_locks import units_with

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")
_OPEN_ALL_DAY = Availability(weekly=dict.fromkeys(range(7), (Hours(0, MINUTES_A_DAY),)))

Row = tuple[float, str, str | None]
"""Hours before the start, status, reason."""


@dataclass
class SettableClock:
    """A clock that stands still until it is set."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.moment


class Inbox:
    """A mail server's handler. `unavailable`: rejects every mail temporarily."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.unavailable = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.unavailable:
            return "451 come back later"
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    def subjects(self, person: User) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails if person.email in str(mail["To"])]


@dataclass
class ReminderHarness:
    """`parts` are those of an API process; their clock is `clock`."""

    parts: Container
    records: asyncpg.Connection
    clock: SettableClock
    inbox: Inbox
    smtp_url: str
    tries: int = 50
    """How often a mail is tried before it is dead."""
    transports: list[SmtpTransport] = field(default_factory=list)

    async def people(self, number: int, role: str = "user") -> list[User]:
        members = await many_users(self.records, number, role=role)
        async with self.parts.open_work() as work:
            return [await work.users.get(UserId(member.id)) for member in members]

    async def person(self, role: str = "user") -> User:
        return (await self.people(1, role))[0]

    async def event(self, host: User, starts_in: timedelta, *, capacity: int = 10, lasts: timedelta = HOUR) -> EventId:
        event_id = await self.records.fetchval(
            """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price,
                   currency, virtual_link)
               VALUES ($1, 'Yoga', '', 'session', $2, $3, $4, 0, 'INR', 'https://meet.example.com/yoga')
               RETURNING id""",
            *(host.id, self.clock.now() + starts_in, self.clock.now() + starts_in + lasts, capacity),
        )
        return EventId(event_id)

    async def book(self, person: User, event_id: EventId) -> BookingId:
        return (await self.parts.use_cases.book_seat(person, event_id, None)).reserved.id

    async def a_booking(self, starts_in: timedelta) -> tuple[User, BookingId]:
        """A user with a seat in a new event."""
        event_id = await self.event(await self.person("facilitator"), starts_in)
        person = await self.person()
        return person, await self.book(person, event_id)

    async def move(self, host: User, event_id: EventId, by: timedelta) -> None:
        def later(details: Any) -> Any:
            return replace(details, interval=Interval(details.interval.starts_at + by, details.interval.ends_at + by))

        await self.parts.use_cases.update_event(host, event_id, later)

    async def coach(self) -> User:
        """A coach whose time is free of charge and bookable at any hour."""
        coach = await self.person("facilitator")
        async with self.parts.open_work() as work:
            await work.coaches.save(
                coach.id, _OPEN_ALL_DAY, Money(Decimal(0), "INR"), RefundPolicy.of(()), self.clock.now()
            )
            await work.commit()
        return coach

    async def session(self, client: User, coach: User, starts_in: timedelta) -> AppointmentId:
        book = self.parts.appointment.book_appointment
        return (await book(client, coach.uuid, self.clock.now() + starts_in, HOUR, None)).appointment.id

    async def rows(self, of: PayableRef, person: User | None = None) -> list[Row]:
        """Those of one person, or of all; the first to come first."""
        book = PostgresReminderQueries(self.parts.database)
        return [
            (view.before / HOUR, view.status, view.reason)
            for view in (await book.list_of(of, PageRequest())).items
            if person is None or view.user_name == person.name
        ]

    async def queue(self, open_work: OpenUnitOfWork | None = None) -> int:
        return await QueueReminders(open_work or self.parts.open_work, self.parts.wake_ups, self.clock)()

    async def queue_change_mails(self, open_work: OpenUnitOfWork | None = None) -> int:
        return await QueueChangeMails(open_work or self.parts.open_work, self.parts.wake_ups, self.clock)()

    async def complete(self, open_work: OpenUnitOfWork | None = None) -> int:
        return await CompleteBookings(open_work or self.parts.open_work, self.parts.wake_ups, self.clock)()

    def units(self, **parts: Callable[..., Any]) -> OpenUnitOfWork:
        """Units of work with some of their parts replaced."""
        usual: Any = self.parts.open_work
        settings = self.parts.settings
        return units_with(**parts)(
            self.parts.database,
            usual._routes,
            self.clock,
            lambda: None,
            reminder_offsets=settings.reminder_offsets,
            change_mail_window=timedelta(minutes=settings.change_mail_merge_minutes),
        )

    async def deliver(self, book: ReminderQueries | None = None) -> None:
        """Tries every pending mail once."""
        await self.records.execute("UPDATE outbox SET due_at = now() WHERE status = 'pending'")
        await self.records.execute("DELETE FROM destinations")
        await self.records.execute("DELETE FROM destination_minutes")
        database = self.parts.database
        due = DeliverMessages(
            PostgresOutboxClaims(database),
            PostgresCircuitBreakers(database),
            {Destination.EMAIL: self.sender(book)},
            RetrySchedule((timedelta(0), *[HOUR] * (self.tries - 1))),
        )
        await deliver_due(due, Destination.EMAIL)

    def sender(self, book: ReminderQueries | None = None) -> MailWithReminders:
        book = book or PostgresReminderQueries(self.parts.database)
        self.transports.append(SmtpTransport(smtp_server(self.smtp_url)))
        sender = EmailSender(COMPOSER, self.transports[-1])
        return MailWithReminders(sender, book, PostgresReminderResults(self.parts.database), self.clock)

    async def reminder_messages(self) -> Sequence[Any]:
        return await self.records.fetch("SELECT * FROM outbox WHERE fact = 'booking_reminder' ORDER BY seq")

    async def reminder_message(self) -> MessageId:
        """The message of the only reminder that was queued."""
        [row] = await self.reminder_messages()
        return MessageId(row["id"])

    async def pass_(self, time: timedelta) -> None:
        """Time passes, and a worker looks what is due and delivers it."""
        self.clock.moment += time
        await self.queue()
        await self.deliver()


@asynccontextmanager
async def reminder_harness(settings: Settings, records: asyncpg.Connection) -> AsyncIterator[ReminderHarness]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    inbox, clock = Inbox(), SettableClock()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    parts = container.build(settings, container.Substitutes(clock=clock))
    harness = ReminderHarness(parts, records, clock, inbox, f"smtp://127.0.0.1:{port}")
    try:
        yield harness
    finally:
        for transport in harness.transports:
            await transport.close()
        await parts.close()
        server.stop()
