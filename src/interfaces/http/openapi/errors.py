"""What each operation may refuse, derived from its guards, its use cases and its path.

A guard or a use case that is not in these tables stops the document from being made, and with it the tests.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from application.accounts.external_identity import FinishGoogleSignIn, SignInWithGoogleToken, StartGoogleSignIn
from application.accounts.login import LogIn
from application.accounts.profile import ChangePassword, UpdateProfile
from application.accounts.registration import Register, RegisterAndLogIn
from application.accounts.sessions import Authenticate, LogOut, Refresh
from application.appointments.attachments import Attach, DeleteAttachment, DownloadAttachment, ListAttachments
from application.appointments.availability import SetAvailability, ShowOwnAvailability, ShowSlots
from application.appointments.booking import BookCoaching
from application.appointments.changes import CancelCoaching, ChangeCoachingStatus, MoveCoaching, NoteCoaching
from application.appointments.payment import CoachingPayment, RecordCoachingPayment
from application.appointments.queries import ListCoachings, ShowCoaching
from application.appointments.series import BookSeries
from application.appointments.statistics import ShowCoachFigures
from application.bookings.cancellation import CancelBooking, CancelParticipant
from application.bookings.invitations import InviteParticipant, ListInvitations, WithdrawInvitation
from application.bookings.queries import ShowBooking
from application.bookings.reservation import BookPlace
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
from application.notifications.live_updates import FollowFeed, TooManyFollowers
from application.notifications.reminders import ShowBookingReminders, ShowCoachingReminders
from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.payments.callbacks import ConfirmPayment, HearOfFailure
from application.payments.checkout import AskForPayment
from application.payments.offline import RecordOfflinePayment
from application.payments.ports.gateways import GatewayRefused
from application.payments.refunds import RefundBooking, ShowCancellation
from application.payments.webhooks import TakeGatewayEvent
from domain.accounts import EmailTaken, FacilitatorRegistrationClosed, InvalidCredentials, ProfileNotFound, UserNotFound
from domain.appointments import (
    CoachInactive,
    CoachingNotFound,
    CoachNotFound,
    HasBegun,
    InvalidTransition,
    NotCancellable,
    NotForYourEyes,
    NotReschedulable,
    NotTheirsToList,
    NotYoursToChange,
    OnlyClientPays,
    OnlyClientsBook,
    OnlyCoachDecides,
    OnlyCoachRecords,
    PaymentConfirms,
    PricedLengthFixed,
    SeriesRefused,
)
from domain.attachments import AttachmentNotFound, NotYourAttachment, TooManyAttachments
from domain.availability import SlotUnavailable
from domain.bookings import (
    BookingAlreadyCancelled,
    BookingIsCancelled,
    BookingNotFound,
    BookingOver,
    NotYourBooking,
)
from domain.calendar_feed import FeedNotFound
from domain.calendars import (
    CalendarAway,
    CalendarNotConfigured,
    CalendarNotConnected,
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    CancelledNotSynced,
    ConsentRefused,
    ConsentUnknown,
    NoCalendarToSync,
    NotYoursToSync,
    RedirectNotAllowed,
    TokenRejected,
)
from domain.errors import DomainError, Forbidden, NotFound, TooManyRequests, Unauthenticated
from domain.events import (
    AlreadyBooked,
    CapacityBelowBookings,
    CurrencyOfBookings,
    EventCancelled,
    EventFull,
    EventNotFound,
    EventOver,
    EventStarted,
    NotYourEvent,
)
from domain.external_identity import (
    AccountDeactivated,
    EmailNotShared,
    EmailNotVerified,
    GoogleAway,
    GoogleNotConfigured,
    IdentityNotProven,
    OtherGoogleAccount,
    SignInDenied,
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
    PaymentDiffers,
    PaymentNotFound,
    RefundExceedsPayment,
)
from domain.reviews import AlreadyReviewed, DidNotAttend, EventNotOver
from domain.unpaid_holds import TooManyUnpaidHolds
from interfaces.http.authentication import admins, event_creators, facilitators, profiled_facilitators, signed_in
from interfaces.http.openapi.operations import Operation, is_of_coaching
from interfaces.http.service import services

Value = TypeVar("Value")
Refusals = tuple[type[DomainError], ...]


class Admission(NamedTuple):
    """What a guard asks for, a scheme of `SECURITY_SCHEMES`, and how it refuses."""

    scheme: str
    refusals: Refusals


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
        "description": "`BACKEND_SERVICE_TOKEN`, for services that report back.",
    },
}

OF_GUARDS: Mapping[Any, Admission] = {
    signed_in: Admission("userToken", (Unauthenticated,)),
    facilitators: Admission("userToken", (Unauthenticated, Forbidden)),
    admins: Admission("userToken", (Unauthenticated, Forbidden)),
    event_creators: Admission("userToken", (Unauthenticated, OnlyFacilitatorsCreate)),
    profiled_facilitators: Admission("userToken", (Unauthenticated, Forbidden, ProfileNotFound)),
    services: Admission("serviceToken", (Unauthenticated,)),
}

TOKENS_OF_USE_CASES: Mapping[type, str] = {Refresh: "refreshToken"}
"""Public operations whose use case asks for a token itself."""

_ACCOUNT_OF_GOOGLE: Refusals = (
    IdentityNotProven,
    EmailNotShared,
    EmailNotVerified,
    OtherGoogleAccount,
    AccountDeactivated,
    GoogleAway,
    GoogleNotConfigured,
)

OF_USE_CASES: Mapping[type, Refusals] = {
    Register: (FacilitatorRegistrationClosed, EmailTaken, TooManyRequests),
    RegisterAndLogIn: (FacilitatorRegistrationClosed, EmailTaken, InvalidCredentials, TooManyRequests),
    LogIn: (InvalidCredentials, TooManyRequests),
    Refresh: (Unauthenticated,),
    LogOut: (),
    ChangePassword: (InvalidCredentials, TooManyRequests),
    UpdateProfile: (),
    StartGoogleSignIn: (GoogleNotConfigured, GoogleAway, TooManyRequests),
    FinishGoogleSignIn: (SignInDenied, SignInRefused, *_ACCOUNT_OF_GOOGLE),
    SignInWithGoogleToken: (TooManyRequests, *_ACCOUNT_OF_GOOGLE),
    CreateEvent: (),
    ShowEvent: (EventNotFound,),
    UpdateEvent: (
        EventNotFound,
        NotYourEvent,
        EventCancelled,
        EventStarted,
        CapacityBelowBookings,
        CurrencyOfBookings,
    ),
    CancelEvent: (EventNotFound, NotYourEvent, EventCancelled, EventOver),
    DeleteEvent: (EventNotFound, NotYourEvent),
    EventBookings: (EventNotFound, NotYourEvent),
    BookPlace: (EventNotFound, EventFull, EventCancelled, EventStarted, AlreadyBooked, TooManyUnpaidHolds),
    CancelBooking: (BookingNotFound, NotYourBooking, BookingAlreadyCancelled, BookingOver),
    CancelParticipant: (BookingNotFound, NotYourEvent, BookingAlreadyCancelled, BookingOver),
    InviteParticipant: (
        EventNotFound,
        NotYourEvent,
        AlreadyInvited,
        HasBooking,
        EventFull,
        EventCancelled,
        EventStarted,
        TooManyRequests,
    ),
    ListInvitations: (EventNotFound, NotYourEvent),
    WithdrawInvitation: (InvitationNotFound, NotYourEvent, InvitationOver),
    WriteToParticipants: (EventNotFound, NotYourEvent, NoParticipants, TooManyRequests),
    ShowBooking: (BookingNotFound, NotYourBooking),
    ShowBookingReminders: (BookingNotFound, NotYourBooking),
    WriteReview: (EventNotFound, DidNotAttend, EventNotOver, AlreadyReviewed),
    ListReviews: (EventNotFound,),
    FollowFeed: (TooManyFollowers,),
    RecordOfflinePayment: (BookingNotFound, NotYourEvent, BookingIsCancelled),
    AskForPayment: (NothingToPay, NotYourBooking, GatewayRefused, GatewayUnavailable),
    ShowCancellation: (BookingNotFound, NotYourBooking, BookingAlreadyCancelled, BookingOver),
    RefundBooking: (BookingNotFound, NotYourEvent, NothingToRefund, RefundExceedsPayment),
    TakeGatewayEvent: (InvalidSignature, GatewayUnavailable),
    ConfirmPayment: (InvalidSignature, PaymentNotFound, PaymentDiffers, GatewayRefused, GatewayUnavailable),
    OpenFeed: (),
    CloseFeed: (),
    ReadFeed: (FeedNotFound,),
    HearOfFailure: (PaymentNotFound,),
    BookCoaching: (OnlyClientsBook, CoachNotFound, CoachInactive, TooManyUnpaidHolds, SlotUnavailable),
    ShowCoaching: (CoachingNotFound, NotForYourEyes),
    ShowCoachingReminders: (CoachingNotFound, NotForYourEyes),
    ReplayMessage: (MessageNotFound, MessageNotDead),
    ReplayMessages: (),
    Authenticate: (),
    ListCoachings: (NotTheirsToList,),
    ChangeCoachingStatus: (
        CoachingNotFound,
        NotYoursToChange,
        InvalidTransition,
        OnlyCoachDecides,
        PaymentConfirms,
        NotCancellable,
    ),
    CancelCoaching: (CoachingNotFound, NotYoursToChange, NotCancellable),
    NoteCoaching: (CoachingNotFound, NotYoursToChange),
    MoveCoaching: (
        CoachingNotFound,
        NotYoursToChange,
        CoachInactive,
        NotReschedulable,
        HasBegun,
        PricedLengthFixed,
        SlotUnavailable,
    ),
    CoachingPayment: (
        CoachingNotFound,
        NotForYourEyes,
        OnlyClientPays,
        NothingToPay,
        GatewayRefused,
        GatewayUnavailable,
    ),
    RecordCoachingPayment: (CoachingNotFound, NotYoursToChange, OnlyCoachRecords, BookingIsCancelled),
    ShowSlots: (CoachNotFound, CoachInactive),
    ShowOwnAvailability: (),
    SetAvailability: (),
    ShowCoachFigures: (CoachNotFound, NotTheirsToList),
    Attach: (CoachingNotFound, NotYoursToChange, TooManyAttachments),
    ListAttachments: (CoachingNotFound, NotForYourEyes),
    DownloadAttachment: (CoachingNotFound, NotForYourEyes, AttachmentNotFound),
    DeleteAttachment: (CoachingNotFound, NotYoursToChange, AttachmentNotFound, NotYourAttachment),
    BookSeries: (OnlyClientsBook, CoachNotFound, CoachInactive, TooManyUnpaidHolds, SeriesRefused),
    BeginCalendarConsent: (CalendarNotConfigured, RedirectNotAllowed),
    ConnectCalendar: (
        CalendarNotConfigured,
        ConsentUnknown,
        ConsentRefused,
        CalendarNotConnected,
        CalendarNotUnderstood,
        CalendarAway,
    ),
    DisconnectCalendar: (CalendarNotConnected, CalendarAway),
    SyncBooking: (
        CalendarNotConfigured,
        CoachingNotFound,
        NotYoursToSync,
        CancelledNotSynced,
        NoCalendarToSync,
        TokenRejected,
        CalendarRefused,
        CalendarReconnect,
        CalendarNotUnderstood,
        CalendarAway,
    ),
}

OF_PATH_IDS: Mapping[str, type[NotFound]] = {
    "event_id": EventNotFound,
    "session_id": EventNotFound,
    "booking_id": BookingNotFound,
    "message_id": MessageNotFound,
    "invitation_id": InvitationNotFound,
}

OF_COACHING_IDS: Mapping[str, type[NotFound]] = {
    "feed": FeedNotFound,
    "provider": CalendarNotConnected,
    "booking_id": CoachingNotFound,
    "attachment_id": AttachmentNotFound,
    "client_id": UserNotFound,
    "coach_id": CoachNotFound,
}
"""The ids in contract E's paths."""


OF_KEYS: Refusals = (IdempotencyKeyReused, IdempotencyKeyInUse, IdempotencyAnswerLost)


def refusals(operation: Operation) -> list[type[DomainError]]:
    """Each once, in the order in which a request meets them. Raises `LookupError` for what no table knows."""
    found: list[type[DomainError]] = []
    for guard in operation.guards:
        found += _line(OF_GUARDS, guard).refusals
    if operation.takes_key:
        found += [IdempotencyKeyInvalid, *(OF_KEYS if operation.answers_once else ())]
        if operation.answers_once and not operation.guards:
            found.append(TooManyRequests)
    of_ids = OF_COACHING_IDS if is_of_coaching(operation.path) else OF_PATH_IDS
    found += [_line(of_ids, name) for name in operation.path_ids]
    for use_case in operation.use_cases:
        found += _line(OF_USE_CASES, use_case)
    return list(dict.fromkeys(found))


def security(operation: Operation) -> list[dict[str, list[str]]]:
    """As OpenAPI writes it; nothing for what everybody may call. `{}` says that a token is optional."""
    schemes = [_line(OF_GUARDS, guard).scheme for guard in operation.guards]
    schemes += [TOKENS_OF_USE_CASES[kind] for kind in operation.use_cases if kind in TOKENS_OF_USE_CASES]
    if "viewer" in operation.handler.parsed_fn_signature.parameters:
        return [{}, {OF_GUARDS[signed_in].scheme: []}]
    return [{scheme: []} for scheme in schemes]


def _line(table: Mapping[Any, Value], key: Any) -> Value:
    if key not in table:
        raise LookupError(f"{getattr(key, '__name__', key)} has no line in {__name__}: say there how it refuses")
    return table[key]
