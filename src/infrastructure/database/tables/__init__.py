"""The tables as SQLAlchemy rows. What the database itself refuses (an oversell, a double booking) is said here;
`migrations/` builds the same, and a test compares the two."""

from advanced_alchemy.base import DefaultBase

from infrastructure.database.tables.accounts import LoginNetworkRow
from infrastructure.database.tables.coaching import (
    CalendarBusyRow,
    CalendarConnectionRow,
    CalendarEntryRow,
    CalendarFeedRow,
    CoachingAttachmentRow,
    CoachingBookingRow,
    CoachingChangeRow,
    CoachRow,
)
from infrastructure.database.tables.core import (
    BookingRow,
    DeliveryAttemptRow,
    EventRow,
    FacilitatorProfileRow,
    GatewayEventRow,
    LoginRow,
    OAuthAttemptRow,
    OutboxRow,
    PaymentDifferenceRow,
    PaymentRow,
    RefreshTokenRow,
    RefundRow,
    ReviewRow,
    SandboxOrderRow,
    UserRow,
)
from infrastructure.database.tables.destinations import DestinationMinuteRow, DestinationRow
from infrastructure.database.tables.feed import FeedEntryRow
from infrastructure.database.tables.idempotency import IdempotencyKeyRow
from infrastructure.database.tables.invitations import InvitationRow
from infrastructure.database.tables.operations import CalendarIdentityRow, DeliveryCountRow
from infrastructure.database.tables.reminders import ReminderRow

metadata = DefaultBase.metadata

__all__ = [
    "BookingRow",
    "CalendarBusyRow",
    "CalendarConnectionRow",
    "CalendarEntryRow",
    "CalendarFeedRow",
    "CalendarIdentityRow",
    "CoachRow",
    "CoachingAttachmentRow",
    "CoachingBookingRow",
    "CoachingChangeRow",
    "DeliveryAttemptRow",
    "DeliveryCountRow",
    "DestinationMinuteRow",
    "DestinationRow",
    "EventRow",
    "FacilitatorProfileRow",
    "FeedEntryRow",
    "GatewayEventRow",
    "IdempotencyKeyRow",
    "InvitationRow",
    "LoginNetworkRow",
    "LoginRow",
    "OAuthAttemptRow",
    "OutboxRow",
    "PaymentDifferenceRow",
    "PaymentRow",
    "RefreshTokenRow",
    "RefundRow",
    "ReminderRow",
    "ReviewRow",
    "SandboxOrderRow",
    "UserRow",
    "metadata",
]
