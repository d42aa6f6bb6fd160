"""`convene demo`: a booking, a payment and their deliveries in the running system."""

import email
import email.policy
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx

from interfaces.cli.environment import command_environ
from interfaces.cli.problems import Problem

PATIENCE_SECONDS = 20
Found = TypeVar("Found")


@click.command()
def demo() -> None:
    """Register two accounts, book and pay the last seat of an event, and show the messages to the CRM and by e-mail."""
    environ = command_environ()
    try:
        with httpx.Client(base_url=environ.get("PUBLIC_URL", "http://127.0.0.1:5000"), timeout=10) as api:
            _run_demo(_Demo(api, environ))
    except httpx.TransportError as error:
        raise Problem(f"nothing answers at {error.request.url.copy_with(path='/')}: start `convene up` first") from None


def _run_demo(story: "_Demo") -> None:
    click.secho("\nA booking, from the request to the last e-mail\n", bold=True)
    for line in story.lines():
        click.echo(f"  {line}")
    click.echo()


class _Demo:
    def __init__(self, api: httpx.Client, environ: dict[str, str]) -> None:
        self._api = api
        self._crm_url = environ.get("CRM_SERVICE_URL", "http://127.0.0.1:5001")
        self._crm_token = environ.get("CRM_BEARER_TOKEN", "")
        self._smtp_url = environ.get("SMTP_URL", "")
        self._mail = Path(environ.get("CONVENE_DATA", "var")).absolute() / "mail"
        self._password = uuid.uuid4().hex
        self._nonce = uuid.uuid4().hex[:6]

    def lines(self) -> Iterator[str]:
        mira = self._person("Mira Sol", "facilitator")
        event = self._event(mira)
        starts = datetime.fromisoformat(event["start_datetime"])
        yield f"Mira offers “{event['title']}” on {starts:%A, %-d %B at %H:%M} UTC. There is one seat."

        ada, bela = self._person("Ada Byron", "user"), self._person("Bela Kun", "user")
        yield f"Ada ({ada['email']}) and Bela ({bela['email']}) register and log in."

        before = time.perf_counter()
        answer = self._post("/bookings", ada, {"event_id": event["id"], "notes": "First time, be gentle"})
        booking = answer["booking"]
        booked_at = datetime.now(UTC)
        took = (time.perf_counter() - before) * 1000
        yield f"Ada books it: {booking['booking_reference']}, {booking['status']}, answered in {took:.0f} ms."

        refused = self._api.post("/bookings", headers=bela["headers"], json={"event_id": event["id"]})
        yield f"Bela books it too, and gets the error “{refused.json()['error']}”. A seat is booked at most once."
        yield ""
        yield from self._at_the_crm(booking, booked_at)
        yield ""
        about_ada = "You are booked"
        if answer["payment_url"] and "/sandbox/" in answer["payment_url"]:
            yield from self._pays(booking, event, answer["payment_url"])
            yield ""
            about_ada = "Receipt"
        yield from self._await_mails(("Ada", ada["email"], about_ada), ("Mira", mira["email"], "New booking"))

    def _at_the_crm(self, booking: dict[str, Any], booked_at: datetime) -> Iterator[str]:
        heard = partial(self._notification, booking["id"], "booking_created")
        notification = _wait("the CRM has not received the booking", heard)
        received_at = datetime.fromisoformat(notification["received_at"])
        late = max(0.0, (received_at - booked_at).total_seconds() * 1000)
        yield (
            f"The CRM has it as notification {notification['id']}: {notification['user_name']}, "
            f"{notification['event_title']!r}."
        )
        yield f"It arrived at {received_at:%H:%M:%S.%f}"[:-3] + f" UTC, {late:.0f} ms after Ada had her answer."

    def _pays(self, booking: dict[str, Any], event: dict[str, Any], payment_url: str) -> Iterator[str]:
        """Pays by the button of the sandbox's page, with the request that a browser sends."""
        paid = self._api.post(f"{payment_url}/paid")
        if paid.is_error:
            raise Problem(f"{payment_url} answered {paid.status_code}")
        paid_at = datetime.now(UTC)
        yield f"Ada pays {event['price']:.2f} {event['currency']} at {payment_url}"
        heard = partial(self._notification, booking["id"], "payment_completed")
        notification = _wait("the CRM has not received the payment", heard)
        received_at = datetime.fromisoformat(notification["received_at"])
        late = max(0.0, (received_at - paid_at).total_seconds() * 1000)
        yield f"The gateway's signed webhook reached the CRM as notification {notification['id']}, {late:.0f} ms later."

    def _await_mails(self, *awaited: tuple[str, str, str]) -> Iterator[str]:
        """Waits for mails, each given by a name, an address, and the beginning of the subject."""
        if self._smtp_url:
            yield f"Mails went out by SMTP: to {' and to '.join(address for _, address, _ in awaited)}."
            return
        for name, address, subject in awaited:
            path, message = _wait(f"no mail for {name} in {self._mail}", partial(self._find_mail, address, subject))
            parts = [part.get_filename() for part in message.walk() if part.get_filename()]
            enclosed = f", with {' and '.join(str(part) for part in parts)}" if parts else ""
            yield f"{name} has a mail, “{message['Subject']}”{enclosed}:"
            yield f"  {path}"

    def _person(self, name: str, role: str) -> dict[str, Any]:
        address = f"{name.split(maxsplit=1)[0].lower()}.{self._nonce}@example.com"
        person = {"email": address, "password": self._password, "name": name, "role": role}
        answer = self._api.post("/auth/register", json=person)
        if answer.status_code == 403 or (not answer.is_error and answer.json()["user"]["role"] != role):
            raise Problem("facilitators cannot register at once: the demo needs FACILITATOR_REGISTRATION=open")
        self._answer(answer)
        credentials = {"email": address, "password": self._password}
        tokens = self._answer(self._api.post("/auth/login", json=credentials))
        return {"email": address, "headers": {"Authorization": f"Bearer {tokens['access_token']}"}}

    def _event(self, facilitator: dict[str, Any]) -> dict[str, Any]:
        starts = (datetime.now(UTC) + timedelta(days=9)).replace(hour=6, minute=30, second=0, microsecond=0)
        body = {
            "title": "Sunrise Yoga in the Garden",
            "description": "Bring a mat and a warm shawl.",
            "event_type": "session",
            "start_datetime": starts.isoformat(),
            "end_datetime": (starts + timedelta(minutes=75)).isoformat(),
            "location": "The walled garden",
            "max_participants": 1,
            "price": 12.5,
            "currency": "EUR",
        }
        event: dict[str, Any] = self._post("/events", facilitator, body)["event"]
        return event

    def _post(self, path: str, person: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        return self._answer(self._api.post(path, headers=person["headers"], json=body))

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_error:
            raise Problem(f"{response.request.url.path} answered {response.status_code}: {response.text}")
        body: dict[str, Any] = response.json()
        return body

    def _notification(self, booking_id: int, action: str) -> dict[str, Any] | None:
        response = httpx.get(
            f"{self._crm_url}/notifications",
            params={"booking_id": booking_id},
            headers={"Authorization": f"Bearer {self._crm_token}"},
        )
        if response.is_error:
            raise Problem(f"the CRM answered {response.status_code} to /notifications: check CRM_BEARER_TOKEN")
        body = response.json()
        found: list[dict[str, Any]] = body if isinstance(body, list) else body["notifications"]
        return next((each for each in found if each["action"] == action), None)

    def _find_mail(self, address: str, subject: str) -> tuple[Path, EmailMessage] | None:
        for path in self._mail.glob("*.eml"):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if address in re.split(r"[\s,<>]+", str(message["To"])) and message["Subject"].startswith(subject):
                return path, message
        return None


def _wait(or_else: str, look: Callable[[], Found | None]) -> Found:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise Problem(f"{or_else} after {PATIENCE_SECONDS} s: see the logs, or `convene outbox list --status all`")
