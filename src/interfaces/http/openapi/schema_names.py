"""Names of schemas in the API's description. Generators derive class names from them.

The schema of a struct or an enum has the name of its class, unless a line here replaces it: where the name in the code
distinguishes bodies from entities (`BookingBody`), and where contracts have different schemas for one resource. Then
contracts B and D have the plain name, and the others end in `OfA`, `OfC` and so on, as their operation ids do.
"""

from collections.abc import Mapping

from domain.api_keys import Scope
from domain.appointments import AppointmentCancelReason, AppointmentChange, AppointmentStatus
from domain.calendars import ConnectionStatus, Provider
from domain.outbox import MessageType
from domain.reminders import SkipReason
from interfaces.http import health, reminders, schemas, service, shared_booking_route
from interfaces.http.booking_api import (
    accounts,
    admin,
    admin_accounts,
    api_keys,
    bookings,
    events,
    facilitator,
    participants,
    payments,
    razorpay,
    reviews,
    second_factors,
)
from interfaces.http.coaching_api import (
    appointments,
    attachments,
    availability,
    calendar_feed,
    calendars,
    coaches,
    series,
    statistics,
)
from interfaces.http.coaching_api import errors as e_errors
from interfaces.http.coaching_api import payments as appointment_payments
from interfaces.http.errors import ErrorFormat, contract_b_format
from interfaces.http.events_api import accounts as a_accounts
from interfaces.http.events_api import bookings as a_bookings
from interfaces.http.events_api import errors as a_errors
from interfaces.http.events_api import events as a_events
from interfaces.http.live import entries
from interfaces.http.sessions_api import accounts as c_accounts
from interfaces.http.sessions_api import bookings as c_bookings
from interfaces.http.sessions_api import errors as c_errors
from interfaces.http.sessions_api import facilitator as c_facilitator
from interfaces.http.sessions_api import google as c_google
from interfaces.http.sessions_api import sessions

NAMES: Mapping[type, str] = {
    # Accounts
    accounts.RegistrationBody: "RegistrationRequest",
    accounts.Credentials: "LoginRequest",
    accounts.UserBody: "User",
    accounts.Registered: "UserRegistered",
    accounts.TokensBody: "Tokens",
    accounts.Profile: "UserProfile",
    accounts.ProfileChange: "UserProfileUpdate",
    accounts.UserWithPhone: "UpdatedUser",
    api_keys.NewApiKeyBody: "ApiKeyRequest",
    api_keys.ApiKeyBody: "ApiKey",
    Scope: "ApiKeyScope",
    accounts.ProfileChanged: "UserProfileUpdated",
    accounts.LogOutRequest: "LogoutRequest",
    accounts.PasswordChange: "PasswordChangeRequest",
    a_accounts.NewUser: "RegistrationRequestOfA",
    a_accounts.Credentials: "LoginRequestOfA",
    a_accounts.UserBody: "UserOfA",
    a_accounts.Entrance: "TokenOfA",
    c_accounts.NewUser: "RegistrationRequestOfC",
    c_accounts.Credentials: "LoginRequestOfC",
    c_accounts.UserBody: "UserOfC",
    c_accounts.Entrance: "TokenOfC",
    c_google.GoogleCredentials: "GoogleLoginRequest",
    second_factors.ProofBody: "Reauthentication",
    second_factors.FactorBody: "SecondFactor",
    second_factors.FactorList: "SecondFactorList",
    second_factors.FactorChange: "SecondFactorUpdate",
    second_factors.RecoveryCodesBody: "NewRecoveryCodes",
    # Events
    events.FacilitatorBody: "Facilitator",
    events.EventBody: "Event",
    events.RefundTierBody: "RefundTier",
    events.EventChange: "EventUpdate",
    events.EventAnswer: "EventSaved",
    reviews.ReviewBody: "Review",
    reviews.ReviewAnswer: "ReviewCreated",
    a_events.EventBody: "EventOfA",
    sessions.SessionBody: "Session",
    sessions.SessionChange: "SessionUpdate",
    c_facilitator.OwnSession: "FacilitatorSession",
    c_facilitator.DashboardBody: "Dashboard",
    c_facilitator.Metrics: "DashboardMetrics",
    # Bookings
    bookings.NewBookingRequest: "BookingRequest",
    bookings.UserBrief: "UserSummary",
    bookings.EventBrief: "EventSummary",
    bookings.EventOfBooking: "BookedEvent",
    bookings.BookingBody: "Booking",
    bookings.RefundBody: "Refund",
    reminders.ReminderBody: "Reminder",
    facilitator.EventCount: "EventOccupancy",
    facilitator.BookingsOfEvent: "EventBookings",
    facilitator.Registrations: "EventRegistrations",
    a_bookings.EventBrief: "EventSummaryOfA",
    a_bookings.BookingBody: "BookingOfA",
    a_bookings.BookingCancelled: "BookingCancelledOfA",
    c_bookings.SessionBrief: "BookedSession",
    c_bookings.BookingBody: "BookingOfC",
    c_facilitator.SessionBrief: "SessionSummary",
    c_facilitator.Attendee: "AttendeeOfC",
    c_facilitator.AttendeeBooking: "AttendeeBookingOfC",
    shared_booking_route.BookingRequest: "BookingRequestOfAOrC",
    shared_booking_route.Booked: "BookingCreatedOfAOrC",
    participants.InvitationBody: "Invitation",
    participants.InvitationSent: "InvitationSaved",
    participants.ParticipantToAdd: "ParticipantRequest",
    participants.MessageToParticipants: "ParticipantMessage",
    participants.MessageAccepted: "ParticipantMessageAccepted",
    # Payments
    payments.CancellationBody: "CancellationTerms",
    payments.PaymentOfBooking: "BookingPayment",
    payments.Received: "WebhookReceived",
    razorpay.PaidCallback: "RazorpayPayment",
    razorpay.FailedCallback: "RazorpayFailure",
    razorpay.CallbackTaken: "RazorpayCallbackProcessed",
    razorpay.BookingOfPayment: "RazorpayBooking",
    service.PaymentRecorded: "OfflinePaymentRecorded",
    # Coaches and appointments
    coaches.CoachBody: "Coach",
    coaches.CoachListBody: "CoachList",
    appointments.NewAppointmentRequest: "AppointmentRequest",
    appointments.AppointmentBody: "Appointment",
    appointments.AppointmentCreated: "AppointmentCreated",
    appointments.AppointmentList: "AppointmentList",
    appointment_payments.AppointmentPaymentLink: "AppointmentPaymentLink",
    appointments.StatusRequest: "AppointmentStatusUpdate",
    appointments.NotesRequest: "AppointmentNotesUpdate",
    appointments.HistoryBody: "AppointmentHistory",
    appointments.HistoryEntryBody: "AppointmentHistoryEntry",
    appointments.RememberedFields: "AppointmentSnapshot",
    appointments.RememberedFile: "AttachmentSummary",
    appointments.SessionReminders: "AppointmentReminders",
    series.NewSeriesRequest: "RecurringAppointmentRequest",
    series.SeriesBody: "RecurringAppointment",
    series.RefusedSession: "RefusedAppointment",
    availability.SlotBody: "Slot",
    availability.HoursBody: "Hours",
    availability.AvailabilityBody: "Availability",
    availability.AvailabilityChange: "AvailabilityUpdate",
    statistics.CoachFiguresBody: "CoachStatistics",
    statistics.CoachWeekBody: "CoachWeekStatistics",
    attachments.NewFile: "AttachmentUpload",
    attachments.AttachmentBody: "Attachment",
    # Calendars
    calendars.ConsentCode: "CalendarAuthorizationCode",
    calendars.ConsentUrl: "CalendarAuthorizationUrl",
    calendars.BookingToSync: "CalendarSyncRequest",
    calendars.SyncedEntry: "CalendarEntry",
    calendars.ConnectionBody: "CalendarConnection",
    calendar_feed.FeedAddress: "CalendarFeed",
    # Operation
    schemas.Done: "SuccessMessage",
    entries.Entry: "LiveUpdate",
    admin_accounts.NewRole: "RoleRequest",
    admin.OpenedMessage: "OutboxMessageDetails",
    admin.ReplayOrder: "ReplayRequest",
    admin.Replayed: "MessagesReplayed",
    admin.KeptOutboxMessages: "KeptMessages",
    health.Running: "ServiceStatus",
    health.Healthy: "Health",
    # Values
    AppointmentCancelReason: "AppointmentCancelReason",
    AppointmentStatus: "AppointmentStatus",
    AppointmentChange: "AppointmentChange",
    ConnectionStatus: "CalendarConnectionStatus",
    MessageType: "MessageType",
    Provider: "CalendarProvider",
    SkipReason: "SkipReason",
}

ERRORS: Mapping[ErrorFormat, str] = {
    contract_b_format: "Error",
    a_errors.contract_a_format: "ErrorOfA",
    c_errors.contract_c_format: "ErrorOfC",
    c_errors.booking_error_format: "ErrorOfAOrC",
    e_errors.contract_e_format: "ErrorOfE",
}

ERROR_CODE = "ErrorCode"


def schema_name(described: type) -> str:
    return NAMES.get(described, described.__name__)
