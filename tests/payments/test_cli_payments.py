"""`convene payments`, against books that were changed behind its back. Each command runs as a process once."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from msgspec import structs
from sqlalchemy import make_url

from domain.outbox import Destination
from infrastructure import container
from infrastructure.container import payment_audit
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.command import bare_environ, convene, convene_here
from tests.support.databases import a_database, drop
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.people import People
from tests.support.servers import free_port
from tests.support.settings import settings_for

RAZORPAY = {"RAZORPAY_KEY_ID": "rzp_test", "RAZORPAY_KEY_SECRET": "s" * 32, "RAZORPAY_WEBHOOK_SECRET": "w" * 32}


@dataclass
class Books:
    """A deployment with three payments at the sandbox: one paid, one refunded, one still open."""

    database: asyncpg.Connection
    settings: Settings
    data: Path

    async def change(self, statement: str) -> None:
        assert not (await self.database.execute(statement)).endswith(" 0"), statement

    async def reference(self, number: int) -> str:
        reference: str = await self.database.fetchval("SELECT reference FROM bookings WHERE id = $1", number)
        return reference

    async def order(self, number: int) -> str:
        order: str = await self.database.fetchval(
            "SELECT gateway_reference FROM payments WHERE booking_id = $1", number
        )
        return order

    async def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Within the process of the tests; `asyncio.run` needs a thread of its own there."""
        environ = self._environ(**settings)
        return await asyncio.to_thread(convene_here, "payments", *arguments, cwd=self.data, environ=environ)

    async def run_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(convene, "payments", *arguments, cwd=self.data, environ=self._environ())

    def _environ(self, **settings: str) -> dict[str, str]:
        return bare_environ(
            DATABASE_URL=self.settings.database_url,
            REDIS_URL=self.settings.redis_url,
            JWT_SECRET_KEY=self.settings.jwt_secret_key,
            CRM_BEARER_TOKEN="c" * 32,
            BACKEND_SERVICE_TOKEN="b" * 32,
            CONVENE_DATA=str(self.data),
            **settings,
        )

    async def findings(self, *arguments: str, **settings: str) -> list[str]:
        """What a check prints when it finds something."""
        done = await self.run("check", *arguments, **settings)
        assert done.stderr == ""
        assert done.returncode == 1
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
async def three_payments(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The name of a database that holds them and that nothing is connected to, to be copied."""
    url = await a_database(postgres)
    settings = settings_for(url, redis_url, tmp_path_factory.mktemp("data"), payment_provider="sandbox")
    parts = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=60) as api:
        people = People(api)
        event = await (await people.facilitator()).creates_event(price=20)
        for paid in (True, True, False):
            person = await people.user()
            answer = (await person.post("/bookings", json={"event_id": event["id"]})).json()
            if paid:
                paid_at = await api.post(answer["payment_url"].removeprefix(settings.public_url) + "/paid")
                assert paid_at.is_success or paid_at.is_redirect, paid_at.text
                await deliver_due(parts.deliver_due, Destination.PAYMENTS)
            if answer["booking"]["id"] == 2:
                assert (await person.post("/bookings/2/cancel")).status_code == 200
                await deliver_due(parts.deliver_due, Destination.PAYMENTS)
    await parts.close()
    yield str(make_url(url).database)
    await drop(postgres, url)


@pytest.fixture(autouse=True)
def second_look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here no payment is in transit."""
    monkeypatch.setattr(payment_audit, "SECOND_LOOK_AFTER", timedelta(0))


@pytest.fixture
async def books(
    postgres: EmbeddedPostgres, three_payments: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Books]:
    url = await a_database(postgres, template=three_payments)
    database = await asyncpg.connect(url)
    yield Books(database, settings_for(url, redis_url, tmp_path, payment_provider="sandbox"), tmp_path)
    await database.close()
    await drop(postgres, url)


@pytest.mark.usefixtures("new_interpreters")
async def test_matching_payments_are_reported_as_equal(books: Books) -> None:
    done = await books.run_process("check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 payments compared, nothing to check\n", "")


@pytest.mark.parametrize(
    ("number", "change", "why"),
    [
        (1, "UPDATE sandbox_orders SET state = 'open'", "received 20.00 INR here, 0.00 INR at the gateway"),
        (1, "UPDATE sandbox_orders SET amount = 20.01", "received 20.00 INR here, 20.01 INR at the gateway"),
        (1, "UPDATE sandbox_orders SET currency = 'USD'", "received 20.00 INR here, 20.00 USD at the gateway"),
        (3, "UPDATE sandbox_orders SET state = 'paid'", "received 0.00 INR here, 20.00 INR at the gateway"),
        (3, "UPDATE sandbox_orders SET state = 'declined'", "waited for here, failed at the gateway"),
        (
            1,
            """UPDATE sandbox_orders SET refunds = '{"x": "5"}'""",
            "given back 0.00 INR here, 5.00 INR at the gateway",
        ),
        (2, "UPDATE sandbox_orders SET refunds = '{}'", "given back 20.00 INR here, 0.00 INR at the gateway"),
        (1, "DELETE FROM sandbox_orders", "The sandbox knows no order {order}"),
    ],
)
async def test_every_mismatch_is_reported(books: Books, number: int, change: str, why: str) -> None:
    order = await books.order(number)
    await books.change(f"{change} WHERE id = '{order}'")
    assert await books.findings() == [
        f"different: {await books.reference(number)} (sandbox {order}): {why.format(order=order)}",
        "3 payments compared, 1 to check",
    ]


async def test_refund_in_progress_may_be_at_the_gateway_or_not(books: Books) -> None:
    await books.change("UPDATE refunds SET status = 'pending', settled_at = NULL")
    assert (await books.run("check")).returncode == 0
    await books.change("UPDATE sandbox_orders SET refunds = '{}'")
    assert (await books.run("check")).returncode == 0


async def test_payments_that_need_attention_are_reported(books: Books) -> None:
    await books.change(
        """UPDATE refunds SET status = 'pending', settled_at = NULL, requested_at = now() - interval '61 minutes'"""
    )
    await books.change(
        """INSERT INTO payment_differences (gateway, order_id, why, report, seen_at)
        VALUES ('stripe', 'cs_1', 'received 5.00 INR, asked for 20.00 INR', '{}', now())"""
    )
    await books.change(
        """UPDATE outbox SET status = 'dead', last_error = E'No such order\\x1b[2J\\nat all'
        WHERE fact = 'refund_promised'"""
    )
    dead = await books.database.fetchval("SELECT id FROM outbox WHERE status = 'dead'")
    reported, refund, job, sum_up = await books.findings()
    assert reported.startswith("reported: 20")
    assert "Z stripe cs_1: received 5.00 INR, asked for 20.00 INR; `convene payments settle-" in reported
    assert refund.startswith(f"refund: {await books.reference(2)} (sandbox): 20.00 INR requested 20")
    assert refund.endswith("not refunded yet")
    assert "refund_promised" in job
    assert "No such order [2J at all; `convene outbox replay " + str(dead) in job
    assert sum_up == "3 payments compared, 3 to check"

    await books.change("UPDATE refunds SET status = 'failed'")
    assert "the gateway failed to refund it" in (await books.findings())[1]


async def test_settled_mismatch_is_kept_and_not_reported_again(books: Books) -> None:
    await books.change(
        """INSERT INTO payment_differences (gateway, order_id, why, report, seen_at)
        VALUES ('stripe', 'cs_1', 'no payment of ours has this order', '{}', now())"""
    )
    [reported, _] = await books.findings()
    number = reported.split("settle-difference ")[1].split()[0]
    assert (await books.run("settle-difference", number, "--note", " ")).returncode == 2
    settled = await books.run_process("settle-difference", number, "--note", "Paid back\nby hand")
    assert (settled.returncode, settled.stdout, settled.stderr) == (0, f"mismatch {number} is settled\n", "")

    assert (await books.run("check")).returncode == 0
    kept = await books.database.fetchval("SELECT settled_note FROM payment_differences WHERE settled_at IS NOT NULL")
    assert kept == "Paid back by hand"
    again = await books.run("settle-difference", number, "--note", "Once more")
    assert again.returncode == 1
    assert again.stderr.startswith(f"convene: there is no open mismatch {number}")


async def test_since_omits_older_payments(books: Books) -> None:
    await books.change("UPDATE payments SET created_at = now() - interval '2 days'")
    await books.change("UPDATE sandbox_orders SET state = 'declined'")
    assert (await books.run("check", "--since", "24h")).stdout == "0 payments compared, nothing to check\n"
    assert len(await books.findings("--since", "3d")) == 4


async def test_unavailable_gateway_is_one_line_and_others_are_compared(books: Books) -> None:
    await books.change("UPDATE payments SET gateway = 'razorpay' WHERE booking_id IN (1, 2)")
    unavailable, sum_up = await books.findings()
    assert unavailable == "away: razorpay, 2 payments not compared: The payment gateway razorpay is not configured"
    assert sum_up == "1 payment compared, 1 to check"
    api_base = f"http://127.0.0.1:{free_port()}"
    unavailable, sum_up = await books.findings(**RAZORPAY, RAZORPAY_API_BASE=api_base)
    assert unavailable.startswith("away: razorpay, 2 payments not compared: ")
    assert "not configured" not in unavailable
    assert sum_up == "1 payment compared, 1 to check"


async def test_unavailable_database_is_one_line(books: Books) -> None:
    unavailable = Books(
        books.database, structs.replace(books.settings, database_url="postgresql://u@127.0.0.1:1/x"), books.data
    )
    done = await unavailable.run("check")
    assert done.returncode == 1
    assert done.stderr.startswith("convene: the database is unavailable: check DATABASE_URL")
    assert len(done.stderr.splitlines()) == 1


async def test_payments_are_listed_with_the_newest_first(books: Books) -> None:
    lines = (await books.run_process("list")).stdout.splitlines()
    assert [line.split()[2:6] for line in lines] == [
        [await books.reference(3), "pending", "20.00", "INR"],
        [await books.reference(2), "refunded", "20.00", "INR,"],
        [await books.reference(1), "completed", "20.00", "INR"],
    ]
    assert "refund of 20.00 INR requested" in lines[1]
    assert lines[0].endswith(f"(sandbox {await books.order(3)})")
    only = (await books.run("list", "--status", "completed", "--limit", "1")).stdout.splitlines()
    assert len(only) == 1
    assert await books.reference(1) in only[0]
    assert (await books.run("list", "--status", "failed")).stdout == "no payments\n"
