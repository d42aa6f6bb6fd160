"""The unit of work: one transaction with a repository for each aggregate."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from application.accounts.ports.accounts import Access, AccountTokens, ApiKeys, LoginNetworks, Logins, Profiles, Users
from application.accounts.ports.second_factors import LoginTickets, SecondFactors
from application.appointments.ports import Appointments, Attachments, Coaches
from application.audit.ports import UNKEYED_TRAIL, NewTrail
from application.bookings.ports import Bookings, Invitations
from application.calendars.ports import Connections
from application.erasure.ports import Erasures
from application.events.ports import Events, Reviews
from application.idempotency import CLAIM, Made
from application.notifications.ports import ChangeMails, Reminders
from application.outbox.ports import Messages
from application.payments.ports.records import Disputes, GatewayEvents, Payments, RefundRecords
from application.ports import Clock
from application.unit_of_work import UnitOfWork
from domain.audit import AuditTrail
from domain.outbox import Routes
from infrastructure.auth.token_encryption import SecretBox
from infrastructure.postgres.accounts.account_tokens import PostgresAccountTokens
from infrastructure.postgres.accounts.api_keys import PostgresApiKeys
from infrastructure.postgres.accounts.credentials import PostgresAccess
from infrastructure.postgres.accounts.login_networks import PostgresLoginNetworks
from infrastructure.postgres.accounts.login_tickets import PostgresLoginTickets
from infrastructure.postgres.accounts.repository import PostgresLogins, PostgresProfiles, PostgresUsers
from infrastructure.postgres.accounts.second_factors import PostgresSecondFactors
from infrastructure.postgres.appointments.attachments import PostgresAttachments
from infrastructure.postgres.appointments.coaches import PostgresCoaches
from infrastructure.postgres.appointments.repository import PostgresAppointments
from infrastructure.postgres.audit.writer import write_in_session
from infrastructure.postgres.bookings.invitations import PostgresInvitations
from infrastructure.postgres.bookings.repository import PostgresBookings
from infrastructure.postgres.calendars.connections import PostgresConnections
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.repository import PostgresErasures
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.postgres.events.reviews import PostgresReviews
from infrastructure.postgres.idempotency import commit_under_key
from infrastructure.postgres.outbox.change_mails import PostgresChangeMails
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.postgres.payments.disputes import PostgresDisputes
from infrastructure.postgres.payments.refunds import PostgresRefunds
from infrastructure.postgres.payments.repository import PostgresPayments
from infrastructure.postgres.payments.webhooks import PostgresGatewayEvents
from infrastructure.postgres.reminders.repository import PostgresReminders
from infrastructure.retries import make_final


class PostgresUnitOfWork:
    users: Users
    logins: Logins
    access: Access
    account_tokens: AccountTokens
    api_keys: ApiKeys
    second_factors: SecondFactors
    login_tickets: LoginTickets
    login_networks: LoginNetworks
    erasures: Erasures
    events: Events
    bookings: Bookings
    invitations: Invitations
    profiles: Profiles
    reviews: Reviews
    payments: Payments
    refunds: RefundRecords
    disputes: Disputes
    gateway_events: GatewayEvents
    coaches: Coaches
    appointments: Appointments
    attachments: Attachments
    reminders: Reminders
    change_mails: ChangeMails
    calendars: Connections
    messages: Messages
    audit: AuditTrail

    def __init__(
        self,
        session: AsyncSession,
        messages: PostgresMessages,
        reminders: PostgresReminders,
        change_mails: PostgresChangeMails,
        *,
        audit: AuditTrail,
        default_currency: str,
        box: SecretBox,
    ) -> None:
        self._session = session
        self.audit = audit
        self.users = PostgresUsers(session, messages, audit)
        self.logins = PostgresLogins(session, audit)
        self.access = PostgresAccess(session, audit)
        self.account_tokens = PostgresAccountTokens(session)
        self.api_keys = PostgresApiKeys(session, audit)
        self.second_factors = PostgresSecondFactors(session, box, audit)
        self.login_tickets = PostgresLoginTickets(session)
        self.login_networks = PostgresLoginNetworks(session)
        self.erasures = PostgresErasures(session, audit)
        bookings = PostgresBookings(session, messages, reminders, audit)
        invitations = PostgresInvitations(session)
        refunds = PostgresRefunds(session, messages, audit)
        self.events = PostgresEvents(session, messages, reminders, bookings, invitations, refunds, change_mails, audit)
        self.bookings = bookings
        self.invitations = invitations
        self.profiles = PostgresProfiles(session)
        self.reviews = PostgresReviews(session)
        self.payments = PostgresPayments(session)
        self.refunds = refunds
        self.disputes = PostgresDisputes(session)
        self.gateway_events = PostgresGatewayEvents(session)
        self.coaches = PostgresCoaches(session, default_currency)
        self.appointments = PostgresAppointments(session, messages, reminders, change_mails, audit)
        self.attachments = PostgresAttachments(session)
        self.reminders = reminders
        self.change_mails = change_mails
        self.calendars = PostgresConnections(session, box)
        self.messages = messages

    async def commit(self, made: Made | None = None) -> None:
        await write_in_session(self._session, self.audit)
        claim = CLAIM.get()
        if claim is not None:
            await commit_under_key(self._session, claim, made)
        await self._session.commit()
        make_final()


class UnitsOfWork:
    """Opens units of work. Each one is rolled back at its end unless it was committed."""

    def __init__(
        self,
        database: Database,
        routes: Routes,
        clock: Clock,
        request_id: Callable[[], str | None],
        *,
        default_currency: str = "INR",
        reminder_offsets: Sequence[timedelta] = (),
        change_mail_window: timedelta = timedelta(0),
        box: SecretBox | None = None,
        new_trail: NewTrail = UNKEYED_TRAIL,
    ) -> None:
        self._database = database
        self._routes = routes
        self._clock = clock
        self._request_id = request_id
        self._default_currency = default_currency
        self._reminder_offsets = reminder_offsets
        self._change_mail_window = change_mail_window
        self._box = box or SecretBox(())
        self._new_trail = new_trail

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with self._database.session() as session:
            now, request_id = self._clock.now(), self._request_id()
            messages = PostgresMessages(session, self._routes, now=now, request_id=request_id)
            reminders = PostgresReminders(session, self._reminder_offsets, now=now)
            yield PostgresUnitOfWork(
                session,
                messages,
                reminders,
                PostgresChangeMails(session, messages, window=self._change_mail_window, now=now, request_id=request_id),
                audit=self._new_trail(),
                default_currency=self._default_currency,
                box=self._box,
            )
