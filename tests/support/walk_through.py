"""The Postman collection's walk-through: the requests of a person who tries the API, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

INTRODUCTION = (
    "Run this folder from top to bottom, against `script/up` or another server that takes payments at the sandbox: a"
    " client and a facilitator register, an event is offered, booked, paid and cancelled, then an appointment. Each run"
    " makes accounts of its own. Ids and tokens are taken from the answers and are there for the reference afterwards."
)
PASSWORD = "password123"
CLIENT, FACILITATOR = "clientToken", "facilitatorToken"
DAY = [{"start": "09:00", "end": "17:00"}]
WEEK = dict.fromkeys(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), DAY)


@dataclass(frozen=True)
class Step:
    """A request, and what has to be true of its answer.

    `token` is the variable that holds it. `keeps` are variables and where they stand in `answer`; `makes` are set
    before the request. `checks` are assertions of Chai's in JavaScript, by what they say.
    """

    name: str
    operation: str = ""
    status: int = 200
    token: str | None = None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    keeps: Mapping[str, str] = field(default_factory=dict)
    makes: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, str] = field(default_factory=dict)
    waits: Sequence[str] = ()
    description: str = ""
    page: str = ""
    page_method: str = "GET"


def _login(token: str, email: str, **keeps: str) -> dict[str, Any]:
    return {
        "operation": "logIn",
        "body": {"email": email, "password": PASSWORD},
        "keeps": {token: "answer.access_token", **keeps},
    }


STEPS = (
    Step(
        "Register a client",
        "register",
        201,
        body={"name": "Ada Lovelace", "email": "{{clientEmail}}", "password": PASSWORD, "role": "user"},
        makes={"clientEmail": 'pm.variables.replaceIn("ada.{{$guid}}@example.com")'},
        checks={"The account is a client's": 'pm.expect(answer.user.role).to.equal("user")'},
    ),
    Step(
        "Register a facilitator",
        "register",
        201,
        body={"name": "John Doe", "email": "{{facilitatorEmail}}", "password": PASSWORD, "role": "facilitator"},
        makes={"facilitatorEmail": 'pm.variables.replaceIn("john.{{$guid}}@example.com")'},
        checks={"The account is a facilitator's": 'pm.expect(answer.user.role).to.equal("facilitator")'},
    ),
    Step(
        "Log in as the facilitator",
        **_login(
            FACILITATOR,
            "{{facilitatorEmail}}",
            facilitatorNumber="answer.user.id",
            coachId="answer.user.uuid",
        ),
    ),
    Step(
        "Log in as the client",
        **_login(
            CLIENT,
            "{{clientEmail}}",
            bearerToken="answer.access_token",
            refreshToken="answer.refresh_token",
            clientNumber="answer.user.id",
            clientId="answer.user.uuid",
        ),
    ),
    Step(
        "Refresh the client's tokens",
        "refreshToken",
        token="refreshToken",
        keeps={
            CLIENT: "answer.access_token",
            "bearerToken": "answer.access_token",
            "refreshToken": "answer.refresh_token",
        },
    ),
    Step(
        "See the client's profile",
        "getProfile",
        token=CLIENT,
        checks={"It is the client's": 'pm.expect(answer.email).to.equal(pm.variables.get("clientEmail"))'},
    ),
    Step(
        "Change the client's profile",
        "updateProfile",
        token=CLIENT,
        body={"name": "Ada Byron", "phone": "+91 98765 43210", "timezone": "Asia/Kolkata"},
        checks={"The name is the new one": 'pm.expect(answer.user.name).to.equal("Ada Byron")'},
    ),
    Step(
        "Create an event",
        "createEvent",
        201,
        token=FACILITATOR,
        body={
            "title": "Evening yoga",
            "description": "An hour of slow yoga",
            "event_type": "session",
            "category": "Yoga",
            "start_datetime": "{{in7days}}T18:00:00Z",
            "end_datetime": "{{in7days}}T19:00:00Z",
            "location": "Studio B",
            "max_participants": 15,
            "price": 300,
            "currency": "INR",
        },
        keeps={"eventId": "answer.event.id"},
        checks={"It has no participants": "pm.expect(answer.event.current_participants).to.equal(0)"},
    ),
    Step(
        "List the facilitator's events",
        "listEvents",
        query={"facilitator_id": "{{facilitatorNumber}}", "limit": "20"},
        checks={
            "The event is there": 'pm.expect(answer.events.map(({ id }) => id)).to.eql([pm.variables.get("eventId")])'
        },
    ),
    Step(
        "See the event",
        "getEvent",
        path={"event_id": "{{eventId}}"},
        checks={"It costs 300": "pm.expect(answer.price).to.equal(300)"},
    ),
    Step(
        "Book the event",
        "createBooking",
        201,
        token=CLIENT,
        body={"event_id": "#{{eventId}}", "notes": "I bring my own mat"},
        keeps={"bookingId": "answer.booking.id", "paymentUrl": "answer.payment_url"},
        checks={
            "It is to be paid": 'pm.expect(answer.booking.payment_status).to.equal("pending")',
            "The payment page is the sandbox's": 'pm.expect(answer.payment_url).to.include("/sandbox/pay/")',
        },
    ),
    Step(
        "List the client's bookings",
        "listBookings",
        token=CLIENT,
        query={"status": "confirmed", "limit": "20"},
        checks={
            "The booking is there": (
                'pm.expect(answer.bookings.map(({ id }) => id)).to.eql([pm.variables.get("bookingId")])'
            )
        },
    ),
    Step(
        "Pay at the sandbox",
        page="{{paymentUrl}}/paid",
        page_method="POST",
        description="The button of the sandbox's payment page. A payment gateway has a page of its own.",
    ),
    Step(
        "See that the booking is paid",
        "getBooking",
        token=CLIENT,
        path={"booking_id": "{{bookingId}}"},
        waits=(
            "// The worker records the payment in the background: ask until it has, for half a minute at most.",
            "const booking = {",
            '  url: pm.variables.replaceIn("{{baseUrl}}/bookings/{{bookingId}}"),',
            '  header: { Authorization: pm.variables.replaceIn("Bearer {{clientToken}}") },',
            "};",
            "const ask = (left) =>",
            "  pm.sendRequest(booking, (error, response) => {",
            '    const isPending = error || response.json().payment_status === "pending";',
            "    if (isPending && left > 0) setTimeout(() => ask(left - 1), 300);",
            "  });",
            "ask(100);",
        ),
        checks={"It is paid": 'pm.expect(answer.payment_status).to.equal("completed")'},
    ),
    Step(
        "List the event's bookings as the facilitator",
        "listEventBookings",
        token=FACILITATOR,
        path={"event_id": "{{eventId}}"},
        checks={
            "The client is there": 'pm.expect(answer.bookings[0].user.email).to.equal(pm.variables.get("clientEmail"))'
        },
    ),
    Step(
        "See what a cancellation gives back",
        "showCancellation",
        token=CLIENT,
        path={"booking_id": "{{bookingId}}"},
        checks={"It is all of the price": "pm.expect(answer.refund_amount).to.equal(300)"},
    ),
    Step(
        "Cancel the booking",
        "cancelBooking",
        token=CLIENT,
        path={"booking_id": "{{bookingId}}"},
        checks={"The price is refunded": "pm.expect(answer.refund.amount).to.equal(300)"},
    ),
    Step(
        "See that the booking is cancelled",
        "getBooking",
        token=CLIENT,
        path={"booking_id": "{{bookingId}}"},
        checks={"It is cancelled": 'pm.expect(answer.status).to.equal("cancelled")'},
    ),
    Step(
        "Set the facilitator's hours as a coach",
        "setAvailability",
        token=FACILITATOR,
        body={"timezone": "Asia/Kolkata", "weekly_hours": WEEK, "price_per_hour": 0},
        checks={"The zone is the new one": 'pm.expect(answer.timezone).to.equal("Asia/Kolkata")'},
    ),
    Step(
        "List the coaches",
        "listCoaches",
        query={"limit": "20"},
        checks={"There is one": 'pm.expect(answer.coaches).to.be.an("array").that.is.not.empty'},
    ),
    Step(
        "See the coach",
        "getCoach",
        path={"coach_id": "{{coachId}}"},
        checks={"An hour costs nothing": "pm.expect(answer.price_per_hour).to.equal(0)"},
    ),
    Step(
        "List the coach's free times",
        "listSlots",
        path={"coach_id": "{{coachId}}"},
        query={
            "start_date": "{{in3days}}T00:00:00Z",
            "end_date": "{{in4days}}T00:00:00Z",
            "duration_minutes": "60",
        },
        keeps={"freeTime": "answer.available_slots[0].start", "anotherFreeTime": "answer.available_slots.at(-1).start"},
    ),
    Step(
        "Book an appointment",
        "bookCoaching",
        201,
        token=CLIENT,
        body={
            "coach_id": "{{coachId}}",
            "session_datetime": "{{freeTime}}",
            "duration_minutes": 60,
            "notes": "About my next job",
        },
        keeps={"appointmentId": "answer.id"},
        checks={"It waits for the coach": 'pm.expect(answer.status).to.equal("pending")'},
    ),
    Step(
        "Confirm the appointment as the coach",
        "changeCoachingStatus",
        token=FACILITATOR,
        path={"booking_id": "{{appointmentId}}"},
        body={"status": "confirmed"},
        checks={"It is confirmed": 'pm.expect(answer.status).to.equal("confirmed")'},
    ),
    Step(
        "Reschedule the appointment",
        "rescheduleCoaching",
        token=CLIENT,
        path={"booking_id": "{{appointmentId}}"},
        body={"session_datetime": "{{anotherFreeTime}}"},
        checks={
            "The time is the new one": (
                'pm.expect(answer.session_datetime).to.equal(pm.variables.get("anotherFreeTime"))'
            )
        },
    ),
    Step(
        "List the client's appointments",
        "listCoachingsOfClient",
        token=CLIENT,
        path={"client_id": "{{clientId}}"},
        query={"limit": "20"},
    ),
    Step("Cancel the appointment", "cancelCoaching", 204, token=CLIENT, path={"booking_id": "{{appointmentId}}"}),
    Step(
        "See that the appointment is cancelled",
        "getCoaching",
        token=CLIENT,
        path={"booking_id": "{{appointmentId}}"},
        checks={"It is cancelled": 'pm.expect(answer.status).to.equal("cancelled")'},
    ),
)
