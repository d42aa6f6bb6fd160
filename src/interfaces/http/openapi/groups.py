"""The groups of operations: one for each noun, in the order in which they are shown.

Handlers declare the contract and the noun together, `Contract B: accounts`. The noun is the group; the contract is
shown in the operation's description. Operations of no contract declare the group alone.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

INTRODUCTION = files(__package__).joinpath("introduction.md").read_text(encoding="utf-8")

GROUPS: Mapping[str, Mapping[str, str]] = {
    "People": {
        "Accounts": "Registration, login, tokens, Google login and the caller's profile. Contract B for new clients; A"
        " and C have addresses of their own under `/api`, D has one for Google login.",
        "API keys": "Keys for programs that act for an account, limited by scopes.",
        "Second factors": "Codes of authenticator apps, passkeys and recovery codes, which a login needs beside the"
        " password.",
    },
    "Events": {
        "Events": "Sessions, workshops and retreats. Contract B, with D's filter by type and rating. A has the same"
        " events with `date_time` and `duration`, C calls them sessions.",
        "Reviews": "Reviews by people who attended; an event's `rating` comes from them. Contract D.",
        "Facilitators": "A facilitator's own events and their bookings. Contracts B and D; C has sessions and a"
        " dashboard.",
    },
    "Bookings": {
        "Bookings": "The caller's bookings of events. Contract B for new clients; A and C have their own under `/api`.",
        "Payments": "Where to pay, what a cancellation refunds, and the callbacks and webhooks of gateways. Contract B"
        " with Razorpay, D with Stripe.",
    },
    "Appointments": {
        "Coaches": "Coaches who offer appointments: `uuid`, price, time zone and rating. Contract E.",
        "Availability": "A coach's free slots, and the hours and rules behind them. Contract E.",
        "Appointments": "1:1 appointments with a coach, which contract E calls bookings. Their ids are UUIDs.",
        "Attachments": "Files that the two people of an appointment share. Contract E.",
    },
    "Calendars": {
        "Calendars": "Connected calendars of Google and Outlook. Contract E.",
        "Calendar feed": "All bookings of a person in any calendar program, at a secret address. Contract E.",
    },
    "Operation": {
        "Live updates": "Changes to a facilitator's bookings as they happen.",
        "Services": "For services that report payments, with the service token.",
        "Admins": "Messages that could not be delivered, and their replay; accounts; the audit log.",
        "Health": "Whether the process runs, and whether it can handle requests.",
    },
}
"""Groups by heading; several viewers show them so (`x-tagGroups`)."""

TAGS = {name: description for groups in GROUPS.values() for name, description in groups.items()}

FOR_NEW_CLIENTS: Mapping[str, str] = {
    "registerOfA": "register",
    "registerOfC": "register",
    "logInOfA": "logIn",
    "logInOfC": "logIn",
    "signInWithGoogleOfD": "signInWithGoogle",
    "listEventsOfA": "listEvents",
    "getEventOfA": "getEvent",
    "listSessions": "listEvents",
    "createSession": "createEvent",
    "updateSession": "updateEvent",
    "cancelSession": "cancelEvent",
    "deleteSession": "cancelEvent",
    "createBookingOfAOrC": "createBooking",
    "listBookingsOfA": "listBookings",
    "listBookingsOfC": "listBookings",
    "cancelBookingOfA": "cancelBooking",
    "listOwnSessions": "listFacilitatorEvents",
    "listSessionBookings": "listEventBookings",
    "listRegistrations": "listEventBookings",
    "cancelEventOfD": "cancelEvent",
}
"""The preferred operation for new clients, by the operation of another contract that does the same."""

_DECLARED = re.compile(r"(?P<contract>Contracts? [A-E](?: and [A-E])?): (?P<noun>.+)")


def group(declared: str) -> str:
    """The group of what a handler declares. Raises `LookupError` for one without a description."""
    found = _DECLARED.fullmatch(declared)
    name = found["noun"].capitalize() if found else declared
    if name not in TAGS:
        raise LookupError(f"{name} has no description: add it to {__name__}")
    return name


def contract_note(declared: str, operation_id: str) -> str | None:
    """The contract of an operation, and the preferred operation for new clients if there is one."""
    found = _DECLARED.fullmatch(declared)
    if found is None:
        return None
    better = FOR_NEW_CLIENTS.get(operation_id)
    return f"{found['contract']}. New clients use `{better}`." if better else f"{found['contract']}."


def tags() -> list[dict[str, Any]]:
    """OpenAPI's `tags`."""
    return [{"name": name, "description": description} for name, description in TAGS.items()]


def tag_groups() -> list[dict[str, Any]]:
    """`x-tagGroups`."""
    return [{"name": heading, "tags": list(names)} for heading, names in GROUPS.items()]
