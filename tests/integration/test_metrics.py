"""/metrics: every name an operator may build on, the figures behind them, and what happens without the database."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest
from litestar.routes import HTTPRoute
from prometheus_client.parser import text_string_to_metric_families

from application.outbox.delivery import DeliverMessages
from domain.errors import DomainError
from domain.outbox import Delivered, Destination, Failed, Message, Outcome, RetrySchedule
from infrastructure import container
from infrastructure.embedded import processes
from infrastructure.observability.metrics import Metrics
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.settings import Settings
from interfaces.http.app import create_app, create_litestar
from tests.support.http import serving
from tests.support.messages import add_message, deliver_due, until
from tests.support.people import PASSWORD, People
from tests.support.processes import server_environ
from tests.support.servers import free_port

TOKEN = "a token for the metrics of the tests, long enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

# Dashboards and alerts are built on these: a name that changes is a break.
NAMES = {
    "convene_http_requests": {"route", "method", "status"},
    "convene_http_request_seconds": {"route", "le"},
    "convene_refusals": {"code"},
    "convene_database_wait_seconds": {"le"},
    "convene_database_connections_in_use": set(),
    "convene_clock_difference_seconds": set(),
    "convene_database_up": set(),
    "convene_limits_reached": set(),
    "convene_log_lines_dropped": {"reason"},
    "convene_pruned_rows": set(),  # a worker's
    "convene_list_reads": set(),  # with a replica
    "convene_replica_lag_seconds": set(),
    "convene_replica_unused": set(),
    "convene_outbox_pending": {"destination"},
    "convene_outbox_oldest_seconds": {"destination"},
    "convene_outbox_late_seconds": {"destination"},
    "convene_outbox_dead": {"destination"},
    "convene_outbox_held": {"destination"},
    "convene_destination_state": {"destination", "state"},
    "convene_delivery_attempts": {"destination", "result"},
    "convene_lease_rescues": {"destination"},
    "convene_holds_open": set(),
    "convene_holds_overdue": set(),
    "convene_reminders_late": set(),
    "convene_payment_differences": set(),
    "convene_disputes_open": set(),
    "convene_audit_unchained_seconds": set(),
}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
        yield client


@pytest.fixture
async def site(make_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with served(make_settings(metrics_token=TOKEN)) as client:
        yield client


def parsed(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(site: httpx.AsyncClient) -> Series:
    answer = await site.get("/metrics", headers=BEARER)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parsed(answer.text)


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


async def test_metric_names_are_those_documented(site: httpx.AsyncClient) -> None:
    await site.post("/auth/login", json={"email": "nobody@example.com", "password": "wrong password"})
    await site.get("/health")
    text = (await site.get("/metrics", headers=BEARER)).text
    found = {
        family.name: {label for sample in family.samples for label in sample.labels}
        for family in text_string_to_metric_families(text)
    }
    assert found == NAMES


def test_dropped_log_lines_are_counted_once() -> None:
    dropped = {"full": 2, "closed": 0}
    metrics = Metrics(lambda: dropped)
    dropped["full"] = 5
    for _ in range(2):
        metrics.request(route="/events", method="GET", status=200, seconds=0.1)
    registry = metrics._registry
    assert registry.get_sample_value("convene_log_lines_dropped_total", {"reason": "full"}) == 5
    assert registry.get_sample_value("convene_log_lines_dropped_total", {"reason": "closed"}) == 0


async def test_request_is_counted_by_route_not_by_path(site: httpx.AsyncClient) -> None:
    for event_id in range(1, 8):
        await site.get(f"/events/{event_id}")
    for nonsense in range(5):
        await site.get(f"/nowhere/{nonsense}")
    await site.head("/health")
    series = await scraped(site)
    assert value(series, "convene_http_requests_total", route="/events/{event_id}", method="GET", status="4xx") == 7
    assert value(series, "convene_http_requests_total", route="none", method="GET", status="4xx") == 5
    assert value(series, "convene_http_requests_total", route="/health", method="HEAD", status="2xx") == 1
    assert value(series, "convene_http_request_seconds_count", route="/events/{event_id}") == 7


async def test_failed_logins_are_counted_by_code(site: httpx.AsyncClient) -> None:
    ada = await People(site).user()
    for _ in range(3):
        await site.post("/auth/login", json={"email": ada.email, "password": PASSWORD + "!"})
    series = await scraped(site)
    assert value(series, "convene_refusals_total", code="invalid_credentials") == 3


async def test_pending_dead_and_held_are_reported_by_destination(
    site: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    late, _, dead = (
        await add_message(database),
        await add_message(database),
        await add_message(database, destination="email"),
    )
    await database.execute(
        "UPDATE outbox SET due_at = now() - interval '90 s', occurred_at = now() - interval '100 s' WHERE id = $1", late
    )
    await database.execute("UPDATE outbox SET status = 'dead', settled_at = now() WHERE id = $1", dead)
    series = await scraped(site)
    outbox = {
        name: value(series, f"convene_outbox_{name}", destination="crm")
        for name in ("pending", "late_seconds", "oldest_seconds", "dead")
    }
    assert 90 <= outbox.pop("late_seconds") < 120
    assert 100 <= outbox.pop("oldest_seconds") < 130
    assert outbox == {"pending": 2, "dead": 0}
    assert value(series, "convene_outbox_dead", destination="email") == 1
    assert value(series, "convene_outbox_pending", destination="payments") == 0


async def test_reason_for_not_serving_a_destination_is_reported(
    site: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    await database.execute(
        """INSERT INTO destinations (name, tripped_at, probe_at, paused_until, halted_at) VALUES
           ('crm', now(), now() + interval '1 h', NULL, NULL), ('email', now(), now(), now() + interval '1 h', NULL),
           ('notification', NULL, NULL, now() + interval '1 h', now())"""
    )
    series = await scraped(site)
    found = {
        dict(labels)["destination"]: dict(labels)["state"]
        for (name, labels), is_in_it in series.items()
        if name == "convene_destination_state" and is_in_it
    }
    assert {name: found[name] for name in ("crm", "email", "notification", "payments")} == {
        "crm": "open",
        "email": "paused",
        "notification": "halted",
        "payments": "closed",
    }


class ScriptedSender:
    """A sender with fixed outcomes."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = iter(outcomes)

    async def deliver(self, message: Message) -> Outcome:
        return next(self._outcomes)


async def test_attempts_and_reclaims_of_all_workers_add_up(
    site: httpx.AsyncClient, database: asyncpg.Connection, database_url: str
) -> None:
    schedule = RetrySchedule((timedelta(0), timedelta(hours=1)))
    sender = ScriptedSender(Delivered(), Failed("away"), Failed("no such person", permanent=True))
    own = Database(database_url)
    try:
        workers = [PostgresOutboxClaims(own), PostgresOutboxClaims(own)]
        deliver = DeliverMessages(
            workers[0], PostgresCircuitBreakers(own), {Destination.CRM: sender}, schedule, at_once=1
        )
        for _ in range(3):
            await add_message(database)
        await deliver_due(deliver, Destination.CRM)
        await add_message(database)
        for worker in workers:
            # No result is recorded: the next worker reclaims it when the lease has expired.
            claimed = await worker.claim(Destination.CRM, limit=1, lease=timedelta(0), probe_every=timedelta(0))
            assert len(claimed) == 1
        for worker in workers * 2:
            await worker.counts.save()
    finally:
        await own.close()
    series = await scraped(site)
    assert {
        result: value(series, "convene_delivery_attempts_total", destination="crm", result=result)
        for result in ("delivered", "failed", "dead")
    } == {"delivered": 1, "failed": 1, "dead": 1}
    assert value(series, "convene_lease_rescues_total", destination="crm") == 1


async def test_without_the_database_metrics_of_the_process_remain(
    make_settings: Callable[..., Settings],
) -> None:
    unavailable = make_settings(metrics_token=TOKEN, database_url="postgresql://convene@127.0.0.1:1/convene")
    async with served(unavailable) as site:
        await site.get("/events")
        series = await scraped(site)
    assert value(series, "convene_database_up") == 0
    assert value(series, "convene_http_requests_total", route="/events", method="GET", status="5xx") == 1
    assert value(series, "convene_refusals_total", code="unavailable") == 1
    assert not [name for name, _ in series if "outbox" in name]


async def test_connection_wait_and_connections_in_use_are_reported(
    site: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    await People(site).user()  # through the one pool and the other
    before = await scraped(site)
    assert value(before, "convene_database_connections_in_use") == 0
    async with database.transaction():
        await database.execute("LOCK TABLE events")
        # Of different pages: requests for the same one share an answer, and a connection.
        waiting = [asyncio.create_task(site.get("/events", params={"limit": limit})) for limit in (1, 2)]

        async def both_wait() -> bool:
            return value(await scraped(site), "convene_database_connections_in_use") == 2

        await until(both_wait)
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    after = await scraped(site)
    name = "convene_database_wait_seconds_count"
    assert value(after, name) >= value(before, name) + 2
    assert value(after, "convene_database_connections_in_use") == 0


# Who may see it


async def test_metrics_require_the_token(site: httpx.AsyncClient) -> None:
    john = await People(site).facilitator()
    for headers in ({}, john.headers, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = await site.get("/metrics", headers=headers)
        assert answer.status_code == 401
        assert "convene_" not in answer.text


async def test_without_a_token_metrics_return_404(make_settings: Callable[..., Settings]) -> None:
    async with served(make_settings()) as site:
        for headers in ({}, BEARER, {"Authorization": "Bearer None"}):
            assert (await site.get("/metrics", headers=headers)).status_code == 404


async def test_metrics_contain_no_personal_data(site: httpx.AsyncClient) -> None:
    people = People(site)
    ada, john = await people.user(), await people.facilitator()
    created = await john.creates_event()
    await ada.books(created["id"])
    await site.get(f"/events/{created['id']}?email={ada.email}")
    await site.post("/auth/login", json={"email": ada.email, "password": "wrong password"})
    text = (await site.get("/metrics", headers=BEARER)).text
    assert "@" not in text
    for private in (ada.email, john.email, created["title"]):
        assert private not in text


def test_number_of_series_is_below_2500(make_settings: Callable[..., Settings]) -> None:
    app = create_litestar(container.build(make_settings()))
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    statuses, buckets = 3, 5 + 1 + 2
    requests = sum(len(route.methods) * statuses + buckets for route in routes)
    others = len(set(domain_codes())) + len(Destination) * 10 + 50
    assert 500 < requests + others < 2_500


def domain_codes() -> Iterator[str]:
    waiting = DomainError.__subclasses__()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        yield error.code


# Several processes


# Takes 6 s: two processes of the API, one of which starts again.
async def test_any_process_reports_the_metrics_of_all(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """A scrape reaches any of them, and one that is killed takes nothing along."""
    environ = server_environ(database_url, redis_url, tmp_path, metrics_token=TOKEN)
    port = str(free_port())
    process = processes.spawn(
        [sys.executable, "-P", "-m", "interfaces.cli", "api", "--port", port, "--workers", "2"],
        log=tmp_path / "api.log",
        environ=environ,
    )
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=BEARER | {"Connection": "close"})
    try:
        await until(lambda: len(children_of(process.pid)) == 2)
        await until(lambda: answers(client))
        counted = dict.fromkeys(("first", "killed"), 0.0)
        for name in counted:
            for _ in range(30):
                await client.get("/bookings")
            counts = [
                value(parsed((await client.get("/metrics")).text), "convene_http_requests_total", **LISTED)
                for _ in range(10)
            ]
            assert len(set(counts)) == 1, counts
            counted[name] = counts[0]
            if name == "first":
                before = set(children_of(process.pid))
                os.kill(min(before), signal.SIGKILL)
                await until(partial(_has_one_more_child, process.pid, before))
        assert counted == {"first": 30, "killed": 60}
    finally:
        await client.aclose()
        processes.stop(process, (signal.SIGTERM, 15))


def _has_one_more_child(pid: int, before: set[int]) -> bool:
    return len(set(children_of(pid)) - before) == 1


def children_of(pid: int) -> list[int]:
    """Without its fork server, which there is in tests alone."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"fork_server" not in Path(f"/proc/{child}/cmdline").read_bytes()]


LISTED = {"route": "/bookings", "method": "GET", "status": "4xx"}


async def answers(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await client.get("/health")).status_code == 200
    return False
