"""The log of an unexpected database error names the constraint, and has no values of users: neither DETAIL, nor the
statement's parameters, nor texts of triggers."""

from collections.abc import Callable
from dataclasses import replace

import asyncpg
import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from domain.outbox import Destination, Failed, Message, Outcome
from infrastructure.container import build_deliveries
from infrastructure.observability.tracing import TracedSender, Traces
from infrastructure.settings import Settings
from tests.support.messages import a_message, add_message
from tests.support.people import PASSWORD, People

EMAIL = "ada@example.com"
NAME, NOTES, BIO = "Ada of Kensington", "allergic to walnuts", "thirty years of breath work"
_RAISE = """
CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'cannot store %', NEW USING DETAIL = NEW::text, HINT = NEW::text; END $$;
CREATE TRIGGER complain BEFORE INSERT ON facilitator_profiles FOR EACH ROW EXECUTE FUNCTION complain();
"""


def _account(number: int, **more: str) -> dict[str, str]:
    return {"name": NAME, "email": f"ada{number}@example.com", "password": PASSWORD, "role": "user", **more}


async def test_errors_of_units_of_work_and_of_statements(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    await database.execute("CREATE UNIQUE INDEX names_are_unique ON users (name)")
    await database.execute("CREATE UNIQUE INDEX notes_are_unique ON bookings (notes)")
    await database.execute(_RAISE)
    assert (await api.post("/auth/register", json=_account(1))).status_code == 201
    capfd.readouterr()

    assert (await api.post("/auth/register", json=_account(2))).status_code == 500
    written = capfd.readouterr().err
    assert "names_are_unique" in written
    assert "UniqueViolation" in written
    assert NAME not in written

    facilitator = _account(3, name="Grace", role="facilitator", bio=BIO)
    assert (await api.post("/auth/register", json=facilitator)).status_code == 500
    written = capfd.readouterr().err
    assert "SQLSTATE P0001" in written
    assert BIO not in written
    await database.execute("DROP TRIGGER complain ON facilitator_profiles")

    event_id = (await (await people.facilitator("John")).creates_event())["id"]
    for number, status in enumerate((201, 500)):
        person = await people.user(f"Guest {number}")
        response = await person.post("/bookings", {"event_id": event_id, "notes": NOTES})
        assert response.status_code == status
    written = capfd.readouterr().err
    assert "notes_are_unique" in written
    assert NOTES not in written


async def test_reason_of_a_failed_delivery(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    """It is shown to operators and stored with the attempt."""
    await add_message(database)
    parts = build_deliveries(make_settings())

    class Failing:
        async def deliver(self, _message: Message) -> Outcome:
            for _ in range(2):
                await database.execute("INSERT INTO users (email, name, role) VALUES ($1, 'Ada', 'user')", EMAIL)
            raise AssertionError("the second address is a violation")

    deliver = replace(parts.deliver_due, senders={Destination.CRM: Failing()})
    try:
        (message,) = await deliver.claim(Destination.CRM, 1)
        outcome = await deliver.attempt(message)
    finally:
        await parts.close()
    assert isinstance(outcome, Failed)
    assert "uq_users_email" in outcome.reason
    assert EMAIL not in outcome.reason


async def test_span_of_a_failed_delivery() -> None:
    """It is sent to the collector of traces."""
    traces, exporter, provider = Traces(None, "worker"), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces._provider = provider

    class Failing:
        async def deliver(self, _message: Message) -> Outcome:
            raise RuntimeError(EMAIL)

    with pytest.raises(RuntimeError):
        await TracedSender(Failing(), traces).deliver(a_message())
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert EMAIL not in span.to_json()
