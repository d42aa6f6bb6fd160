"""Mail to an address that another person has registered, over HTTP and to a real SMTP server: few mails, without the
links and texts of that person, until the address is verified."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import uuid4

import asyncpg
import httpx
import pytest

from domain.outbox import Destination
from domain.unverified_mail import MAILS_TO_UNVERIFIED
from infrastructure import container
from infrastructure.settings import Settings
from tests.integration.account_mails import Account, text_of
from tests.integration.test_mail_sent import Mailbox, serving
from tests.support.appointments import books, free_hour, uuid_of
from tests.support.messages import deliver_due
from tests.support.people import PASSWORD, People, Person

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture(scope="module")
def server(mailbox: Mailbox) -> Iterator[str]:
    with serving(mailbox) as address:
        yield address


@pytest.fixture(scope="module")
async def worker(make_shared_settings: Callable[..., Settings], server: str) -> AsyncIterator[container.DeliveryParts]:
    parts = container.build_deliveries(make_shared_settings(smtp_url=f"smtp://{server}"))
    yield parts
    await parts.close()


class Stranger:
    """An address that another person registers, and what it is sent."""

    def __init__(
        self, api: httpx.AsyncClient, database: asyncpg.Connection, mailbox: Mailbox, worker: container.DeliveryParts
    ) -> None:
        self.email = f"victim-{uuid4()}@example.com"
        self.account = Account(api, self.email)
        self._api, self._database, self._mailbox, self._worker = api, database, mailbox, worker

    async def is_registered(self, role: str) -> Person:
        """By the attacker, who has the password and writes a link into the name."""
        name = f"Win at {EVIL}"
        body = {"email": self.email, "password": PASSWORD, "name": name, "role": role}
        answer = await self._api.post("/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        assert len(await self.mails()) == 1, "that of the registration"
        login = (await self.account.logs_in()).json()
        return Person(self._api, login["user"]["id"], name, self.email, login["access_token"], login["refresh_token"])

    async def mails(self) -> list[EmailMessage]:
        await deliver_due(self._worker.deliver_due, Destination.EMAIL)
        return [
            message_from_bytes(envelope.original_content or b"", policy=default)
            for envelope in self._mailbox.envelopes
            if envelope.rcpt_tos == [self.email]
        ]

    async def statuses(self) -> dict[str, int]:
        """The number of its messages by status."""
        rows = await self._database.fetch(
            """SELECT status, count(*) FROM outbox
               WHERE destination = 'email' AND snapshot::text LIKE $1 GROUP BY status""",
            f"%{self.email}%",
        )
        return {row["status"]: row["count"] for row in rows}

    async def verifies(self) -> None:
        """By the link of the last mail."""
        [token, *_] = set(re.findall(r"/verify-email/([\w-]+)", text_of((await self.mails())[-1])))
        answer = await self._api.post("/auth/verify-email", json={"token": token})
        assert answer.status_code == 200, answer.text


@pytest.fixture
def stranger(
    shared_api: httpx.AsyncClient,
    shared_database: asyncpg.Connection,
    mailbox: Mailbox,
    worker: container.DeliveryParts,
) -> Stranger:
    return Stranger(shared_api, shared_database, mailbox, worker)


def assert_harmless(mails: list[EmailMessage]) -> None:
    """Each has the link that verifies the address, and nothing of the attacker."""
    for mail in mails:
        content = "\n".join(str(part.get_content()) for part in mail.walk() if not part.is_multipart())
        assert "evil" not in f"{mail['Subject']} {mail['To']} {mail['Reply-To']} {content}"
        assert "/verify-email/" in text_of(mail)


async def test_101_bookings_send_a_stranger_five_mails(
    stranger: Stranger, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    # Takes some seconds: 51 bookings and 50 cancellations over HTTP, and the delivery of their mails.
    attacker = await shared_people.facilitator(f"Ask {EVIL}")
    texts = {"title": f"Win at {EVIL}", "description": EVIL, "location": EVIL, "virtual_link": EVIL, "price": 0}
    event = (await attacker.creates_event(**texts))["id"]
    victim = await stranger.is_registered("user")
    for _ in range(50):
        booking = await victim.books(event)
        assert (await victim.post(f"/bookings/{booking['id']}/cancel")).status_code == 200
    await victim.books(event)
    await attacker.post(f"/facilitator/events/{event}/messages", json={"subject": EVIL, "text": EVIL})

    mails = await stranger.mails()
    assert len(mails) == MAILS_TO_UNVERIFIED
    assert_harmless(mails)
    statuses = await stranger.statuses()
    assert (statuses["delivered"], "pending" in statuses, statuses["held"] >= 97) == (MAILS_TO_UNVERIFIED, False, True)

    day_later = "ARRAY(SELECT at - interval '24 h' FROM unnest(counted_at) AS at)"
    await shared_database.execute(f"UPDATE unverified_mails SET counted_at = {day_later}")
    other = (await attacker.creates_event(title="Yoga", price=0, virtual_link=EVIL))["id"]
    await victim.books(other)
    [*_, mail] = mails = await stranger.mails()
    assert len(mails) == MAILS_TO_UNVERIFIED + 1
    assert "Yoga" in str(mail["Subject"])
    assert_harmless(mails)

    await stranger.verifies()
    after = (await stranger.mails())[len(mails) :]
    assert "held" not in await stranger.statuses()
    subjects = [str(mail["Subject"]) for mail in after]
    assert sum("You are booked" in subject for subject in subjects) == 1, "that of the booking that was not cancelled"
    assert any(EVIL in text_of(mail) for mail in after), "verified, it gets what the facilitator wrote"


async def test_stranger_registered_as_a_facilitator_gets_five_mails(
    stranger: Stranger, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    """The CRM sends none, and the mails from here count."""
    victim = await stranger.is_registered("facilitator")
    event = (await victim.creates_event(title=f"Win at {EVIL}", description=EVIL, virtual_link=EVIL, price=0))["id"]
    attacker = await shared_people.user(f"Win at {EVIL}")
    for _ in range(5):
        answer = await attacker.post("/bookings", {"event_id": event, "notes": EVIL})
        assert answer.status_code == 201, answer.text
        booking = answer.json()["booking"]["id"]
        assert (await attacker.post(f"/bookings/{booking}/cancel")).status_code == 200
    mails = await stranger.mails()
    assert len(mails) == MAILS_TO_UNVERIFIED
    assert_harmless(mails)
    limited = await shared_database.fetch(
        """SELECT DISTINCT snapshot -> 'facilitator' ->> 'mail_limited' FROM outbox
           WHERE destination = 'crm' AND snapshot -> 'facilitator' ->> 'email' = $1""",
        stranger.email,
    )
    assert [row[0] for row in limited] == ["true"], "in every message to the CRM"

    await stranger.verifies()
    after = await stranger.mails()
    assert sum("Booking cancelled" in str(mail["Subject"]) for mail in after) == 5
    assert (await attacker.post("/bookings", {"event_id": event})).status_code == 201
    assert len(await stranger.mails()) == len(after), "from now on the CRM mails the facilitator"


async def test_stranger_registered_as_a_coach_gets_five_mails(stranger: Stranger, shared_people: People) -> None:
    coach = await uuid_of(await stranger.is_registered("facilitator"))
    for _ in range(7):
        attacker = await shared_people.user(f"Win at {EVIL}")
        await books(attacker, coach, free_hour(), notes=EVIL)
    mails = await stranger.mails()
    assert len(mails) == MAILS_TO_UNVERIFIED
    assert_harmless(mails)
    assert (await stranger.statuses())["held"] == 3
    await stranger.verifies()
    assert len(await stranger.mails()) == 8


async def test_mails_that_several_facilitators_cause_count_together(stranger: Stranger, shared_people: People) -> None:
    """Invitations need no account; the limit is that of the address."""
    for _ in range(4):
        attacker = await shared_people.facilitator(f"Ask {EVIL}")
        for _ in range(2):
            event = (await attacker.creates_event(title=f"Win at {EVIL}", location=EVIL))["id"]
            body = {"name": f"Win at {EVIL}", "email": stranger.email}
            answer = await attacker.post(f"/facilitator/events/{event}/bookings", json=body)
            assert answer.status_code == 202, answer.text
    mails = await stranger.mails()
    assert len(mails) == MAILS_TO_UNVERIFIED
    assert not any("evil" in f"{mail['Subject']} {text_of(mail)}" for mail in mails)
    assert await stranger.statuses() == {"delivered": MAILS_TO_UNVERIFIED, "held": 3}
