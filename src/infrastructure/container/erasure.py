"""Composition of the erasure of accounts in the worker."""

from collections.abc import Sequence

from application.appointments.changes import CancelAppointment
from application.bookings.cancellation import CancelBooking
from application.calendars.removal import RemoveCalendars
from application.erasure.steps import CarryOutErasures
from application.events.management import CancelEvent
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from infrastructure.container.calendars import Calendars
from infrastructure.container.foundation import audit_trails
from infrastructure.container.payments import Money
from infrastructure.email.stored_mails import MailFilesAbout
from infrastructure.gateways import sandbox
from infrastructure.postgres import idempotency, live_updates
from infrastructure.postgres.accounts import erasure as accounts
from infrastructure.postgres.appointments import erasure as appointments
from infrastructure.postgres.bookings import erasure as bookings
from infrastructure.postgres.calendars import erasure as calendar_tables
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.repository import ERASED
from infrastructure.postgres.erasure.store import PostgresErasureStore
from infrastructure.postgres.events import erasure as events
from infrastructure.postgres.outbox import erasure as outbox
from infrastructure.postgres.payments import erasure as payments
from infrastructure.settings import Settings
from servicekit.mail_transport import mail_directory

STATEMENTS: Sequence[str] = (
    *outbox.ERASE,
    *live_updates.ERASE,
    *sandbox.ERASE,
    *payments.ERASE,
    *appointments.ERASE,
    *bookings.ERASE,
    *events.ERASE,
    *outbox.ERASE_CHANGE_MAILS,
    *calendar_tables.ERASE,
    *idempotency.ERASE,
    *accounts.ERASE,
    *ERASED,
)
"""What erases a person, in the order of execution: messages are found by the addresses in the tables below."""


def build_erasures(
    settings: Settings,
    database: Database,
    open_work: OpenUnitOfWork,
    money: Money,
    calendars: Calendars,
    wake_ups: WakeUps,
    clock: Clock,
) -> CarryOutErasures:
    return CarryOutErasures(
        open_work=open_work,
        store=PostgresErasureStore(database, STATEMENTS, audit_trails(settings)),
        cancel_booking=CancelBooking(open_work, money.refunds, wake_ups, clock),
        cancel_appointment=CancelAppointment(open_work, money.refunds, wake_ups, clock),
        cancel_event=CancelEvent(open_work, wake_ups, clock),
        remove_calendars=RemoveCalendars(open_work, calendars.access, calendars.disconnect_calendar),
        mails=MailFilesAbout(mail_directory(settings.convene_data)),
        wake_ups=wake_ups,
        clock=clock,
    )
