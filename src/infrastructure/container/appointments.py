"""Composition of appointments for web and worker."""

from dataclasses import dataclass

from application.appointments.attachments import Attach, DeleteAttachment, DownloadAttachment, ListAttachments
from application.appointments.availability import SetAvailability, ShowOwnAvailability, ShowSlots
from application.appointments.booking import BookAppointment, ReserveTime
from application.appointments.changes import (
    CancelAppointment,
    ChangeAppointmentStatus,
    RescheduleAppointment,
    UpdateAppointmentNotes,
)
from application.appointments.hold_expiry import ExpireAppointmentHolds
from application.appointments.payment import AppointmentPayment, RecordAppointmentPayment
from application.appointments.ports import AppointmentQueries, BusyTimes, CoachQueries
from application.appointments.queries import ListAppointments, ShowAppointment
from application.appointments.series import BookSeries
from application.appointments.statistics import ShowCoachStatistics
from application.notifications.reminders import ShowAppointmentReminders
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.attachments import AttachmentQuota
from domain.unverified_mail import EmailVerification
from infrastructure.container.calendars import Calendars
from infrastructure.container.payments import Money
from infrastructure.postgres.appointments.attachments import PostgresAttachmentQueries
from infrastructure.postgres.appointments.coach_queries import PostgresCoachQueries
from infrastructure.postgres.appointments.queries import PostgresAppointmentQueries
from infrastructure.postgres.appointments.statistics import PostgresCoachStatistics
from infrastructure.postgres.engine import Database
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from infrastructure.recurrence_rules import RecurrenceRules


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Appointment:
    """Use cases and queries of appointments. HTTP handlers receive them by type."""

    book_appointment: BookAppointment
    show_appointment: ShowAppointment
    show_appointment_reminders: ShowAppointmentReminders
    list_appointments: ListAppointments
    change_appointment_status: ChangeAppointmentStatus
    cancel_appointment: CancelAppointment
    reschedule_appointment: RescheduleAppointment
    update_appointment_notes: UpdateAppointmentNotes
    appointment_payment: AppointmentPayment
    record_appointment_payment: RecordAppointmentPayment
    appointment_queries: AppointmentQueries
    coach_queries: CoachQueries
    busy_times: BusyTimes
    show_slots: ShowSlots
    show_own_availability: ShowOwnAvailability
    set_availability: SetAvailability
    show_coach_statistics: ShowCoachStatistics
    book_series: BookSeries
    attach: Attach
    list_attachments: ListAttachments
    download_attachment: DownloadAttachment
    delete_attachment: DeleteAttachment
    expire_appointment_holds: ExpireAppointmentHolds


def build_appointments(
    database: Database,
    open_work: OpenUnitOfWork,
    money: Money,
    calendars: Calendars,
    wake_ups: WakeUps,
    clock: Clock,
    *,
    default_currency: str,
    attachment_quota: AttachmentQuota,
    verification: EmailVerification = EmailVerification.LIMITED,
) -> Appointment:
    reader = PostgresAppointmentQueries(database)
    attachments = PostgresAttachmentQueries(database)
    busy_times: BusyTimes = calendars.busy_times
    reserve = ReserveTime(money.gateways.chosen, money.hold_for, clock, money.hold_limits, verification)
    payment = AppointmentPayment(money.open_checkout, reader)
    cancel = CancelAppointment(open_work, money.refunds, wake_ups, clock)
    return Appointment(
        book_appointment=BookAppointment(open_work, reserve, busy_times, payment, reader, wake_ups, clock),
        show_appointment=ShowAppointment(reader),
        show_appointment_reminders=ShowAppointmentReminders(ShowAppointment(reader), PostgresReminderQueries(database)),
        list_appointments=ListAppointments(reader),
        change_appointment_status=ChangeAppointmentStatus(open_work, cancel, reader, wake_ups, clock),
        cancel_appointment=cancel,
        reschedule_appointment=RescheduleAppointment(open_work, busy_times, reader, wake_ups, clock, verification),
        update_appointment_notes=UpdateAppointmentNotes(open_work, reader, clock),
        appointment_payment=payment,
        record_appointment_payment=RecordAppointmentPayment(money.record_offline_payment, reader),
        appointment_queries=reader,
        coach_queries=PostgresCoachQueries(database, default_currency),
        busy_times=busy_times,
        show_slots=ShowSlots(open_work, busy_times, clock),
        show_own_availability=ShowOwnAvailability(open_work),
        set_availability=SetAvailability(open_work, money.gateways.chosen, clock),
        show_coach_statistics=ShowCoachStatistics(open_work, PostgresCoachStatistics(database), clock),
        book_series=BookSeries(open_work, reserve, busy_times, RecurrenceRules(), payment, reader, wake_ups, clock),
        attach=Attach(open_work, attachments, clock, attachment_quota),
        list_attachments=ListAttachments(attachments, reader),
        download_attachment=DownloadAttachment(attachments, reader),
        delete_attachment=DeleteAttachment(open_work, clock),
        expire_appointment_holds=ExpireAppointmentHolds(open_work, reader, wake_ups, clock),
    )
