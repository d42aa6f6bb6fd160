"""The unit of work: one transaction over the repositories of all contexts."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from application.accounts.ports.accounts import Access, AccountTokens, ApiKeys, LoginNetworks, Logins, Profiles, Users
from application.accounts.ports.second_factors import LoginTickets, SecondFactors
from application.appointments.ports import Appointments, Attachments, Coaches
from application.bookings.ports import Bookings, Invitations
from application.calendars.ports import Connections
from application.erasure.ports import Erasures
from application.events.ports import Events, Reviews
from application.idempotency import Made
from application.notifications.ports import ChangeMails, Reminders
from application.outbox.ports import Messages
from application.payments.ports.records import Disputes, GatewayEvents, Payments, RefundRecords
from domain.audit import AuditTrail


class UnitOfWork(Protocol):
    """One transaction, which is rolled back unless `commit` was called."""

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
    """What this unit of work writes to the audit log. Repositories record the changes that they write."""

    async def commit(self, made: Made | None = None) -> None:
        """`made` identifies the result for a repeated request with the same idempotency key, after a crash of this
        process (`recorded_result`). Raises `IdempotencyKeyInUse` if another process runs the request."""
        ...


class OpenUnitOfWork(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]: ...
