"""Real parts for these tests: an SMTP server that can be stopped, the CRM behind real HTTP, a message."""

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from typing import Any

import asyncpg
import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from crm.app import create_app
from crm.delivery.dispatcher import Pace
from crm.settings import CrmSettings, load_settings
from tests.crm.description_checks import as_described
from tests.support.http import serving
from tests.support.servers import free_port
from tests.support.settings import DATABASE_TIMEOUT_SECONDS, Reached

TOKEN = "a-token-for-the-tests"
QUICK = Pace(poll_every=0.2, longest_pause=1.0)
"""As the service goes about it, five times as often."""


LOGIN = ("studio@example.com", "a secret of the tests")
"""The user and the password that the mail server accepts, if it requires a login."""


HOOKS: dict[str, list[Any]] = {"response": [as_described]}


class MailServer:
    """A real SMTP server on a port that stays its own while it is down. `verdict` answers each mail's DATA."""

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[EmailMessage] = []
        self.offered = 0
        self.verdict = "250 taken"
        self.recipient_verdict = "250 ok"
        self.delay = 0.0
        self.responses: dict[str, str] = {}
        """What single recipients are answered with."""
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """As on the first day; running."""
        self.mails = []
        self.offered = 0
        self.verdict, self.recipient_verdict, self.delay = "250 taken", "250 ok", 0.0
        self.responses = {}
        self.start()

    def start(self) -> None:
        if self._controller:
            return
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, authenticator=self._authenticate, auth_require_tls=False
        )
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
        self._controller = None

    def _authenticate(self, _: SMTP, __: Session, ___: Envelope, mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=given == LoginPassword(*(part.encode() for part in LOGIN)), handled=False)

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if address in self.responses:
            return self.responses[address]
        if self.recipient_verdict.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_verdict

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        self.offered += 1
        content = envelope.content
        assert isinstance(content, bytes)
        if self.verdict.startswith("250"):
            self.mails.append(email.message_from_bytes(content, policy=email.policy.default))
        await asyncio.sleep(self.delay)
        return self.verdict


def settings_for(dsn: str, **environ: str) -> CrmSettings:
    return load_settings(
        {
            "CRM_DATABASE_URL": Reached.by(dsn),
            "CRM_BEARER_TOKEN": TOKEN,
            "DATABASE_TIMEOUT_SECONDS": DATABASE_TIMEOUT_SECONDS,
            **Reached.settings,
            **environ,
        }
    )


@contextlib.asynccontextmanager
async def running_crm(settings: CrmSettings, pace: Pace = QUICK) -> AsyncIterator[httpx.AsyncClient]:
    """The CRM behind real HTTP in this event loop, and a client that holds the token.

    Every answer that a test gets through it has to be as the CRM's description says.
    """
    headers = {"Authorization": f"Bearer {settings.bearer_token}"}
    async with (
        serving(create_app(settings, pace)) as address,
        httpx.AsyncClient(base_url=address, headers=headers, timeout=20, event_hooks=HOOKS) as client,
    ):
        yield client


async def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for a condition, sync or async; the limit only ends a test that would hang."""
    async with asyncio.timeout(seconds):
        while True:
            result = holds()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def emptied(dsn: str) -> str:
    """The same database with nothing in it; numbers begin at 1 again."""
    async with connected(dsn) as connection:
        tables = "notifications, facilitators, facilitator_events, crm_bookings, crm_booking_deliveries, erased_users"
        await connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
    return dsn


async def mail_status(dsn: str, notification_id: int) -> str:
    async with connected(dsn) as connection:
        return str(await connection.fetchval("SELECT status FROM notifications WHERE id = $1", notification_id))


def a_message(**changes: Any) -> dict[str, Any]:
    """The message of the booking system when Ada books; `changes` replace top-level fields, `...` removes one."""
    message = {
        "booking_id": 12,
        "booking_reference": "BK2026000012",
        "action": "booking_created",
        "occurred_at": "2026-11-20T10:00:00Z",
        "user": {"id": 5, "name": "Ada Lovelace", "email": "ada@example.com"},
        "event": {
            "id": 1,
            "title": "Morning Meditation",
            "date_time": "2026-12-01T09:00:00Z",
            "start_datetime": "2026-12-01T09:00:00Z",
            "end_datetime": "2026-12-01T10:00:00Z",
            "location": "Studio A",
            "virtual_link": None,
            "facilitator_id": 2,
            "max_participants": 10,
            "current_participants": 3,
            "is_active": True,
            "price": 25.0,
            "currency": "INR",
            "version": 3,
        },
        "facilitator_id": 2,
        "facilitator": {"id": 2, "name": "John Doe", "email": "facilitator@example.com"},
        "status": "confirmed",
        "payment_status": "pending",
        "notes": None,
        "reason": None,
        **changes,
    }
    return {name: value for name, value in message.items() if value is not ...}
