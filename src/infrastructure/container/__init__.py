"""The composition root: every adapter and every use case is built here, once, for web, worker and CLI alike."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from application.accounts import (
    Authenticate,
    ChangePassword,
    GrantRole,
    LogIn,
    LogOut,
    Refresh,
    Register,
    RegisterAndLogIn,
    SetAccountActive,
    StartLogin,
    UpdateProfile,
)
from application.bookings import BookPlace, CancelBooking, CompleteBookings, ShowBooking
from application.callbacks import ConfirmPayment, HearOfFailure
from application.dead_letters import ReplayMessage, ReplayMessages
from application.deliveries import DeliverDue
from application.events import CancelEvent, CreateEvent, DeleteEvent, EventBookings, UpdateEvent
from application.feed import FollowFeed
from application.google import FinishGoogleSignIn, SignInWithGoogle, SignInWithGoogleToken, StartGoogleSignIn
from application.holds import AskForPayment
from application.idempotency import AnswerOnce, ForgetKeys
from application.oauth import OAuthAttempts
from application.payments import PayAtSandbox, RecordOfflinePayment, TakeGatewayEvent
from application.ports.deliveries import DeadLetters
from application.ports.messaging import Courier
from application.ports.persistence import OpenUnitOfWork
from application.ports.readers import BookingReader, EventReader, FacilitatorReader, Health
from application.ports.security import RateLimiter
from application.ports.system import Clock
from application.refunds import ShowCancellation
from application.reminders import MailWithReminders, QueueReminders, ShowBookingReminders
from application.reviews import ListReviews, WriteReview
from domain.messages import ALWAYS_SERVED, Destination, Fact, Owed, RetrySchedule, owed_to
from domain.users import PasswordPolicy
from infrastructure.clock import SystemClock
from infrastructure.container.calendars import Calendars, build_calendars
from infrastructure.container.coaching import Coaching, build_coaching
from infrastructure.container.feeds import CalendarFeeds, build_feeds
from infrastructure.container.payments import Money, build_gateways, build_money
from infrastructure.database.circuits import PostgresCircuits
from infrastructure.database.dead_letters import PostgresDeadLetters
from infrastructure.database.engine import Database
from infrastructure.database.feed import PostgresFeed
from infrastructure.database.figures import DeliveryCounts
from infrastructure.database.idempotency import PostgresIdempotencyKeys
from infrastructure.database.lanes import PostgresLanes
from infrastructure.database.oauth_attempts import PostgresAttempts
from infrastructure.database.outbox import PostgresDueMessages
from infrastructure.database.places import PostgresPlaces, take_statement
from infrastructure.database.readers import (
    PostgresActorReader,
    PostgresBookingReader,
    PostgresEventReader,
    PostgresFacilitatorReader,
    PostgresReviewReader,
)
from infrastructure.database.reminder_book import PostgresReminderBook
from infrastructure.database.retention import PostgresRetention
from infrastructure.database.unit_of_work import UnitsOfWork
from infrastructure.deliveries.crm import CrmCourier
from infrastructure.deliveries.email_service import EmailServiceCourier
from infrastructure.deliveries.http import HttpCourier
from infrastructure.deliveries.live_feed import LiveFeedCourier
from infrastructure.deliveries.mail import MailComposer, MailCourier
from infrastructure.deliveries.mail_files import MailFiles
from infrastructure.deliveries.notifications import NotificationCourier
from infrastructure.deliveries.smtp import SmtpPost
from infrastructure.feed_bell import RedisFeedBell
from infrastructure.health import ServersHealth
from infrastructure.metrics import Metrics
from infrastructure.payments.registry import GatewayRegistry
from infrastructure.security.google_oidc import GoogleOidc
from infrastructure.security.oauth import AuthorizationServer, ProviderConnection
from infrastructure.security.passwords import Argon2Passwords
from infrastructure.security.rate_limits import LocalLimits, NoLimits, RedisLimits
from infrastructure.security.secret_box import SecretBox
from infrastructure.security.tokens import JsonWebTokens
from infrastructure.settings import Settings
from infrastructure.telemetry import current_request_id
from infrastructure.tracing import Accompanied, Traces
from infrastructure.wake_ups import RedisWakeUps


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the system does. The HTTP edge offers each under its field's name."""

    register: Register
    register_and_log_in: RegisterAndLogIn
    log_in: LogIn
    authenticate: Authenticate
    start_google_sign_in: StartGoogleSignIn
    finish_google_sign_in: FinishGoogleSignIn
    sign_in_with_google_token: SignInWithGoogleToken
    refresh: Refresh
    log_out: LogOut
    change_password: ChangePassword
    update_profile: UpdateProfile
    grant_role: GrantRole
    set_account_active: SetAccountActive
    create_event: CreateEvent
    update_event: UpdateEvent
    cancel_event: CancelEvent
    delete_event: DeleteEvent
    event_bookings: EventBookings
    book_place: BookPlace
    cancel_booking: CancelBooking
    show_booking: ShowBooking
    show_booking_reminders: ShowBookingReminders
    write_review: WriteReview
    list_reviews: ListReviews
    record_offline_payment: RecordOfflinePayment
    ask_for_payment: AskForPayment
    take_gateway_event: TakeGatewayEvent
    confirm_payment: ConfirmPayment
    hear_of_failure: HearOfFailure
    show_cancellation: ShowCancellation
    pay_at_sandbox: PayAtSandbox
    answer_once: AnswerOnce
    facilitator_reader: FacilitatorReader
    event_reader: EventReader
    booking_reader: BookingReader
    dead_letters: DeadLetters
    replay_message: ReplayMessage
    replay_messages: ReplayMessages
    follow_feed: FollowFeed
    health: Health
    clock: Clock


@dataclass(frozen=True, slots=True)
class Container:
    settings: Settings
    database: Database
    redis: Redis
    open_work: OpenUnitOfWork
    wake_ups: RedisWakeUps
    google: GoogleOidc | None
    gateways: GatewayRegistry
    use_cases: UseCases
    coaching: Coaching
    feeds: CalendarFeeds
    calendars: Calendars
    metrics: Metrics
    traces: Traces
    feed_bell: RedisFeedBell

    def answered(
        self, *, route: str, method: str, status: int, seconds: float, request_id: str, traceparent: str
    ) -> None:
        """Is told of every request."""
        self.metrics.request(route=route, method=method, status=status, seconds=seconds)
        self.traces.request(request_id, name=f"{method} {route}", status=status, seconds=seconds, parent=traceparent)

    async def close(self) -> None:
        await self.traces.close()
        if self.google is not None:
            await self.google.close()
        await self.gateways.close()
        await self.calendars.services.close()
        await self.wake_ups.close()
        await self.feed_bell.close()
        await self.redis.aclose()
        await self.database.close()


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
    coaching: Coaching
    calendars: Calendars
    wake_ups: RedisWakeUps
    counts: DeliveryCounts
    lanes: PostgresLanes
    retention: PostgresRetention
    live_feed: LiveFeedCourier
    feed: PostgresFeed
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


def build(settings: Settings, *, clock: Clock | None = None) -> Container:
    """Opens nothing: connections are made when they are first needed. What is given replaces the usual part."""
    clock = clock or SystemClock()
    metrics = Metrics()
    database = Database(settings.database_url, pool_size=settings.database_pool_size, watch=metrics)
    redis = Redis.from_url(settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
    wake_ups = RedisWakeUps(settings.redis_url)
    feed_bell = RedisFeedBell(settings.redis_url)
    owed = owed_to(served(settings))
    open_work = _units_of_work(settings, database, owed, clock)
    gateways, sandbox = build_gateways(settings, database)
    to_take, remind_before = owed[Fact.BOOKING_CREATED], settings.reminder_offsets
    places = PostgresPlaces(
        database,
        gateway=gateways.chosen.name,
        take=take_statement(to_take, remind_before),
        take_under_key=take_statement(to_take, remind_before, under_key=True),
    )
    event_reader = PostgresEventReader(database)
    booking_reader = PostgresBookingReader(database)
    dead_letters = PostgresDeadLetters(database)
    money = build_money(settings, database, open_work, places, gateways, sandbox, wake_ups, clock)
    hasher = Argon2Passwords()
    policy = PasswordPolicy(settings.password_policy)
    limiter: RateLimiter = RedisLimits(redis, LocalLimits()) if settings.rate_limit_enabled else NoLimits()
    tokens = JsonWebTokens(
        settings.jwt_secret_key,
        access_for=timedelta(hours=settings.jwt_expires_hours),
        refresh_for=timedelta(days=settings.refresh_token_days),
    )
    register = Register(open_work, hasher, limiter, clock, policy)
    start_login = StartLogin(tokens, clock)
    google = _google(settings)
    attempts = OAuthAttempts(PostgresAttempts(database), clock)
    sign_in_with_google = SignInWithGoogle(open_work, start_login, clock)
    use_cases = UseCases(
        register=register,
        register_and_log_in=RegisterAndLogIn(open_work, register, start_login),
        log_in=LogIn(open_work, hasher, limiter, start_login),
        authenticate=Authenticate(tokens, PostgresActorReader(database)),
        start_google_sign_in=StartGoogleSignIn(google, attempts, limiter),
        finish_google_sign_in=FinishGoogleSignIn(google, attempts, sign_in_with_google),
        sign_in_with_google_token=SignInWithGoogleToken(google, sign_in_with_google, limiter),
        refresh=Refresh(open_work, tokens, clock, rotate=settings.refresh_token_rotation),
        log_out=LogOut(open_work, clock),
        change_password=ChangePassword(open_work, hasher, limiter, clock, policy),
        update_profile=UpdateProfile(open_work),
        grant_role=GrantRole(open_work),
        set_account_active=SetAccountActive(open_work),
        create_event=CreateEvent(open_work, event_reader, wake_ups, clock),
        update_event=UpdateEvent(open_work, event_reader, wake_ups, clock),
        cancel_event=CancelEvent(open_work, money.refunds, wake_ups, clock),
        delete_event=DeleteEvent(open_work, money.refunds, wake_ups, clock),
        event_bookings=EventBookings(event_reader, booking_reader),
        book_place=BookPlace(
            places,
            money.ask_for_payment,
            gateways.chosen,
            money.hold_for,
            wake_ups,
            clock,
            current_request_id,
        ),
        cancel_booking=CancelBooking(open_work, money.refunds, wake_ups, clock),
        show_booking=ShowBooking(booking_reader),
        show_booking_reminders=ShowBookingReminders(ShowBooking(booking_reader), PostgresReminderBook(database)),
        write_review=WriteReview(open_work, event_reader, clock),
        list_reviews=ListReviews(event_reader, PostgresReviewReader(database)),
        record_offline_payment=money.record_offline_payment,
        ask_for_payment=money.ask_for_payment,
        take_gateway_event=money.take_gateway_event,
        confirm_payment=money.confirm_payment,
        hear_of_failure=money.hear_of_failure,
        show_cancellation=money.show_cancellation,
        pay_at_sandbox=money.pay_at_sandbox,
        answer_once=_answer_once(settings, database),
        facilitator_reader=PostgresFacilitatorReader(database),
        event_reader=event_reader,
        booking_reader=booking_reader,
        dead_letters=dead_letters,
        replay_message=ReplayMessage(dead_letters, wake_ups),
        replay_messages=ReplayMessages(dead_letters, wake_ups),
        follow_feed=FollowFeed(PostgresFeed(database), feed_bell),
        health=ServersHealth(database, redis),
        clock=clock,
    )
    calendars = build_calendars(settings, database, open_work, wake_ups, clock)
    coaching = build_coaching(database, open_work, money, calendars, wake_ups, clock)
    feeds = build_feeds(database, settings.public_url, clock)
    traces = Traces(settings.otel_exporter_otlp_endpoint, "api")
    return Container(
        settings,
        database,
        redis,
        open_work,
        wake_ups,
        google,
        gateways,
        use_cases,
        coaching,
        feeds,
        calendars,
        metrics,
        traces,
        feed_bell,
    )


def served(settings: Settings) -> frozenset[Destination]:
    """The destinations of this house. Web and worker must be given the same: one writes for them, one delivers."""
    return ALWAYS_SERVED | ({Destination.NOTIFICATION} if settings.notification_service_url else frozenset())


def build_deliveries(settings: Settings) -> DeliveryParts:
    """Opens nothing, as `build`. Raises `SettingsError` for a mail server's address that cannot be used."""
    token, secrets = settings.backend_service_token, settings.delivery_signing_secrets
    composer = MailComposer(mail_from=settings.mail_from, public_url=settings.public_url)
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
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    owed = owed_to(served(settings))
    clock = SystemClock()
    wake_ups = RedisWakeUps(settings.redis_url)
    open_work = _units_of_work(settings, database, owed, clock)
    gateways, sandbox = build_gateways(settings, database)
    places = PostgresPlaces(database, gateway=gateways.chosen.name)
    money = build_money(settings, database, open_work, places, gateways, sandbox, wake_ups, clock)
    couriers[Destination.PAYMENTS] = money.errands
    calendars = build_calendars(settings, database, open_work, wake_ups, clock)
    couriers[Destination.CALENDAR] = calendars.errands
    feed = PostgresFeed(database)
    live_feed = LiveFeedCourier(
        feed, Redis.from_url(settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
    )
    couriers[Destination.REALTIME] = live_feed
    http_couriers = [courier for courier in couriers.values() if isinstance(courier, HttpCourier)]
    couriers[Destination.EMAIL] = MailWithReminders(couriers[Destination.EMAIL], PostgresReminderBook(database), clock)
    outbox = PostgresDueMessages(database)
    traces = Traces(settings.otel_exporter_otlp_endpoint, "worker")
    deliver_due = DeliverDue(
        outbox=outbox,
        circuits=PostgresCircuits(database),
        couriers={destination: Accompanied(courier, traces) for destination, courier in couriers.items()},
        schedule=RetrySchedule(tuple(timedelta(seconds=delay) for delay in settings.delivery_retry_schedule)),
    )
    return DeliveryParts(
        database,
        deliver_due,
        http_couriers,
        money,
        ForgetKeys(PostgresIdempotencyKeys(database)),
        QueueReminders(open_work, wake_ups, clock),
        CompleteBookings(open_work, wake_ups, clock),
        build_coaching(database, open_work, money, calendars, wake_ups, clock),
        calendars,
        wake_ups,
        outbox.counts,
        PostgresLanes(database),
        PostgresRetention(database, days=settings.delivered_retention_days),
        live_feed,
        feed,
        traces,
    )


def _answer_once(settings: Settings, database: Database) -> AnswerOnce:
    secret = hmac.digest(settings.jwt_secret_key.encode(), b"idempotency keys", hashlib.sha256)
    return AnswerOnce(PostgresIdempotencyKeys(database), secret)


def _units_of_work(settings: Settings, database: Database, owed: Owed, clock: Clock) -> OpenUnitOfWork:
    return UnitsOfWork(
        database,
        owed,
        clock,
        current_request_id,
        default_currency=settings.default_currency,
        reminder_offsets=settings.reminder_offsets,
        box=SecretBox(settings.token_encryption_keys),
    )


def _google(settings: Settings) -> GoogleOidc | None:
    if settings.google_client_id is None or settings.google_client_secret is None:
        return None
    connection = ProviderConnection()
    server = AuthorizationServer(
        connection,
        settings.google_discovery_url,
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret,
        redirect_uri=f"{settings.public_url}/auth/google/callback",
    )
    return GoogleOidc(server, connection)
