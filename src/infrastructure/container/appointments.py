"""Everything that deals with coaching, put together once for web and worker. The HTTP edge offers each part under its
field's name."""

from dataclasses import dataclass

from application.appointments.attachments import Attach, DeleteAttachment, DownloadAttachment, ListAttachments
from application.appointments.availability import SetAvailability, ShowOwnAvailability, ShowSlots
from application.appointments.booking import BookCoaching, ReserveTime
from application.appointments.changes import CancelCoaching, ChangeCoachingStatus, MoveCoaching, NoteCoaching
from application.appointments.hold_expiry import ExpireCoachingHolds
from application.appointments.payment import CoachingPayment, RecordCoachingPayment
from application.appointments.ports import BusyTimes, CoachingReader, CoachReader
from application.appointments.queries import ListCoachings, ShowCoaching
from application.appointments.series import BookSeries
from application.appointments.statistics import ShowCoachFigures
from application.notifications.reminders import ShowCoachingReminders
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from infrastructure.container.calendars import Calendars
from infrastructure.container.payments import Money
from infrastructure.postgres.appointments.attachments import PostgresAttachmentReader
from infrastructure.postgres.appointments.coach_queries import PostgresCoachReader
from infrastructure.postgres.appointments.queries import PostgresCoachingReader
from infrastructure.postgres.appointments.statistics import PostgresCoachFigures
from infrastructure.postgres.engine import Database
from infrastructure.postgres.reminders.queries import PostgresReminderBook
from infrastructure.recurrence_rules import RecurrenceRules


@dataclass(frozen=True, slots=True)
class Coaching:
    """The parts that deal with coaching."""

    book_coaching: BookCoaching
    show_coaching: ShowCoaching
    show_coaching_reminders: ShowCoachingReminders
    list_coachings: ListCoachings
    change_coaching_status: ChangeCoachingStatus
    cancel_coaching: CancelCoaching
    move_coaching: MoveCoaching
    note_coaching: NoteCoaching
    coaching_payment: CoachingPayment
    record_coaching_payment: RecordCoachingPayment
    coaching_reader: CoachingReader
    coach_reader: CoachReader
    busy_times: BusyTimes
    show_slots: ShowSlots
    show_own_availability: ShowOwnAvailability
    set_availability: SetAvailability
    show_coach_figures: ShowCoachFigures
    book_series: BookSeries
    attach: Attach
    list_attachments: ListAttachments
    download_attachment: DownloadAttachment
    delete_attachment: DeleteAttachment
    expire_coaching_holds: ExpireCoachingHolds


def build_coaching(
    database: Database,
    open_work: OpenUnitOfWork,
    money: Money,
    calendars: Calendars,
    wake_ups: WakeUps,
    clock: Clock,
    *,
    default_currency: str,
) -> Coaching:
    reader = PostgresCoachingReader(database)
    attachments = PostgresAttachmentReader(database)
    busy_times: BusyTimes = calendars.busy_times
    reserve = ReserveTime(money.gateways.chosen, money.hold_for, clock, money.hold_limits)
    payment = CoachingPayment(money.ask_for_payment, reader)
    cancel = CancelCoaching(open_work, money.refunds, wake_ups, clock)
    return Coaching(
        book_coaching=BookCoaching(open_work, reserve, busy_times, payment, reader, wake_ups, clock),
        show_coaching=ShowCoaching(reader),
        show_coaching_reminders=ShowCoachingReminders(ShowCoaching(reader), PostgresReminderBook(database)),
        list_coachings=ListCoachings(reader),
        change_coaching_status=ChangeCoachingStatus(open_work, cancel, reader, wake_ups, clock),
        cancel_coaching=cancel,
        move_coaching=MoveCoaching(open_work, busy_times, reader, wake_ups, clock),
        note_coaching=NoteCoaching(open_work, reader, clock),
        coaching_payment=payment,
        record_coaching_payment=RecordCoachingPayment(money.record_offline_payment, reader),
        coaching_reader=reader,
        coach_reader=PostgresCoachReader(database, default_currency),
        busy_times=busy_times,
        show_slots=ShowSlots(open_work, busy_times, clock),
        show_own_availability=ShowOwnAvailability(open_work),
        set_availability=SetAvailability(open_work, money.gateways.chosen, clock),
        show_coach_figures=ShowCoachFigures(open_work, PostgresCoachFigures(database), clock),
        book_series=BookSeries(open_work, reserve, busy_times, RecurrenceRules(), payment, reader, wake_ups, clock),
        attach=Attach(open_work, attachments, clock),
        list_attachments=ListAttachments(attachments, reader),
        download_attachment=DownloadAttachment(attachments, reader),
        delete_attachment=DeleteAttachment(open_work, clock),
        expire_coaching_holds=ExpireCoachingHolds(open_work, reader, wake_ups, clock),
    )
