"""Limits on writes, by operation. They count after the guards and after a stored answer to the same idempotency key."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request

from application.accounts.sessions import Actor
from application.write_limits import Write, WriteLimits
from domain.networks import network_of
from interfaces.http.authentication import TrustedProxies, client_address

LIMITED: Mapping[str, Write] = {
    operation: write
    for write, operations in {
        Write.BOOKINGS: ("createBooking", "createBookingOfAOrC", "bookCoaching", "bookOnPage"),
        Write.EVENTS: ("createEvent", "createSession"),
        Write.SERIES: ("bookSeries",),
        Write.MESSAGES: ("writeToParticipants", "addParticipant"),
        Write.CHANGES: (
            *("updateProfile", "createReview"),
            *("updateEvent", "deleteEvent", "cancelEvent", "cancelEventOfD"),
            *("updateSession", "cancelSession", "deleteSession"),
            *("cancelOnPage", "payOnPage"),
            *("cancelBooking", "cancelBookingOfA", "cancelParticipant", "withdrawInvitation"),
            *("payBooking", "recordPaymentOnTheSpot", "refundBooking", "payCoaching", "recordCoachingPayment"),
            *("changeCoachingStatus", "cancelCoaching", "noteCoaching", "rescheduleCoaching"),
            *("addAttachment", "deleteAttachment", "setAvailability"),
            *("syncBooking", "disconnectCalendar", "openCalendarFeed", "closeCalendarFeed"),
            *("connectGoogleCalendar", "connectOutlook"),
            *("startTotpEnrolment", "startPasskey", "addPasskey", "challengePasskeys"),
            *("renameFactor", "removeFactor", "replaceRecoveryCodes"),
            *("deactivateUser", "activateUser", "changeUserRole"),
        ),
    }.items()
    for operation in operations
}
"""By operation id."""

NOT_LIMITED: Mapping[str, tuple[str, ...]] = {
    "its use case has limits by address and network": (
        *("register", "registerOfA", "registerOfC", "logIn", "logInOfA", "logInOfC", "signInWithGoogleOfC"),
        *("requestPasswordReset", "resetPassword", "verifyEmail", "resendVerification", "changePassword"),
        *("requestEmailChange", "changeEmail", "undoEmailChange", "eraseProfile"),
        *("logInOnPage", "completeLogInOnPage", "signUpOnPage"),
        *("completeLogin", "challengePasskeysOfLogin", "confirmTotpEnrolment"),
    ),
    "it replaces or ends an access": ("refreshToken", "logOut", "logOutOnPage", "endLoginSession"),
    "it needs the secret of a link in a mail": (
        *("confirmInvitation", "declineInvitation", "confirmVerification", "submitPasswordReset"),
        *("confirmEmailChange", "confirmUndoingOfEmailChange"),
    ),
    "it is signed by a gateway, or looked up there": (
        *("stripeWebhook", "razorpayWebhook", "sandboxWebhook", "confirmPayment", "reportFailedPayment"),
    ),
    "it is the sandbox of payments, for tests": ("payAtSandbox", "declineAtSandbox", "disputeAtSandbox"),
    "it needs the token of a service": ("recordOfflinePayment",),
    "it makes or revokes a credential, of which there are few": ("createApiKey", "revokeApiKey"),
    "it repairs deliveries, for admins": ("replayOutbox", "replayOutboxMessage"),
}
"""The operations that write and are not limited here, by the reason."""

_IN_PATH = {"event_id": "event", "session_id": "event", "booking_id": "booking"}
"""What the parameters of a path name: the event or the booking whose people are notified."""


class _Booked(msgspec.Struct):
    """The part of the body of a new appointment that names who is notified."""

    coach_id: str


async def limit_write(request: Request[Any, Any, Any], limits: WriteLimits, trusted_proxies: TrustedProxies) -> None:
    """Raises `TooManyRequests`."""
    write = LIMITED.get(str(request.route_handler.operation_id))
    if write is None:
        return
    actor: Actor = request.scope["user"]
    network = network_of(client_address(request, trusted_proxies))
    await limits(write, actor.user.id, network=network, recipient=await _recipient(request, write))


async def _recipient(request: Request[Any, Any, Any], write: Write) -> str | None:
    for name, value in request.path_params.items():
        if name in _IN_PATH:
            return f"{_IN_PATH[name]} {str(value).lower()}"
    if write in {Write.BOOKINGS, Write.SERIES}:
        try:
            return f"coach {msgspec.json.decode(await request.body(), type=_Booked).coach_id.lower()}"
        except msgspec.MsgspecError:
            return None  # an event, which many book at once, or a body that is rejected later
    return None
