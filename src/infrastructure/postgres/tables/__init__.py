"""The tables as SQLAlchemy rows, with the constraints of the database (against overselling and double bookings).
`migrations/` creates the same schema, and a test compares the two."""

from advanced_alchemy.base import DefaultBase

from infrastructure.postgres.tables.accounts import (
    AccountTokenRow,
    ApiKeyRow,
    ErasureRow,
    FacilitatorProfileRow,
    LoginNetworkRow,
    LoginRow,
    LoginTicketRow,
    OAuthAttemptRow,
    RecoveryCodeRow,
    RefreshTokenRow,
    SecondFactorRow,
    UnverifiedMailRow,
    UserRow,
)
from infrastructure.postgres.tables.appointments import (
    AppointmentAttachmentRow,
    AppointmentChangeRow,
    AppointmentRow,
    CoachRow,
)
from infrastructure.postgres.tables.audit import AuditChainRow, AuditLogRow
from infrastructure.postgres.tables.bookings import BookingRow, InvitationRow
from infrastructure.postgres.tables.calendars import (
    CalendarBusyRow,
    CalendarConnectionRow,
    CalendarEntryRow,
    CalendarFeedRow,
    CalendarIdentityRow,
)
from infrastructure.postgres.tables.events import EventRow, ReviewRow
from infrastructure.postgres.tables.facilitator_counts import (
    CountedFacilitatorRow,
    FacilitatorCountChangeRow,
    FacilitatorCountRow,
)
from infrastructure.postgres.tables.idempotency import IdempotencyKeyRow
from infrastructure.postgres.tables.live_updates import FeedEntryRow
from infrastructure.postgres.tables.outbox import (
    ChangeMailRow,
    DeliveryAttemptRow,
    DeliveryCountRow,
    DestinationMinuteRow,
    DestinationRow,
    OutboxRow,
)
from infrastructure.postgres.tables.payments import (
    DisputeRow,
    GatewayEventRow,
    PaymentMismatchRow,
    PaymentRow,
    RefundRow,
    SandboxOrderRow,
)
from infrastructure.postgres.tables.reminders import ReminderRow

metadata = DefaultBase.metadata

__all__ = [
    "AccountTokenRow",
    "ApiKeyRow",
    "AppointmentAttachmentRow",
    "AppointmentChangeRow",
    "AppointmentRow",
    "AuditChainRow",
    "AuditLogRow",
    "BookingRow",
    "CalendarBusyRow",
    "CalendarConnectionRow",
    "CalendarEntryRow",
    "CalendarFeedRow",
    "CalendarIdentityRow",
    "ChangeMailRow",
    "CoachRow",
    "CountedFacilitatorRow",
    "DeliveryAttemptRow",
    "DeliveryCountRow",
    "DestinationMinuteRow",
    "DestinationRow",
    "DisputeRow",
    "ErasureRow",
    "EventRow",
    "FacilitatorCountChangeRow",
    "FacilitatorCountRow",
    "FacilitatorProfileRow",
    "FeedEntryRow",
    "GatewayEventRow",
    "IdempotencyKeyRow",
    "InvitationRow",
    "LoginNetworkRow",
    "LoginRow",
    "LoginTicketRow",
    "OAuthAttemptRow",
    "OutboxRow",
    "PaymentMismatchRow",
    "PaymentRow",
    "RecoveryCodeRow",
    "RefreshTokenRow",
    "RefundRow",
    "ReminderRow",
    "ReviewRow",
    "SandboxOrderRow",
    "SecondFactorRow",
    "UnverifiedMailRow",
    "UserRow",
    "metadata",
]
