"""Who may call what: a rule for each operation of both API descriptions, and the kinds of callers.

Written apart from the code, as a second statement of the same decisions.
"""

from dataclasses import dataclass
from enum import StrEnum


class Account(StrEnum):
    CLIENT = "client"
    """Of the booking and the appointment of the test."""
    OTHER_CLIENT = "other client"
    FACILITATOR = "facilitator"
    """Of the event and the appointment of the test."""
    OTHER_FACILITATOR = "other facilitator"
    ADMIN = "admin"
    ADMIN_WITHOUT_PROFILE = "admin without profile"


CLIENTS = frozenset({Account.CLIENT, Account.OTHER_CLIENT})
ADMINS = frozenset({Account.ADMIN, Account.ADMIN_WITHOUT_PROFILE})
OWNERS = {
    "client": {Account.CLIENT, *ADMINS},
    "organiser": {Account.FACILITATOR, *ADMINS},
    "coach": {Account.FACILITATOR, *ADMINS},
    "person": {Account.CLIENT, Account.FACILITATOR, *ADMINS},
    "participant": {Account.CLIENT, Account.FACILITATOR},
}
"""Rules about the owners of what the path names: the client of a booking or appointment, the facilitator of its event,
its coach, or both. An admin has the rights of every owner, but is no participant."""

ALLOWED = {
    "account": frozenset(Account),
    "facilitator": frozenset(Account) - CLIENTS,
    "profile": frozenset(Account) - CLIENTS,
    "admin": ADMINS,
    **{name: frozenset(accounts) for name, accounts in OWNERS.items()},
}
"""By rule: the accounts that it admits. `profile`: facilitators with a profile; another admin is answered 404."""

WITHOUT_ACCOUNT = {"public", "refresh token", "service token", "CRM token", "webhook token"}

BOOKING_API = """
getRoot                     public
getHealth                   public

register                    public
registerOfA                 public
registerOfC                 public
logIn                       public
logInOfA                    public
logInOfC                    public
refreshToken                refresh token
logOut                      account         no keys
changePassword              account         no keys
requestPasswordReset        public
resetPassword               public
verifyEmail                 public
resendVerification          account         no keys
listLoginSessions           account         no keys
endLoginSession             account         no keys
requestEmailChange          account         no keys
changeEmail                 public
undoEmailChange             public
getProfile                  account         profile:read
updateProfile               account         profile:write
exportProfile               account         no keys
eraseProfile                account         no keys
signInWithGoogle            public
signInWithGoogleOfC         public
signInWithGoogleOfD         public
finishGoogleSignIn          public

createApiKey                account         no keys
listApiKeys                 account         no keys
revokeApiKey                account         no keys

completeLogin               public
challengePasskeysOfLogin    public
listFactors                 account         no keys
startTotpEnrolment          account         no keys
confirmTotpEnrolment        account         no keys
startPasskey                account         no keys
addPasskey                  account         no keys
challengePasskeys           account         no keys
renameFactor                account         no keys
removeFactor                account         no keys
replaceRecoveryCodes        account         no keys

listEvents                  public
filterEvents                public
getEvent                    public
listEventsOfA               account         events:read
getEventOfA                 account         events:read
listSessions                account         events:read
createEvent                 facilitator     events:write
createSession               profile         events:write
updateEvent                 organiser       events:write
updateSession               organiser       events:write
deleteEvent                 organiser       events:write
deleteSession               organiser       events:write
cancelEvent                 organiser       events:write
cancelEventOfD              organiser       events:write
cancelSession               organiser       events:write
writeToParticipants         organiser       events:write
listFacilitatorEvents       facilitator     events:read
listOwnSessions             profile         events:read
listReviews                 public
createReview                account         events:write

createBooking               account         bookings:write
createBookingOfAOrC         account         bookings:write
listBookings                account         bookings:read
listBookingsOfA             account         bookings:read
listBookingsOfC             account         bookings:read
getBooking                  person          bookings:read
listBookingReminders        person          bookings:read
cancelBooking               client          bookings:write
cancelBookingOfA            client          bookings:write
listEventBookings           organiser       bookings:read
listRegistrations           organiser       bookings:read
listSessionBookings         organiser       bookings:read
listFacilitatorBookings     profile         bookings:read
getDashboard                profile         bookings:read
followFeed                  facilitator     bookings:read appointments:read
cancelParticipant           organiser       bookings:write
addParticipant              organiser       bookings:write
listInvitations             organiser       bookings:read
withdrawInvitation          organiser       bookings:write

payBooking                  client          payments:write
showCancellation            client          payments:read
recordPaymentOnTheSpot      organiser       payments:write
refundBooking               organiser       payments:write
payCoaching                 client          payments:write
recordCoachingPayment       coach           payments:write
confirmPayment              public
reportFailedPayment         public
razorpayWebhook             public
stripeWebhook               public
recordOfflinePayment        service token

listCoaches                 public
getCoach                    public
listSlots                   public
getAvailability             facilitator     appointments:read
setAvailability             facilitator     appointments:write
getCoachAnalytics           coach           appointments:read
bookCoaching                account         appointments:write
bookSeries                  account         appointments:write
listCoachingsOfClient       client          appointments:read
listCoachingsOfCoach        coach           appointments:read
getCoaching                 person          appointments:read
getCoachingHistory          person          appointments:read
listCoachingReminders       person          appointments:read
noteCoaching                person          appointments:write
changeCoachingStatus        coach           appointments:write
rescheduleCoaching          person          appointments:write
cancelCoaching              person          appointments:write
addAttachment               person          appointments:write
listAttachments             person          appointments:read
downloadAttachment          person          appointments:read
deleteAttachment            person          appointments:write

getGoogleCalendarConsent    account         no keys
connectGoogleCalendar       account         no keys
getOutlookConsent           account         no keys
connectOutlook              account         no keys
syncBooking                 participant     calendars:write
listCalendarConnections     account         calendars:read
disconnectCalendar          account         calendars:write
openCalendarFeed            account         no keys
closeCalendarFeed           account         calendars:write
readCalendarFeed            public

listOutbox                  admin           admin:read
getOutboxMessage            admin           admin:read
replayOutboxMessage         admin           admin:write
replayOutbox                admin           admin:write
listAuditLog                admin           admin:read
listUsers                   admin           admin:read
activateUser                admin           admin:write
deactivateUser              admin           admin:write
changeUserRole              admin           admin:write
"""
"""Operation, rule, and the scopes that an API key needs."""

CRM = """
crmHealth                   public
listFacilitatorEvents       CRM token
listNotifications           CRM token
clearNotifications          CRM token
deleteNotification          CRM token
processNotification         CRM token
notify                      CRM token
sendTestEmail               CRM token
testMailLogin               CRM token
receiveWebhook              webhook token
listWebhooks                CRM token
processWebhook              CRM token
"""


@dataclass(frozen=True)
class Rule:
    name: str
    scopes: tuple[str, ...]
    """Empty: no API key may call the operation."""

    @property
    def is_about_an_owner(self) -> bool:
        return self.name in OWNERS


def rules(table: str) -> dict[str, Rule]:
    """By operation."""
    found = {}
    for line in filter(None, table.splitlines()):
        operation, rule, scopes = line[:28].strip(), line[28:44].strip(), line[44:].split()
        assert rule in ALLOWED or rule in WITHOUT_ACCOUNT, line
        assert bool(scopes) == (rule in ALLOWED), line
        assert operation not in found, line
        found[operation] = Rule(rule, () if scopes == ["no", "keys"] else tuple(scopes))
    return found


@dataclass(frozen=True)
class Caller:
    """`credential`: what is sent in the header `Authorization`. `account` is None where it authenticates none. `scopes`
    are those of an API key, None for a token."""

    name: str
    credential: str | None
    account: Account | None = None
    scopes: frozenset[str] | None = None
    token: str | None = None
    """`refresh token`, `service token` and so on: rules without an account that it satisfies."""


class Outcome(StrEnum):
    OPEN = "open"
    """The operation was carried out, or refused for another reason than the caller."""
    UNAUTHENTICATED = "401"
    FORBIDDEN = "403"
    KEY_NOT_ALLOWED = "403 api_key_not_allowed"
    INSUFFICIENT_SCOPE = "403 insufficient_scope"
    NO_PROFILE = "404 profile_not_found"


def expected(rule: Rule, caller: Caller) -> Outcome:
    if rule.name == "public" or (caller.token is not None and rule.name == caller.token):
        return Outcome.OPEN
    if rule.name in WITHOUT_ACCOUNT or caller.account is None:
        return Outcome.FORBIDDEN if rule.name == "webhook token" else Outcome.UNAUTHENTICATED
    if caller.scopes is not None and not rule.scopes:
        return Outcome.KEY_NOT_ALLOWED
    if caller.scopes is not None and not caller.scopes.issuperset(rule.scopes):
        return Outcome.INSUFFICIENT_SCOPE
    if caller.account not in ALLOWED[rule.name]:
        return Outcome.FORBIDDEN
    if rule.name == "profile" and caller.account is Account.ADMIN_WITHOUT_PROFILE:
        return Outcome.NO_PROFILE
    return Outcome.OPEN


NOT_CONFIGURED = {"google_not_configured", "calendar_not_configured", "gateway_unavailable", "smtp_not_configured"}
"""The only codes of 503: the test has no Google, no payment gateway and no mail server."""


def outcome(status: int, code: str | None) -> Outcome | str:
    """What an answer is; a text for one that no caller may get."""
    if status >= 500 and code not in NOT_CONFIGURED:
        return f"{status} {code}"
    if status == 401:
        return Outcome.UNAUTHENTICATED
    if status == 403:
        return next((each for each in Outcome if each == f"403 {code}"), Outcome.FORBIDDEN)
    return Outcome.NO_PROFILE if code == "profile_not_found" else Outcome.OPEN
