"""Descriptions that handlers do not contain: groups, summaries, parameters, bodies and errors, by operation id."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from crm.api.bodies import malformed, not_json
from crm.api.errors import (
    ErrorResponse,
    database_unavailable,
    erasure_unfinished,
    invalid,
    message_id_reused,
    missing,
    not_found,
    refused_by_framework,
)
from crm.api.mail_checks import TestMail, check_failed
from crm.api.requests import DEFAULT_LIMIT, LARGEST_LIMIT
from crm.api.security import invalid_signature
from crm.notifications import LARGEST_ID, Erasure, Notification
from crm.refused_webhooks import FILTERS
from crm.webhooks import Webhook

TAGS = {
    "Contracts A and B: notifications": "The inbox: notifications of the booking system and the state of their mails.",
    "Contract A: facilitators": "Events of facilitators, as of the newest messages about them.",
    "Contract B: mail": "Checks of the mail transport.",
    "Contract D: webhook": "Receives bookings, forwards them, and reports payments to the booking API.",
    "Webhooks": "Received webhooks for operators: what a receiver refused, and which name another booking.",
    "Health": "Whether the service runs.",
}
INBOX, FACILITATORS, MAIL, WEBHOOK, OPERATORS, HEALTH = TAGS

ID = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
KEY = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]*$"}

PARAMETERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # By name. What follows a space tells parameters of one name apart.
    "notification_id": ("path", "The notification.", ID),
    "facilitator_id": ("path", "The facilitator's user id in the booking system.", ID),
    "limit": (
        "query",
        f"The maximum number of items; more than {LARGEST_LIMIT} counts as {LARGEST_LIMIT}.",
        {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT},
    ),
    "webhook_id": ("path", "The webhook.", {"type": "string", "format": "uuid"}),
    "deliveries": (
        "query",
        "Only webhooks with a refused delivery that is not processed; `mismatch`: those that name another user, event "
        "or booking than the booking API.",
        {"type": "string", "enum": list(FILTERS)},
    ),
    "cursor": ("query", "The start of the page: from the `Link` header or `next_cursor` of the page before it.", ID),
    "cursor of webhooks": (
        "query",
        "The start of the page: from the `Link` header or `next_cursor` of the page before it.",
        {"type": "string", "format": "uuid"},
    ),
    "message_id": ("query", "Only the notification of the message with this Idempotency-Key.", {"type": "string"}),
    "booking_id": (
        "query",
        "Only notifications about this booking: its number, or the UUID of an appointment.",
        {"anyOf": [ID, {"type": "string", "format": "uuid"}]},
    ),
    "include": (
        "query",
        "`events`: including notifications about an event itself.",
        {"type": "string", "const": "events"},
    ),
    "Idempotency-Key": ("header", "The sender's id of this message: a repeated message has one effect.", KEY),
    "webhook-id": ("header", "The same as Idempotency-Key, by its name in Standard Webhooks.", KEY),
    "webhook-timestamp": (
        "header",
        "The time of the signature in Unix seconds, at most five minutes from the present time.",
        {"type": "string"},
    ),
    "webhook-signature": ("header", "`v1,…`, required if `CRM_SIGNING_SECRETS` is set.", {"type": "string"}),
}


class Facts(NamedTuple):
    """The description of one operation. `bodies`: the forms of its body. `parameters`: those outside of the path."""

    tag: str
    summary: str
    responses: tuple[ErrorResponse, ...] = ()
    bodies: tuple[type[msgspec.Struct], ...] = ()
    parameters: tuple[str, ...] = ()


def _refused_bodies(field: str, reason: str) -> tuple[ErrorResponse, ...]:
    in_body = (malformed("The body is not valid JSON"), missing([field]), invalid({field: reason}))
    return (*in_body, refused_by_framework(413), not_json())


WRONG_LIMIT = invalid({"limit": "Expected a whole number from 1"})
WRONG_ID = "Must be a whole number or null"
WRONG_BOOKING = "Must be a UUID with its hyphens"
STORED = (database_unavailable(),)
LOGIN: dict[str, Any] = {"authenticated": False, "gmail_user": "studio@example.com"}

OPERATIONS = {
    "crmHealth": Facts(HEALTH, "Check the health of the service"),
    "notify": Facts(
        INBOX,
        "Store a notification",
        (
            *_refused_bodies("booking_id", WRONG_BOOKING),
            invalid_signature("The webhook-signature does not match"),
            message_id_reused(),
            erasure_unfinished(),
            *STORED,
        ),
        (Notification, Erasure),
        ("Idempotency-Key", "webhook-id", "webhook-timestamp", "webhook-signature"),
    ),
    "listNotifications": Facts(
        INBOX,
        "List notifications",
        (WRONG_LIMIT, *STORED),
        parameters=("limit", "cursor", "message_id", "booking_id", "include"),
    ),
    "processNotification": Facts(INBOX, "Mark a notification as processed", (not_found(), *STORED)),
    "deleteNotification": Facts(INBOX, "Delete a notification", (not_found(), *STORED)),
    "clearNotifications": Facts(
        INBOX,
        "Delete every notification",
        (invalid({"include": "Expected events"}), *STORED),
        parameters=("include",),
    ),
    "listFacilitatorEvents": Facts(
        FACILITATORS,
        "List a facilitator's events",
        (WRONG_LIMIT, not_found(), *STORED),
        parameters=("limit", "cursor"),
    ),
    "sendTestEmail": Facts(
        MAIL,
        "Send a test mail",
        (
            *_refused_bodies("to_email", "An email address must have an @-sign."),
            check_failed(502, "email_refused", "The mail server refused the mail: 550 no", email_sent=False),
            check_failed(503, "email_not_sent", "The mail was not taken: no answer in time", email_sent=False),
        ),
        (TestMail,),
    ),
    "testMailLogin": Facts(
        MAIL,
        "Check the mail server's login",
        (
            check_failed(502, "smtp_login_refused", "The mail server refused the login: 535 no", **LOGIN),
            check_failed(503, "smtp_not_configured", "SMTP_URL is not set", authenticated=False),
            check_failed(503, "smtp_unavailable", "The mail server cannot be used: no answer in time", **LOGIN),
        ),
    ),
    "receiveWebhook": Facts(
        WEBHOOK,
        "Receive a booking",
        (*_refused_bodies("facilitator_id", WRONG_ID), message_id_reused(), *STORED),
        (Webhook,),
        ("Idempotency-Key", "webhook-id"),
    ),
    "listWebhooks": Facts(
        OPERATORS,
        "List webhooks",
        (WRONG_LIMIT, *STORED),
        parameters=("limit", "cursor of webhooks", "deliveries"),
    ),
    "processWebhook": Facts(OPERATORS, "Mark a webhook as processed", (not_found(), *STORED)),
}
