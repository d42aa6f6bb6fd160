"""Composition of the delivery of messages for the worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from application.accounts.email_change_mails import MailWithEmailChangeLinks
from application.accounts.mails import MailWithAccountTokens
from application.appointments.hold_expiry import ExpireAppointmentHolds
from application.audit.chain import ExtendAuditChain
from application.audit.start import RecordSettings
from application.bookings.completion import CompleteBookings
from application.bookings.invitations import ExpireInvitations
from application.erasure.steps import CarryOutErasures
from application.notifications.change_mails import QueueChangeMails
from application.notifications.erased_mail import MailToErased
from application.notifications.payment_links import MailWithPaymentLinks
from application.notifications.reminders import MailWithReminders, QueueReminders
from application.notifications.unverified_mail import MailToUnverified
from application.outbox.delivery import DeliverMessages
from application.outbox.held import ReleaseHeldMessages
from application.outbox.ports import Sender
from application.ports import Clock
from domain.account_urls import AccountUrls
from domain.outbox import Destination, RetrySchedule, routes_for
from infrastructure.container.calendars import Calendars, build_calendars
from infrastructure.container.erasure import build_erasures
from infrastructure.container.foundation import (
    PRODUCTION,
    Substitutes,
    invitation_tokens,
    recorded_settings,
    request_tokens,
    served,
    units_of_work,
)
from infrastructure.container.payments import Money, build_gateways, build_money
from infrastructure.container.retention import Prune, build_pruning
from infrastructure.delivery.crm import CrmSender
from infrastructure.delivery.email_service import EmailServiceSender
from infrastructure.delivery.http import MessageSender
from infrastructure.delivery.live_updates import LiveUpdateSender
from infrastructure.delivery.notification_service import NotificationServiceSender
from infrastructure.email.composer import EmailSender, MailComposer
from infrastructure.email.invitation_mail import InvitationLinks
from infrastructure.icalendar.components import uid_host
from infrastructure.observability.metrics import Metrics
from infrastructure.observability.tracing import TracedSender, Traces
from infrastructure.postgres.accounts.unverified_addresses import PostgresUnverifiedAddresses
from infrastructure.postgres.appointments.queries import PostgresAppointmentQueries
from infrastructure.postgres.audit.chain import PostgresAuditChain
from infrastructure.postgres.backfill import Backfill
from infrastructure.postgres.bookings.backfill import FACILITATOR_ID
from infrastructure.postgres.calendars.identity import PostgresCalendarIdentity
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.backfill import FACILITATOR_INACTIVE
from infrastructure.postgres.events.facilitator_counts import FacilitatorCounts
from infrastructure.postgres.live_updates import PostgresLiveUpdates
from infrastructure.postgres.outbox.booked_sessions import PostgresBookedSessions
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.outbox.held import PostgresHeldMessages
from infrastructure.postgres.outbox.ordering import PostgresOrderingKeys
from infrastructure.postgres.payments.queries import PostgresPaymentQueries
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from infrastructure.postgres.reminders.repository import PostgresReminderResults
from infrastructure.postgres.statistics import DeliveryCounts
from infrastructure.redis.wake_ups import RedisWakeUps
from infrastructure.settings import Settings
from servicekit.clock import DatabaseClock
from servicekit.log_errors import error_text
from servicekit.mail_transport import mail_directory, mail_transport
from servicekit.retention import MailFiles
from servicekit.time_zones import use_newest_time_zones


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DeliveryParts:
    """The parts that deliver messages."""

    database: Database
    deliver_due: DeliverMessages
    outside_senders: Sequence[MessageSender | EmailSender]
    money: Money
    queue_reminders: QueueReminders
    queue_change_mails: QueueChangeMails
    complete_bookings: CompleteBookings
    fill_facilitator_active: Backfill
    fill_facilitators_of_bookings: Backfill
    facilitator_counts: FacilitatorCounts
    expire_invitations: ExpireInvitations
    release_held: ReleaseHeldMessages
    carry_out_erasures: CarryOutErasures
    extend_audit_chain: ExtendAuditChain
    record_settings: RecordSettings
    expire_appointment_holds: ExpireAppointmentHolds
    calendars: Calendars
    wake_ups: RedisWakeUps
    counts: DeliveryCounts
    ordering_keys: PostgresOrderingKeys
    pruning: Mapping[str, Prune]
    mail_files: MailFiles
    live_feed: LiveUpdateSender
    calendar_identity: PostgresCalendarIdentity
    traces: Traces
    metrics: Metrics
    database_clock: DatabaseClock

    async def close(self) -> None:
        await self.traces.close()
        await self.wake_ups.close()
        await self.live_feed.close()
        await self.money.gateways.close()
        await self.calendars.services.close()
        for sender in self.outside_senders:
            await sender.close()
        await self.database.close()


def build_deliveries(settings: Settings, substitutes: Substitutes = PRODUCTION) -> DeliveryParts:
    """Opens nothing, as `build`. Raises `SettingsError` for a mail server's address that cannot be used."""
    use_newest_time_zones()
    metrics = Metrics()
    database = Database(
        settings.database_url,
        pool_size=settings.worker_database_pool_size,
        timeout=settings.database_timeout_seconds,
        pooler=settings.pooler,
        watch=metrics,
    )
    routes = routes_for(served(settings))
    database_clock = DatabaseClock(database.connection)
    clock = substitutes.clock or database_clock
    wake_ups = RedisWakeUps(settings.redis_url)
    open_work = units_of_work(settings, database, routes, clock, substitutes)
    gateways, sandbox = build_gateways(settings, database, clock, substitutes.gateway)
    money = build_money(settings, database, open_work, gateways, sandbox, wake_ups, clock)
    calendars = build_calendars(settings, database, open_work, wake_ups, clock)
    live_feed = LiveUpdateSender(
        PostgresLiveUpdates(database),
        Redis.from_url(settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5),
    )
    outside = _senders(settings, clock)
    senders: dict[Destination, Sender] = {
        **outside,
        Destination.EMAIL: MailToErased(
            MailWithReminders(
                MailWithPaymentLinks(
                    MailWithAccountTokens(
                        MailWithEmailChangeLinks(
                            MailToUnverified(
                                outside[Destination.EMAIL],
                                PostgresUnverifiedAddresses(database),
                                PostgresBookedSessions(database),
                                open_work,
                                clock,
                            ),
                            open_work,
                            request_tokens(settings),
                            clock,
                        ),
                        open_work,
                        clock,
                    ),
                    PostgresPaymentQueries(database),
                    clock,
                    tries=len(settings.delivery_retry_schedule),
                ),
                PostgresReminderQueries(database),
                PostgresReminderResults(database),
                clock,
            )
        ),
        Destination.PAYMENTS: money.jobs,
        Destination.CALENDAR: calendars.jobs,
        Destination.REALTIME: live_feed,
    }
    outbox = PostgresOutboxClaims(database)
    traces = Traces(settings.otel_exporter_otlp_endpoint, "worker")
    deliver_due = DeliverMessages(
        outbox=outbox,
        circuit_breakers=PostgresCircuitBreakers(database),
        senders={destination: TracedSender(sender, traces) for destination, sender in senders.items()},
        schedule=RetrySchedule(tuple(timedelta(seconds=delay) for delay in settings.delivery_retry_schedule)),
        text_of=error_text,
    )
    return DeliveryParts(
        database=database,
        deliver_due=deliver_due,
        outside_senders=list(outside.values()),
        money=money,
        queue_reminders=QueueReminders(open_work, wake_ups, clock),
        queue_change_mails=QueueChangeMails(open_work, wake_ups, clock),
        complete_bookings=CompleteBookings(open_work, wake_ups, clock),
        fill_facilitator_active=Backfill(database, FACILITATOR_INACTIVE),
        fill_facilitators_of_bookings=Backfill(database, FACILITATOR_ID),
        facilitator_counts=FacilitatorCounts(database),
        expire_invitations=ExpireInvitations(open_work, clock),
        release_held=ReleaseHeldMessages(PostgresHeldMessages(database), wake_ups),
        carry_out_erasures=build_erasures(settings, database, open_work, money, calendars, wake_ups, clock),
        extend_audit_chain=ExtendAuditChain(PostgresAuditChain(database)),
        record_settings=RecordSettings(open_work, "worker", recorded_settings(settings)),
        expire_appointment_holds=ExpireAppointmentHolds(
            open_work, PostgresAppointmentQueries(database), wake_ups, clock
        ),
        calendars=calendars,
        wake_ups=wake_ups,
        counts=outbox.counts,
        ordering_keys=PostgresOrderingKeys(database),
        pruning=build_pruning(settings, database, metrics.pruned),
        mail_files=MailFiles(
            mail_directory(settings.convene_data),
            timedelta(days=settings.mail_file_retention_days),
            clock.now,
            metrics.pruned,
        ),
        live_feed=live_feed,
        calendar_identity=PostgresCalendarIdentity(database, uid_host(settings.public_url)),
        traces=traces,
        metrics=metrics,
        database_clock=database_clock,
    )


def _senders(settings: Settings, clock: Clock) -> dict[Destination, MessageSender | EmailSender]:
    """Senders to external services."""
    token = settings.backend_service_token
    signed: dict[str, Any] = {"signing_secrets": settings.delivery_signing_secrets, "now": clock.now}
    composer = MailComposer(
        mail_from=settings.mail_from,
        public_url=settings.public_url,
        smtputf8=settings.mail_smtputf8,
        invitation_links=InvitationLinks(settings.public_url, invitation_tokens(settings)),
        booking_url_template=settings.booking_url_template,
        account_urls=AccountUrls(
            settings.public_url,
            settings.verify_url_template,
            settings.reset_url_template,
            settings.email_change_url_template,
            settings.email_undo_url_template,
        ),
    )
    senders: dict[Destination, MessageSender | EmailSender] = {
        Destination.CRM: CrmSender(settings.crm_service_url, settings.crm_bearer_token, **signed)
    }
    if settings.email_service_url:
        senders[Destination.EMAIL] = EmailServiceSender(composer, settings.email_service_url, token, **signed)
    else:
        senders[Destination.EMAIL] = EmailSender(composer, mail_transport(settings.smtp_url, settings.convene_data))
    if settings.notification_service_url:
        senders[Destination.NOTIFICATION] = NotificationServiceSender(
            settings.notification_service_url, token, **signed
        )
    return senders
