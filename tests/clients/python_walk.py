"""What a front end does, with the client that openapi-python-client generates: the one argument is the API's address.

It is checked with `mypy --strict` beside the client, and run against a real API.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from convene_client import AuthenticatedClient, Client
from convene_client.api.accounts import log_in, register
from convene_client.api.bookings import cancel_booking, create_booking, get_booking
from convene_client.api.events import create_event, list_events
from convene_client.models import (
    Booking,
    BookingCancelled,
    BookingCreated,
    BookingRequest,
    Error,
    ErrorCode,
    EventList,
    EventSaved,
    LoginRequest,
    NewEvent,
    PaymentStatus,
    RegistrationRequest,
    RegistrationRole,
    Tokens,
    UserRegistered,
)

Answer = TypeVar("Answer")
PASSWORD = "password123"


def main(address: str) -> None:
    facilitator = log_in_as_new(address, RegistrationRole.FACILITATOR)
    starts_at = datetime.now(UTC) + timedelta(days=30)
    new = NewEvent(
        title="Evening yoga",
        start_datetime=starts_at,
        end_datetime=starts_at + timedelta(hours=1),
        max_participants=12,
        price=300,
    )
    saved = the(EventSaved, create_event.sync(client=facilitator, body=new))

    guest = log_in_as_new(address, RegistrationRole.USER)
    listed = the(EventList, list_events.sync(client=guest))
    assert [event.id for event in listed.events] == [saved.event.id]
    created = the(
        BookingCreated,
        create_booking.sync(client=guest, body=BookingRequest(saved.event.id), idempotency_key=new_key()),
    )
    assert created.payment_url is not None
    press_pay(address, created.payment_url)
    booking_id = created.booking.id
    until_paid(guest, booking_id)

    cancelled = the(BookingCancelled, cancel_booking.sync(booking_id, client=guest))
    assert cancelled.refund is not None
    assert cancelled.refund.amount == 300
    refused = the(Error, cancel_booking.sync(booking_id, client=guest))
    assert refused.code == ErrorCode.BOOKING_ALREADY_CANCELLED
    print("refused with", refused.code)


def log_in_as_new(address: str, role: RegistrationRole) -> AuthenticatedClient:
    anonymous = Client(address, raise_on_unexpected_status=True)
    email = f"{role}-{uuid4()}@example.com"
    registration = RegistrationRequest(email=email, password=PASSWORD, name=f"A {role}", role=role)
    assert the(UserRegistered, register.sync(client=anonymous, body=registration)).user.email == email
    tokens = the(Tokens, log_in.sync(client=anonymous, body=LoginRequest(email=email, password=PASSWORD)))
    return AuthenticatedClient(address, tokens.access_token, raise_on_unexpected_status=True)


def new_key() -> str:
    return str(uuid4())


def press_pay(address: str, payment_url: str) -> None:
    """A person's part: the button of the sandbox's page."""
    assert httpx.post(f"{address}{urlsplit(payment_url).path}/paid").status_code == 303


def until_paid(guest: AuthenticatedClient, booking_id: int) -> None:
    deadline = time.monotonic() + 60
    while the(Booking, get_booking.sync(booking_id, client=guest)).payment_status != PaymentStatus.COMPLETED:
        assert time.monotonic() < deadline, "the payment did not arrive"
        time.sleep(0.1)


def the(kind: type[Answer], answer: object) -> Answer:
    assert isinstance(answer, kind), answer
    return answer


if __name__ == "__main__":
    main(sys.argv[1])
