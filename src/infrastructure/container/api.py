"""Composition of the API, also for commands that call its use cases."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from application.accounts.external_identity import (
    FinishExternalSignIn,
    SignInWithIdentity,
    SignInWithIdToken,
    StartExternalSignIn,
)
from application.accounts.login import LogIn, StartLogin
from application.accounts.password_guesses import KnownNetworks, PasswordGuesses
from application.accounts.profile import ChangePassword
from application.accounts.recovery import RequestPasswordReset, ResetPassword, SetPassword
from application.accounts.registration import CreateAccount, Register, RegisterAndLogIn
from application.accounts.sessions import Authenticate, AuthenticateFollower, LogOut, Refresh
from application.audit.start import RecordSettings
from application.bookings.cancellation import CancelBooking, CancelParticipant
from application.bookings.invitations import AnswerInvitation, InviteParticipant, ListInvitations, WithdrawInvitation
from application.bookings.ports import BookingQueries, FacilitatorQueries
from application.bookings.queries import ShowBooking
from application.bookings.reservation import BookSeat
from application.events.management import CancelEvent, CreateEvent, DeleteEvent, UpdateEvent
from application.events.participant_messages import WriteToParticipants
from application.events.ports import EventQueries
from application.events.queries import EventBookings, ShowEvent
from application.events.reviews import ListReviews, ShowEventInDetail, WriteReview
from application.idempotency import AnswerOnce
from application.notifications.live_updates import FollowLiveUpdates
from application.notifications.reminders import ShowBookingReminders
from application.oauth import OAuthAttempts
from application.payments.callbacks import ConfirmPayment, ReportPaymentFailure
from application.payments.checkout import OpenCheckout
from application.payments.checkout_return import ShowPaymentReturn
from application.payments.offline import RecordOfflinePayment
from application.payments.refunds import RefundBooking, ShowCancellation
from application.payments.sandbox import PayAtSandbox
from application.payments.webhooks import ReceiveWebhook
from application.ports import Clock, Health, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.write_limits import WriteLimits
from domain.accounts import FacilitatorRegistration, PasswordPolicy
from domain.outbox import routes_for
from domain.unverified_mail import EmailVerification
from infrastructure.auth.jwt import JsonWebTokens
from infrastructure.auth.passwords import Argon2Passwords
from infrastructure.container.administration import Administration, build_administration
from infrastructure.container.api_keys import ApiKeys, build_api_keys
from infrastructure.container.appointments import Appointment, build_appointments
from infrastructure.container.bookings import build_seats
from infrastructure.container.calendar_feeds import CalendarFeeds, build_feeds
from infrastructure.container.calendars import Calendars, build_calendars
from infrastructure.container.foundation import (
    PRODUCTION,
    Substitutes,
    attachment_quota,
    derived_key,
    invitation_tokens,
    recorded_settings,
    served,
    units_of_work,
)
from infrastructure.container.google import build_google
from infrastructure.container.own_account import OwnAccount, build_own_account
from infrastructure.container.payments import build_gateways, build_money
from infrastructure.container.queries import build_queries
from infrastructure.container.replica import ReplicaParts, build_replica
from infrastructure.container.second_factors import SecondFactors, build_second_factors, required_factors
from infrastructure.container.write_limits import build_write_limits
from infrastructure.gateways.registry import GatewayRegistry
from infrastructure.observability.health import ServersHealth
from infrastructure.observability.metrics import Metrics
from infrastructure.observability.tracing import Traces
from infrastructure.postgres.accounts.actors import ActorLoader, PostgresActorQueries, QueuedActorQueries
from infrastructure.postgres.accounts.key_uses import PostgresKeyUses
from infrastructure.postgres.accounts.login_networks import PostgresGuessedAccounts
from infrastructure.postgres.accounts.oauth_attempts import PostgresAttempts
from infrastructure.postgres.bookings.invitations import PostgresInvitationQueries
from infrastructure.postgres.engine import Database
from infrastructure.postgres.idempotency import PostgresIdempotencyKeys
from infrastructure.postgres.live_updates import PostgresLiveUpdates
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from infrastructure.redis.live_updates import RedisLiveUpdateListeners
from infrastructure.redis.rate_limits import CountedLimits, LocalLimits, NoLimits, RedisLimits
from infrastructure.redis.wake_ups import RedisWakeUps
from infrastructure.retries import repeating
from infrastructure.settings import Settings
from servicekit.admission import Admission
from servicekit.clock import DatabaseClock
from servicekit.logging import current_request_id
from servicekit.tasks import LongLivedTasks
from servicekit.time_zones import use_newest_time_zones

if TYPE_CHECKING:
    from infrastructure.auth.google_oidc import GoogleOidc


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UseCases:
    """Use cases and queries for HTTP handlers, which receive them by type: each type occurs once."""

    register: Register
    register_and_log_in: RegisterAndLogIn
    log_in: LogIn
    authenticate: Authenticate
    authenticate_follower: AuthenticateFollower
    start_external_sign_in: StartExternalSignIn
    finish_external_sign_in: FinishExternalSignIn
    sign_in_with_id_token: SignInWithIdToken
    refresh: Refresh
    log_out: LogOut
    change_password: ChangePassword
    request_password_reset: RequestPasswordReset
    reset_password: ResetPassword
    set_password: SetPassword
    create_account: CreateAccount
    show_event: ShowEvent
    create_event: CreateEvent
    update_event: UpdateEvent
    cancel_event: CancelEvent
    delete_event: DeleteEvent
    event_bookings: EventBookings
    book_seat: BookSeat
    cancel_booking: CancelBooking
    cancel_participant: CancelParticipant
    write_to_participants: WriteToParticipants
    invite_participant: InviteParticipant
    answer_invitation: AnswerInvitation
    withdraw_invitation: WithdrawInvitation
    list_invitations: ListInvitations
    show_booking: ShowBooking
    show_booking_reminders: ShowBookingReminders
    write_review: WriteReview
    list_reviews: ListReviews
    show_event_in_detail: ShowEventInDetail
    record_offline_payment: RecordOfflinePayment
    open_checkout: OpenCheckout
    receive_webhook: ReceiveWebhook
    confirm_payment: ConfirmPayment
    report_payment_failure: ReportPaymentFailure
    show_cancellation: ShowCancellation
    refund_booking: RefundBooking
    pay_at_sandbox: PayAtSandbox
    show_payment_return: ShowPaymentReturn
    answer_once: AnswerOnce
    write_limits: WriteLimits
    facilitator_queries: FacilitatorQueries
    event_queries: EventQueries
    booking_queries: BookingQueries
    follow_live_updates: FollowLiveUpdates
    health: Health
    clock: Clock


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Container:
    settings: Settings
    database: Database
    redis: Redis
    open_work: OpenUnitOfWork
    wake_ups: RedisWakeUps
    google: "GoogleOidc | None"
    gateways: GatewayRegistry
    use_cases: UseCases
    own_account: OwnAccount
    api_keys: ApiKeys
    key_uses: PostgresKeyUses
    administration: Administration
    second_factors: SecondFactors
    appointment: Appointment
    feeds: CalendarFeeds
    calendars: Calendars
    admission: Admission
    metrics: Metrics
    traces: Traces
    live_update_listeners: RedisLiveUpdateListeners
    tasks: LongLivedTasks
    database_clock: DatabaseClock
    replica: ReplicaParts | None
    record_settings: RecordSettings

    def answered(
        self, *, route: str, method: str, status: int, seconds: float, request_id: str, traceparent: str
    ) -> None:
        """Records a request in metrics and traces."""
        self.metrics.request(route=route, method=method, status=status, seconds=seconds)
        self.traces.request(request_id, name=f"{method} {route}", status=status, seconds=seconds, parent=traceparent)

    async def close(self) -> None:
        await self.traces.close()
        if self.google is not None:
            await self.google.close()
        await self.gateways.close()
        await self.calendars.services.close()
        await self.wake_ups.close()
        await self.live_update_listeners.close()
        await self.redis.aclose()
        await self.database.close()
        if self.replica:
            await self.replica.database.close()


def build(settings: Settings, substitutes: Substitutes = PRODUCTION, tasks: LongLivedTasks | None = None) -> Container:
    """Opens no connections: they are opened on first use. `tasks` supervises the tasks that run until the end."""
    tasks = tasks or LongLivedTasks()
    use_newest_time_zones()
    metrics = Metrics()
    # Two uses wait for each connection: it is never idle, and the queue of a use stays short.
    admission = Admission(database_waits=2 * settings.database_pool_size, seconds=settings.request_queue_ms / 1000)
    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        timeout=settings.database_timeout_seconds,
        pooler=settings.pooler,
        watch=metrics,
        waiting=admission.database_wait,
    )
    database_clock = DatabaseClock(database.connection)
    clock = substitutes.clock or database_clock
    redis = Redis.from_url(settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
    wake_ups = RedisWakeUps(settings.redis_url, tasks=tasks)
    live_update_listeners = RedisLiveUpdateListeners(settings.redis_url, tasks=tasks)
    routes = routes_for(served(settings))
    open_work = units_of_work(settings, database, routes, clock, substitutes)
    gateways, sandbox = build_gateways(settings, database, clock, substitutes.gateway)
    seats = build_seats(settings, database, gateways.chosen.name, routes)
    replica = build_replica(settings, database, redis, metrics)
    event_queries, booking_queries, review_queries, facilitator_queries = build_queries(settings, database, replica)
    show_event = ShowEvent(event_queries)
    invitations = PostgresInvitationQueries(database)
    money = build_money(settings, database, open_work, gateways, sandbox, wake_ups, clock)
    calendars = build_calendars(settings, database, open_work, wake_ups, clock)
    verification = EmailVerification(settings.email_verification)
    appointment = build_appointments(
        database,
        open_work,
        money,
        calendars,
        wake_ups,
        clock,
        default_currency=settings.default_currency,
        attachment_quota=attachment_quota(settings),
        verification=verification,
    )
    hasher = Argon2Passwords()
    policy = PasswordPolicy(settings.password_policy)
    limiter: RateLimiter = NoLimits()
    if settings.rate_limit_enabled:
        limiter = CountedLimits(RedisLimits(redis, LocalLimits()), metrics.limit_reached)
    tokens = JsonWebTokens(
        settings.jwt_secret_key,
        clock,
        access_for=timedelta(hours=settings.jwt_expires_hours),
        refresh_for=timedelta(days=settings.refresh_token_days),
    )
    register = Register(
        open_work,
        hasher,
        limiter,
        wake_ups,
        clock,
        policy,
        smtputf8=settings.mail_smtputf8,
        facilitators=FacilitatorRegistration(settings.facilitator_registration),
    )
    actors = PostgresActorQueries(database)
    actors_of_requests = QueuedActorQueries(actors, seconds=database.timeouts.total)
    key_uses = PostgresKeyUses(database)
    known_networks = KnownNetworks(derived_key(settings, b"login networks"), clock)
    guesses = PasswordGuesses(PostgresGuessedAccounts(database), limiter, known_networks)
    session_lifetime = timedelta(days=settings.session_max_days)
    start_login = StartLogin(tokens, known_networks, clock, session_lifetime, settings.new_network_mail)
    log_in = LogIn(open_work, hasher, guesses, start_login)
    google = build_google(settings, clock)
    attempts = OAuthAttempts(PostgresAttempts(database), clock)
    sign_in_with_identity = SignInWithIdentity(open_work, start_login, wake_ups, clock, smtputf8=settings.mail_smtputf8)
    use_cases = UseCases(
        register=register,
        register_and_log_in=RegisterAndLogIn(open_work, register, start_login, log_in),
        log_in=log_in,
        authenticate=Authenticate(tokens, actors_of_requests, key_uses, clock, required_factors(settings, database)),
        authenticate_follower=AuthenticateFollower(tokens, ActorLoader(actors), key_uses, clock),
        start_external_sign_in=StartExternalSignIn(google, attempts, limiter),
        finish_external_sign_in=FinishExternalSignIn(google, attempts, sign_in_with_identity),
        sign_in_with_id_token=SignInWithIdToken(google, sign_in_with_identity, limiter),
        refresh=Refresh(open_work, tokens, clock, session_lifetime, rotate=settings.refresh_token_rotation),
        log_out=LogOut(open_work, clock),
        change_password=ChangePassword(open_work, hasher, guesses, wake_ups, clock, policy),
        request_password_reset=RequestPasswordReset(open_work, limiter, wake_ups),
        reset_password=ResetPassword(open_work, hasher, limiter, wake_ups, clock, policy),
        set_password=SetPassword(open_work, hasher, wake_ups, clock, policy),
        create_account=CreateAccount(
            open_work, hasher, limiter, wake_ups, clock, policy, smtputf8=settings.mail_smtputf8
        ),
        show_event=show_event,
        create_event=CreateEvent(open_work, gateways.chosen, event_queries, wake_ups, clock),
        update_event=UpdateEvent(open_work, gateways.chosen, event_queries, wake_ups, clock),
        cancel_event=CancelEvent(open_work, wake_ups, clock),
        delete_event=DeleteEvent(open_work, wake_ups, clock),
        event_bookings=EventBookings(booking_queries),
        book_seat=BookSeat(
            seats,
            money.open_checkout,
            gateways.chosen,
            money.hold_for,
            wake_ups,
            clock,
            current_request_id,
            money.hold_limits,
            verification,
        ),
        cancel_booking=CancelBooking(open_work, money.refunds, wake_ups, clock),
        cancel_participant=CancelParticipant(open_work, money.refunds, wake_ups, clock),
        write_to_participants=WriteToParticipants(open_work, limiter, wake_ups),
        invite_participant=InviteParticipant(open_work, limiter, wake_ups, clock, smtputf8=settings.mail_smtputf8),
        answer_invitation=AnswerInvitation(open_work, invitations, invitation_tokens(settings), wake_ups, clock),
        withdraw_invitation=WithdrawInvitation(open_work, clock),
        list_invitations=ListInvitations(event_queries, invitations),
        show_booking=ShowBooking(booking_queries),
        show_booking_reminders=ShowBookingReminders(ShowBooking(booking_queries), PostgresReminderQueries(database)),
        write_review=WriteReview(open_work, event_queries, clock),
        list_reviews=ListReviews(show_event, review_queries),
        show_event_in_detail=ShowEventInDetail(show_event, event_queries, review_queries),
        record_offline_payment=money.record_offline_payment,
        open_checkout=money.open_checkout,
        receive_webhook=money.receive_webhook,
        confirm_payment=money.confirm_payment,
        report_payment_failure=money.report_payment_failure,
        show_cancellation=money.show_cancellation,
        refund_booking=money.refund_booking,
        pay_at_sandbox=money.pay_at_sandbox,
        show_payment_return=money.show_payment_return,
        answer_once=_answer_once(settings, database, limiter),
        write_limits=build_write_limits(settings, limiter),
        facilitator_queries=facilitator_queries,
        event_queries=event_queries,
        booking_queries=booking_queries,
        follow_live_updates=FollowLiveUpdates(PostgresLiveUpdates(database), live_update_listeners),
        health=ServersHealth(database, redis),
        clock=clock,
    )
    administration = build_administration(
        settings, database, open_work, wake_ups, clock, [money.expire_holds, appointment.expire_appointment_holds]
    )
    second_factors = build_second_factors(settings.public_url, open_work, hasher, guesses, start_login, wake_ups, clock)
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
        repeating(use_cases),
        repeating(
            build_own_account(
                settings, database, open_work, hasher, guesses, wake_ups, clock, administration.request_erasure
            )
        ),
        repeating(build_api_keys(settings, database, open_work, limiter, clock)),
        key_uses,
        repeating(administration),
        repeating(second_factors),
        repeating(appointment),
        repeating(feeds),
        repeating(calendars),
        admission,
        metrics,
        traces,
        live_update_listeners,
        tasks,
        database_clock,
        replica,
        RecordSettings(open_work, "api", recorded_settings(settings)),
    )


def _answer_once(settings: Settings, database: Database, limiter: RateLimiter) -> AnswerOnce:
    return AnswerOnce(PostgresIdempotencyKeys(database), derived_key(settings, b"idempotency keys"), limiter)
