"""Readiness and metrics of the CRM, with and without its database."""

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from crm.app import create_app
from tests.crm.parts import QUICK, a_message, running_crm, settings_for
from tests.support.http import serving
from tests.support.servers import free_port

TOKEN = "a token for the metrics of the tests, long enough"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


async def scraped(client: httpx.AsyncClient) -> dict[str, float]:
    """The value of each sample, by its name and the values of its labels."""
    answer = await client.get("/metrics", headers=AUTHORIZED)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_metrics_show_requests_and_what_waits(own_dsn: str) -> None:
    """The mail waits because its server is down."""
    settings = settings_for(own_dsn, SMTP_URL=f"smtp://127.0.0.1:{free_port()}", METRICS_TOKEN=TOKEN)
    async with running_crm(settings) as client:
        assert (await client.post("/notify", json=a_message())).status_code == 200
        before = await scraped(client)
        assert before["convene_crm_database_up"] == 1
        assert before["convene_crm_deliveries_pending email"] == 1
        assert before["convene_crm_deliveries_pending forward"] == 0
        assert before["convene_crm_http_requests_total POST 2xx"] == 1
        database = await asyncpg.connect(own_dsn)
        await database.execute("UPDATE notifications SET received_at = received_at - interval '1 hour'")
        await database.close()
        assert 3600 <= (await scraped(client))["convene_crm_deliveries_oldest_seconds email"] < 7200


async def test_without_its_database_it_is_not_ready_and_counts_on() -> None:
    settings = settings_for("postgresql://convene@127.0.0.1:1/crm", METRICS_TOKEN=TOKEN)
    async with serving(create_app(settings, QUICK)) as address, httpx.AsyncClient(base_url=address) as client:
        for path in ("/health", "/health/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json() == {"status": "unavailable", "database": "disconnected"}
        assert (await client.get("/")).status_code == 200
        found = await scraped(client)
        assert found["convene_crm_database_up"] == 0
        assert found["convene_crm_http_requests_total GET 5xx"] == 2
        assert (await client.get("/metrics")).status_code == 401


async def test_it_is_ready_with_its_database_and_has_no_metrics_without_a_token(crm: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/ready"):
        answer = await crm.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "database": "connected"})
    assert (await crm.get("/metrics", headers=AUTHORIZED)).status_code == 404
