"""The groups of operations, contract by contract, in the order in which they are shown."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

INTRODUCTION = files(__package__).joinpath("introduction.md").read_text(encoding="utf-8")

TAGS: Mapping[str, str] = {
    "Contract B: accounts": "Registering, logging in, refreshing tokens, Google login in a browser, the own profile.",
    "Contract B: events": "Events: seen by everybody, kept by facilitators.",
    "Contract B: bookings": "The bookings of whoever asks.",
    "Contract B: payments": "Where to pay, what a cancellation gives back, and Razorpay's callbacks and webhook.",
    "Contract B: facilitators": "What facilitators see and do about their own events.",
    "Contract D: accounts": "Contract D's address of Google login.",
    "Contract D: events": "Finding events by type and rating.",
    "Contract D: payments": "Stripe's webhook.",
    "Contract D: facilitators": "Contract D's addresses for registrations and for cancelling.",
    "Contract D: reviews": "Reviews by people who attended, from which an event's `rating` comes.",
    "Contract A: accounts": "Registering and logging in, in one step each.",
    "Contract A: events": "Events with `date_time` and `duration` in minutes.",
    "Contract A: bookings": "The bookings of whoever asks, with `is_upcoming`.",
    "Contract C: accounts": "Accounts with `bio` and `specialization`, and Google login with an ID token.",
    "Contract C: sessions": "Sessions, which the other contracts call events.",
    "Contract C: bookings": "The bookings of whoever asks.",
    "Contract C: facilitators": "Own sessions, their bookings and the dashboard.",
    "Contract E: availability": "When a coach can be booked, and what they say of their time.",
    "Contract E: attachments": "Files that the two people of a booking share.",
    "Contract E: bookings": "Reserving a coach's time, with UUIDs instead of numbers.",
    "Contract E: coaches": "Finding a coach: their `uuid`, price, time zone and rating.",
    "Contract E: calendar feed": "All bookings of a person in any calendar program, by a secret address.",
    "Contract E: calendars": "Connecting a calendar of Google or Outlook, and putting bookings into it.",
    "Contracts A and C: booking": "The one path that two contracts share: the body decides whose request it is.",
    "Services": "For services that report back, with the service token.",
    "Live feed": "What happens to a facilitator's bookings, while it happens.",
    "Admins": "What could not be delivered, and sending it again.",
    "Health": "Whether the process runs, and whether it can serve.",
}


def tags() -> list[dict[str, Any]]:
    """As OpenAPI lists them."""
    return [{"name": name, "description": description} for name, description in TAGS.items()]


def tag_groups() -> list[dict[str, Any]]:
    """The tags of each contract: `x-tagGroups`, which several viewers show as headings."""
    groups: dict[str, list[str]] = {}
    for name in TAGS:
        contract = name.partition(":")[0] if ":" in name else "Operation"
        groups.setdefault(contract, []).append(name)
    return [{"name": contract, "tags": names} for contract, names in groups.items()]
