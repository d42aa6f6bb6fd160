"""The errors of each operation, derived from its guards, its use cases and its path.

The document cannot be built while a guard or a use case is missing in these tables.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from application.accounts.external_identity import FinishExternalSignIn, SignInWithIdToken, StartExternalSignIn
from application.accounts.login import LogIn
from application.accounts.profile import ChangePassword, UpdateProfile
from application.accounts.registration import Register, RegisterAndLogIn
from application.accounts.sessions import AuthenticateFollower, LogOut, Refresh
from application.appointments.attachments import Attach, DeleteAttachment, DownloadAttachment, ListAttachments
from application.appointments.availability import SetAvailability, ShowOwnAvailability, ShowSlots
from application.appointments.booking import BookAppointment
from application.appointments.changes import (
    CancelAppointment,
    ChangeAppointmentStatus,
    RescheduleAppointment,
    UpdateAppointmentNotes,
)
from application.appointments.payment import AppointmentPayment, RecordAppointmentPayment
from application.appointments.queries import ListAppointments, ShowAppointment
from application.appointments.series import BookSeries
from application.appointments.statistics import ShowCoachStatistics
from application.bookings.cancellation import CancelBooking, CancelParticipant
from application.bookings.invitations import InviteParticipant, ListInvitations, WithdrawInvitation
from application.bookings.queries import ShowBooking
from application.bookings.reservation import BookSeat
from application.calendars.connections import BeginCalendarConsent, ConnectCalendar, DisconnectCalendar
from application.calendars.feeds import CloseFeed, OpenFeed, ReadFeed
from application.calendars.sync import SyncBooking
from application.events.management import CancelEvent, CreateEvent, DeleteEvent, OnlyFacilitatorsCreate, UpdateEvent
from application.events.participant_messages import WriteToParticipants
from application.events.queries import EventBookings, ShowEvent
from application.events.reviews import ListReviews, WriteReview
from application.idempotency import (
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
)
from application.notifications.live_updates import FollowLiveUpdates, TooManyFollowers
from application.notifications.reminders import ShowAppointmentReminders, ShowBookingReminders
from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.payments.callbacks import ConfirmPayment, ReportPaymentFailure
from application.payments.checkout import OpenCheckout
from application.payments.offline import RecordOfflinePayment
from application.payments.ports.gateways import GatewayRefused
from application.payments.refunds import RefundBooking, ShowCancellation
from application.payments.webhooks import ReceiveWebhook
from domain.accounts import EmailTaken, FacilitatorRegistrationClosed, InvalidCredentials, ProfileNotFound
from domain.appointments import (
    AppointmentChangeForbidden,
    AppointmentListForbidden,
    AppointmentNotFound,
    AppointmentViewForbidden,
    HasBegun,
    InvalidTransition,
    NotCancellable,
    NotReschedulable,
    OnlyClientPays,
    OnlyClientsBook,
    OnlyCoachDecides,
    OnlyCoachRecords,
    PaymentConfirms,
    PricedLengthFixed,
    SeriesRefused,
)
from domain.attachments import AttachmentForbidden, AttachmentNotFound, TooManyAttachments
from domain.availability import SlotUnavailable
from domain.bookings import (
    BookingAlreadyCancelled,
    BookingForbidden,
    BookingIsCancelled,
    BookingNotFound,
    BookingOver,
)
from domain.calendar_feed import FeedNotFound
from domain.calendars import (
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    CalendarSyncForbidden,
    CalendarUnavailable,
    CancelledNotSynced,
    ConsentRefused,
    ConsentUnknown,
    NoCalendarToSync,
    RedirectNotAllowed,
    TokenRejected,
)
from domain.coaches import CoachInactive, CoachNotFound
from domain.errors import DomainError, Forbidden, TooManyRequests, Unauthenticated
from domain.events import (
    AlreadyBooked,
    CapacityBelowBookings,
    CurrencyOfBookings,
    EventCancelled,
    EventForbidden,
    EventFull,
    EventNotFound,
    EventOver,
    EventStarted,
)
from domain.external_identity import (
    AccountDeactivated,
    EmailNotShared,
    EmailNotVerified,
    IdentityNotProven,
    IdentityProviderUnavailable,
    OtherExternalAccount,
    SignInDenied,
    SignInNotConfigured,
    SignInRefused,
)
from domain.invitations import AlreadyInvited, HasBooking, InvitationNotFound, InvitationOver
from domain.outbox import MessageNotDead, MessageNotFound
from domain.participant_messages import NoParticipants
from domain.payments import (
    GatewayUnavailable,
    InvalidSignature,
    NothingToPay,
    NothingToRefund,
    PaymentMismatch,
    PaymentNotFound,
    RefundExceedsPayment,
)
from domain.reviews import AlreadyReviewed, DidNotAttend, EventNotOver
from domain.unpaid_holds import TooManyUnpaidHolds
from interfaces.http.authentication import (
    Viewer,
    admins,
    event_creators,
    facilitators,
    profiled_facilitators,
    signed_in,
)
from interfaces.http.injection import injected
from interfaces.http.openapi.operations import Operation
from interfaces.http.service import services

Value = TypeVar("Value")
ErrorTypes = tuple[type[DomainError], ...]


class GuardErrors(NamedTuple):
    """The security scheme of a guard (a key of `SECURITY_SCHEMES`) and its errors."""

    scheme: str
    errors: ErrorTypes


SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "userToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a login.",
    },
    "refreshToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `refresh_token` of a login; only for `POST /auth/refresh`.",
    },
    "serviceToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "`BACKEND_SERVICE_TOKEN`, for services that report payments.",
    },
}

OF_GUARDS: Mapping[Any, GuardErrors] = {
    signed_in: GuardErrors("userToken", (Unauthenticated,)),
    facilitators: GuardErrors("userToken", (Unauthenticated, Forbidden)),
    admins: GuardErrors("userToken", (Unauthenticated, Forbidden)),
    event_creators: GuardErrors("userToken", (Unauthenticated, OnlyFacilitatorsCreate)),
    profiled_facilitators: GuardErrors("userToken", (Unauthenticated, Forbidden, ProfileNotFound)),
    services: GuardErrors("serviceToken", (Unauthenticated,)),
}

TOKENS_OF_USE_CASES: Mapping[type, str] = {Refresh: "refreshToken"}
"""Public operations whose use case reads a token itself."""

_EXTERNAL_IDENTITY: ErrorTypes = (
    IdentityNotProven,
    EmailNotShared,
    EmailNotVerified,
    OtherExternalAccount,
    AccountDeactivated,
    IdentityProviderUnavailable,
    SignInNotConfigured,
)

OF_USE_CASES: Mapping[type, ErrorTypes] = {
    Register: (FacilitatorRegistrationClosed, EmailTaken, TooManyRequests),
    RegisterAndLogIn: (FacilitatorRegistrationClosed, EmailTaken, InvalidCredentials, TooManyRequests),
    LogIn: (InvalidCredentials, TooManyRequests),
    Refresh: (Unauthenticated,),
    LogOut: (),
    ChangePassword: (InvalidCredentials, TooManyRequests),
    UpdateProfile: (),
    StartExternalSignIn: (SignInNotConfigured, IdentityProviderUnavailable, TooManyRequests),
    FinishExternalSignIn: (SignInDenied, SignInRefused, *_EXTERNAL_IDENTITY),
    SignInWithIdToken: (TooManyRequests, *_EXTERNAL_IDENTITY),
    CreateEvent: (),
    ShowEvent: (EventNotFound,),
    UpdateEvent: (
        EventNotFound,
        EventForbidden,
        EventCancelled,
        EventStarted,
        CapacityBelowBookings,
        CurrencyOfBookings,
    ),
    CancelEvent: (EventNotFound, EventForbidden, EventCancelled, EventOver),
    DeleteEvent: (EventNotFound, EventForbidden),
    EventBookings: (EventNotFound, EventForbidden),
    BookSeat: (EventNotFound, EventFull, EventCancelled, EventStarted, AlreadyBooked, TooManyUnpaidHolds),
    CancelBooking: (BookingNotFound, BookingForbidden, BookingAlreadyCancelled, BookingOver),
    CancelParticipant: (BookingNotFound, EventForbidden, BookingAlreadyCancelled, BookingOver),
    InviteParticipant: (
        EventNotFound,
        EventForbidden,
        AlreadyInvited,
        HasBooking,
        EventFull,
        EventCancelled,
        EventStarted,
        TooManyRequests,
    ),
    ListInvitations: (EventNotFound, EventForbidden),
    WithdrawInvitation: (InvitationNotFound, EventForbidden, InvitationOver),
    WriteToParticipants: (EventNotFound, EventForbidden, NoParticipants, TooManyRequests),
    ShowBooking: (BookingNotFound, BookingForbidden),
    ShowBookingReminders: (BookingNotFound, BookingForbidden),
    WriteReview: (EventNotFound, DidNotAttend, EventNotOver, AlreadyReviewed),
    ListReviews: (EventNotFound,),
    FollowLiveUpdates: (TooManyFollowers,),
    RecordOfflinePayment: (BookingNotFound, EventForbidden, BookingIsCancelled),
    OpenCheckout: (NothingToPay, BookingForbidden, GatewayRefused, GatewayUnavailable),
    ShowCancellation: (BookingNotFound, BookingForbidden, BookingAlreadyCancelled, BookingOver),
    RefundBooking: (BookingNotFound, EventForbidden, NothingToRefund, RefundExceedsPayment),
    ReceiveWebhook: (InvalidSignature, GatewayUnavailable),
    ConfirmPayment: (InvalidSignature, PaymentNotFound, PaymentMismatch, GatewayRefused, GatewayUnavailable),
    OpenFeed: (),
    CloseFeed: (),
    ReadFeed: (FeedNotFound,),
    ReportPaymentFailure: (PaymentNotFound,),
    BookAppointment: (OnlyClientsBook, CoachNotFound, CoachInactive, TooManyUnpaidHolds, SlotUnavailable),
    ShowAppointment: (AppointmentNotFound, AppointmentViewForbidden),
    ShowAppointmentReminders: (AppointmentNotFound, AppointmentViewForbidden),
    ReplayMessage: (MessageNotFound, MessageNotDead),
    ReplayMessages: (),
    AuthenticateFollower: (),
    ListAppointments: (AppointmentListForbidden,),
    ChangeAppointmentStatus: (
        AppointmentNotFound,
        AppointmentChangeForbidden,
        InvalidTransition,
        OnlyCoachDecides,
        PaymentConfirms,
        NotCancellable,
    ),
    CancelAppointment: (AppointmentNotFound, AppointmentChangeForbidden, NotCancellable),
    UpdateAppointmentNotes: (AppointmentNotFound, AppointmentChangeForbidden),
    RescheduleAppointment: (
        AppointmentNotFound,
        AppointmentChangeForbidden,
        CoachInactive,
        NotReschedulable,
        HasBegun,
        PricedLengthFixed,
        SlotUnavailable,
    ),
    AppointmentPayment: (
        AppointmentNotFound,
        AppointmentViewForbidden,
        OnlyClientPays,
        NothingToPay,
        GatewayRefused,
        GatewayUnavailable,
    ),
    RecordAppointmentPayment: (AppointmentNotFound, AppointmentChangeForbidden, OnlyCoachRecords, BookingIsCancelled),
    ShowSlots: (CoachNotFound, CoachInactive),
    ShowOwnAvailability: (),
    SetAvailability: (),
    ShowCoachStatistics: (CoachNotFound, AppointmentListForbidden),
    Attach: (AppointmentNotFound, AppointmentChangeForbidden, TooManyAttachments),
    ListAttachments: (AppointmentNotFound, AppointmentViewForbidden),
    DownloadAttachment: (AppointmentNotFound, AppointmentViewForbidden, AttachmentNotFound),
    DeleteAttachment: (AppointmentNotFound, AppointmentChangeForbidden, AttachmentNotFound, AttachmentForbidden),
    BookSeries: (OnlyClientsBook, CoachNotFound, CoachInactive, TooManyUnpaidHolds, SeriesRefused),
    BeginCalendarConsent: (CalendarNotConfigured, RedirectNotAllowed),
    ConnectCalendar: (
        CalendarNotConfigured,
        ConsentUnknown,
        ConsentRefused,
        CalendarNotConnected,
        CalendarNotUnderstood,
        CalendarUnavailable,
    ),
    DisconnectCalendar: (CalendarNotConnected, CalendarUnavailable),
    SyncBooking: (
        CalendarNotConfigured,
        AppointmentNotFound,
        CalendarSyncForbidden,
        CancelledNotSynced,
        NoCalendarToSync,
        TokenRejected,
        CalendarRefused,
        CalendarReconnect,
        CalendarNotUnderstood,
        CalendarUnavailable,
    ),
}

OF_KEYS: ErrorTypes = (IdempotencyKeyReused, IdempotencyKeyInUse, IdempotencyAnswerLost)


def errors_of(operation: Operation) -> list[type[DomainError]]:
    """The errors without duplicates, in the order of the checks. Raises `LookupError` for a guard or a use case that
    is missing in the tables."""
    found: list[type[DomainError]] = []
    for guard in operation.guards:
        found += _line(OF_GUARDS, guard).errors
    if operation.takes_key:
        found += [IdempotencyKeyInvalid, *(OF_KEYS if operation.answers_once else ())]
        if operation.answers_once and not operation.guards:
            found.append(TooManyRequests)
    found += operation.errors_of_path
    for use_case in operation.use_cases:
        found += _line(OF_USE_CASES, use_case)
    return list(dict.fromkeys(found))


def security(operation: Operation) -> list[dict[str, list[str]]]:
    """OpenAPI's security requirements; empty for public operations. `{}` marks a token as optional."""
    schemes = [_line(OF_GUARDS, guard).scheme for guard in operation.guards]
    schemes += [TOKENS_OF_USE_CASES[kind] for kind in operation.use_cases if kind in TOKENS_OF_USE_CASES]
    if Viewer in injected(operation.handler.fn).values():
        return [{}, {OF_GUARDS[signed_in].scheme: []}]
    return [{scheme: []} for scheme in schemes]


def _line(table: Mapping[Any, Value], key: Any) -> Value:
    if key not in table:
        raise LookupError(f"{getattr(key, '__name__', key)} has no line in {__name__}: add its errors there")
    return table[key]
