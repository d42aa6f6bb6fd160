"""Everything that hands over what is owed, put together once for the worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from application.bookings.completion import CompleteBookings
from application.bookings.invitations import ExpireInvitations
from application.idempotency import ForgetKeys
from application.notifications.payment_links import MailWithPaymentLinks
from application.notifications.reminders import MailWithReminders, QueueReminders
from application.outbox.delivery import DeliverDue
from application.outbox.ports import Courier
from domain.outbox import Destination, RetrySchedule, owed_to
from infrastructure.clock import SystemClock
from infrastructure.container.appointments import Coaching, build_coaching
from infrastructure.container.calendars import Calendars, build_calendars
from infrastructure.container.foundation import invitation_tokens, served, units_of_work
from infrastructure.container.payments import Money, build_gateways, build_money
from infrastructure.delivery.crm import CrmCourier
from infrastructure.delivery.email_service import EmailServiceCourier
from infrastructure.delivery.http import HttpCourier
from infrastructure.delivery.live_updates import LiveFeedCourier
from infrastructure.delivery.notification_service import NotificationCourier
from infrastructure.email.composer import MailComposer, MailCourier
from infrastructure.email.files import MailFiles
from infrastructure.email.invitation_mail import InvitationLinks
from infrastructure.email.smtp import SmtpPost
from infrastructure.icalendar.components import uid_host
from infrastructure.observability.tracing import Accompanied, Traces
from infrastructure.postgres.bookings.seats import PostgresPlaces
from infrastructure.postgres.calendars.identity import PostgresCalendarIdentity
from infrastructure.postgres.engine import Database
from infrastructure.postgres.idempotency import PostgresIdempotencyKeys
from infrastructure.postgres.live_updates import PostgresFeed
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuits
from infrastructure.postgres.outbox.claims import PostgresDueMessages
from infrastructure.postgres.outbox.ordering import PostgresLanes
from infrastructure.postgres.outbox.retention import PostgresRetention
from infrastructure.postgres.payments.queries import PostgresPaymentReader
from infrastructure.postgres.reminders.queries import PostgresReminderBook
from infrastructure.postgres.statistics import DeliveryCounts
from infrastructure.redis.wake_ups import RedisWakeUps
from infrastructure.settings import Settings
from servicekit.time_zones import use_newest_time_zones


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """What hands over what is owed."""

    database: Database
    deliver_due: DeliverDue
    http_couriers: Sequence[HttpCourier]
    money: Money
    forget_keys: ForgetKeys
    queue_reminders: QueueReminders
    complete_bookings: CompleteBookings
    expire_invitations: ExpireInvitations
    coaching: Coaching
    calendars: Calendars
    wake_ups: RedisWakeUps
    counts: DeliveryCounts
    lanes: PostgresLanes
    retention: PostgresRetention
    live_feed: LiveFeedCourier
    feed: PostgresFeed
    calendar_identity: PostgresCalendarIdentity
    traces: Traces

    async def close(self) -> None:
        await self.traces.close()
        await self.wake_ups.close()
        await self.live_feed.close()
        await self.money.gateways.close()
        await self.calendars.services.close()
        for courier in self.http_couriers:
            await courier.close()
        await self.database.close()


def build_deliveries(settings: Settings) -> DeliveryParts:
    """Opens nothing, as `build`. Raises `SettingsError` for a mail server's address that cannot be used."""
    use_newest_time_zones()
    # A worker serves every destination at the same time.
    database = Database(settings.database_url, pool_size=3 * settings.database_pool_size)
    owed = owed_to(served(settings))
    clock = SystemClock()
    wake_ups = RedisWakeUps(settings.redis_url)
    open_work = units_of_work(settings, database, owed, clock)
    gateways, sandbox = build_gateways(settings, database)
    places = PostgresPlaces(database, gateway=gateways.chosen.name)
    money = build_money(settings, database, open_work, places, gateways, sandbox, wake_ups, clock)
    calendars = build_calendars(settings, database, open_work, wake_ups, clock)
    feed = PostgresFeed(database)
    live_feed = LiveFeedCourier(
        feed, Redis.from_url(settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
    )
    outside = _couriers(settings)
    couriers = outside | {
        Destination.EMAIL: MailWithReminders(
            MailWithPaymentLinks(
                outside[Destination.EMAIL],
                PostgresPaymentReader(database),
                clock,
                tries=len(settings.delivery_retry_schedule),
            ),
            PostgresReminderBook(database),
            clock,
        ),
        Destination.PAYMENTS: money.errands,
        Destination.CALENDAR: calendars.errands,
        Destination.REALTIME: live_feed,
    }
    outbox = PostgresDueMessages(database)
    traces = Traces(settings.otel_exporter_otlp_endpoint, "worker")
    deliver_due = DeliverDue(
        outbox=outbox,
        circuits=PostgresCircuits(database),
        couriers={destination: Accompanied(courier, traces) for destination, courier in couriers.items()},
        schedule=RetrySchedule(tuple(timedelta(seconds=delay) for delay in settings.delivery_retry_schedule)),
    )
    return DeliveryParts(
        database=database,
        deliver_due=deliver_due,
        http_couriers=[courier for courier in outside.values() if isinstance(courier, HttpCourier)],
        money=money,
        forget_keys=ForgetKeys(PostgresIdempotencyKeys(database)),
        queue_reminders=QueueReminders(open_work, wake_ups, clock),
        complete_bookings=CompleteBookings(open_work, wake_ups, clock),
        expire_invitations=ExpireInvitations(open_work, clock),
        coaching=build_coaching(
            database, open_work, money, calendars, wake_ups, clock, default_currency=settings.default_currency
        ),
        calendars=calendars,
        wake_ups=wake_ups,
        counts=outbox.counts,
        lanes=PostgresLanes(database),
        retention=PostgresRetention(database, days=settings.delivered_retention_days),
        live_feed=live_feed,
        feed=feed,
        calendar_identity=PostgresCalendarIdentity(database, uid_host(settings.public_url)),
        traces=traces,
    )


def _couriers(settings: Settings) -> dict[Destination, Courier]:
    """Those who talk to services outside of this house."""
    token, secrets = settings.backend_service_token, settings.delivery_signing_secrets
    composer = MailComposer(
        mail_from=settings.mail_from,
        public_url=settings.public_url,
        smtputf8=settings.mail_smtputf8,
        invitation_links=InvitationLinks(settings.public_url, invitation_tokens(settings)),
        booking_url_template=settings.booking_url_template,
    )
    couriers: dict[Destination, Courier] = {
        Destination.CRM: CrmCourier(settings.crm_service_url, settings.crm_bearer_token, signing_secrets=secrets)
    }
    if settings.email_service_url:
        couriers[Destination.EMAIL] = EmailServiceCourier(
            composer, settings.email_service_url, token, signing_secrets=secrets
        )
    else:
        post = SmtpPost(settings.smtp_url) if settings.smtp_url else MailFiles(settings.convene_data / "mail")
        couriers[Destination.EMAIL] = MailCourier(composer, post)
    if settings.notification_service_url:
        couriers[Destination.NOTIFICATION] = NotificationCourier(
            settings.notification_service_url, token, signing_secrets=secrets
        )
    return couriers
