"""The CRM's database stops and comes back."""

import asyncio
import contextlib
from pathlib import Path

import httpx

from crm.delivery.dispatcher import Pace
from crm.migrations import upgrade
from tests.crm.parts import MailServer, a_message, connected, running_crm, settings_for, until
from tests.support.servers import running_postgres


async def test_unavailable_database_returns_503_and_recovers(mail_server: MailServer, tmp_path: Path) -> None:

    with running_postgres("crm") as server:
        dsn = server.dsn("crm")
        await asyncio.to_thread(upgrade, dsn)
        async with running_crm(settings_for(dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path))) as client:
            assert (await client.post("/notify", json=a_message())).status_code == 200
            server.stop()
            for answer in (await client.post("/notify", json=a_message()), await client.get("/notifications")):
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) > 0
                assert answer.json()["code"] == "database_unavailable"
            health = await client.get("/")
            assert health.status_code == 200
            assert health.json()["status"] == "degraded"
            server.start()  # only the main thread may

            async def stored() -> bool:
                return (await client.post("/notify", json=a_message())).status_code == 200

            await until(stored)
            assert (await client.get("/")).json()["status"] == "healthy"
            mail = (await client.get("/notifications")).json()[0]
            assert mail["status"] == "sent"


# Takes 5 s: PostgreSQL is created, stopped and started, and the CRM waits 2 s for it.
async def test_mail_sent_while_the_database_stopped_is_not_sent_again(mail_server: MailServer, tmp_path: Path) -> None:

    mail_server.delay = 1.0
    with running_postgres("crm") as server:
        dsn = server.dsn("crm")
        await asyncio.to_thread(upgrade, dsn)
        settings = settings_for(dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path))
        async with running_crm(settings, Pace(poll_every=0.2, patience=2.0)) as client:
            request = asyncio.create_task(client.post("/notify", json=a_message(), headers={"Idempotency-Key": "m"}))
            await until(lambda: mail_server.offered)
            server.stop()
            assert (await request).json()["notification_id"] == 1
            server.start()  # only the main thread may

            async def sent() -> bool:
                with contextlib.suppress(httpx.TransportError, KeyError, TypeError):
                    return bool((await client.get("/notifications")).json()[0]["status"] == "sent")
                return False

            await until(sent)
    assert mail_server.offered == 1


# Takes 4 s: requests wait 2 s for the database and for a connection.
async def test_hanging_database_returns_503_and_recovers(dsn: str, tmp_path: Path) -> None:
    settings = settings_for(dsn, CONVENE_DATA=str(tmp_path), DATABASE_TIMEOUT_SECONDS="2")
    async with running_crm(settings) as crm, connected(dsn) as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(crm.post("/notify", json=a_message()) for _ in range(6)))
            assert {answer.status_code for answer in answers} == {503}
        assert (await crm.post("/notify", json=a_message())).status_code == 200
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 1
