"""The facilitator's mail is neither lost nor duplicated when the mail server or a process fails."""

import asyncio
import email
import email.policy
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from crm.delivery.dispatcher import Pace
from crm.settings import CrmSettings
from tests.crm.parts import (
    TOKEN,
    MailServer,
    a_message,
    connected,
    mail_status,
    running_crm,
    settings_for,
    until,
)
from tests.support.servers import free_port

KEY = {"Idempotency-Key": "m-1"}


@pytest.fixture
def settings(dsn: str, mail_server: MailServer, tmp_path: Path) -> CrmSettings:
    return settings_for(dsn, SMTP_URL=mail_server.url, CONVENE_DATA=str(tmp_path))


async def test_mails_are_sent_once_after_the_mail_server_recovers(
    settings: CrmSettings, dsn: str, mail_server: MailServer
) -> None:
    mail_server.stop()
    async with running_crm(settings) as one, running_crm(settings) as other:
        for number in range(1, 11):
            client = one if number % 2 else other
            answer = await client.post("/notify", json=a_message(booking_id=number))
            assert answer.status_code == 200
            assert answer.json()["email_sent"] is False
        [newest, *_] = (await one.get("/notifications")).json()
        assert newest["status"] == "pending"
        mail_server.start()

        async def all_sent() -> bool:
            async with connected(dsn) as connection:
                return bool(await connection.fetchval("SELECT bool_and(status = 'sent') FROM notifications"))

        await until(all_sent, seconds=40)
    assert len(mail_server.mails) == 10
    assert len({mail["Message-ID"] for mail in mail_server.mails}) == 10


async def test_after_an_outage_mail_is_sent_within_the_request_again(
    settings: CrmSettings, dsn: str, mail_server: MailServer
) -> None:
    mail_server.stop()
    async with running_crm(settings) as client:
        await client.post("/notify", json=a_message())
        mail_server.start()

        async def sent() -> bool:
            return await mail_status(dsn, 1) == "sent"

        await until(sent)
        assert (await client.post("/notify", json=a_message())).json()["email_sent"] is True


async def test_repeated_request_reports_mail_sent_in_the_meantime(
    settings: CrmSettings, dsn: str, mail_server: MailServer
) -> None:
    mail_server.stop()
    async with running_crm(settings) as client:
        first = await client.post("/notify", json=a_message(), headers=KEY)
        mail_server.start()

        async def sent() -> bool:
            return await mail_status(dsn, 1) == "sent"

        await until(sent)
        again = await client.post("/notify", json=a_message(), headers=KEY)
    assert again.json() == {**first.json(), "email_sent": True}
    assert len(mail_server.mails) == 1


async def test_rejected_recipient_is_not_retried(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    mail_server.recipient_verdict = "550 no such mailbox"
    assert (await crm.post("/notify", json=a_message())).json()["email_sent"] is False
    [item] = (await crm.get("/notifications")).json()
    assert item["status"] == "failed"
    assert "550" in item["response"]


async def test_deferred_mail_stays_pending_and_does_not_block_others(
    crm: httpx.AsyncClient, mail_server: MailServer
) -> None:
    mail_server.recipient_verdict = "451 greylisted, come back later"
    assert (await crm.post("/notify", json=a_message())).json()["email_sent"] is False
    [item] = (await crm.get("/notifications")).json()
    assert item["status"] == "pending"
    assert "451" in item["response"]
    mail_server.recipient_verdict = "250 ok"
    assert (await crm.post("/notify", json=a_message())).json()["email_sent"] is True


async def test_slow_mail_server_does_not_delay_the_answer_and_gets_one_mail(
    settings: CrmSettings, dsn: str, mail_server: MailServer
) -> None:
    mail_server.delay = 1.5
    async with running_crm(settings, Pace(patience=0.5)) as client:
        answer = await client.post("/notify", json=a_message())
        assert answer.json()["email_sent"] is False
    assert await mail_status(dsn, 1) == "sent"  # the shutdown let it finish
    assert mail_server.offered == 1


async def test_mail_repeated_after_a_crash_has_the_same_message_id(
    settings: CrmSettings, dsn: str, mail_server: MailServer, tmp_path: Path
) -> None:
    mail_server.delay = 60.0  # the server has the mail, and the process waits for its word
    port = free_port()
    environ = {
        **os.environ,
        "CRM_DATABASE_URL": dsn,
        "CRM_BEARER_TOKEN": TOKEN,
        "SMTP_URL": mail_server.url,
        "CONVENE_DATA": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crm", "serve", "--port", str(port), env=environ, stderr=asyncio.subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}) as client:

        async def answers() -> bool:
            try:
                return (await client.get("/")).is_success
            except httpx.TransportError:
                return False

        await until(answers)
        interrupted = asyncio.create_task(client.post("/notify", json=a_message(), headers=KEY))
        await until(lambda: mail_server.mails)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        with pytest.raises(httpx.TransportError):
            await interrupted
    mail_server.delay = 0.0
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT lease IS NOT NULL FROM notifications")
        await connection.execute("UPDATE notifications SET next_attempt_at = now()")  # the lease has ended
    async with running_crm(settings) as client:
        answer = await client.post("/notify", json=a_message(), headers=KEY)
        assert answer.json()["notification_id"] == 1
        assert answer.json()["email_sent"] is True
    first, second = mail_server.mails
    assert first["Message-ID"] == second["Message-ID"]


async def test_mail_of_a_dead_process_is_not_claimed_before_its_lease_ends(
    settings: CrmSettings, dsn: str, mail_server: MailServer
) -> None:
    async with connected(dsn) as connection:
        await connection.execute(
            "INSERT INTO notifications (body, recipient_email, status, next_attempt_at, lease) "
            "VALUES ('{\"event\": {}}', 'f@example.com', 'pending', now() + interval '1 minute', uuidv7())"
        )
    async with running_crm(settings) as client:
        await client.post("/notify", json=a_message())
        await asyncio.sleep(0.6)  # three rounds
    assert len(mail_server.mails) == 1
    assert await mail_status(dsn, 1) == "pending"


async def test_without_smtp_server_mails_are_files(dsn: str, tmp_path: Path) -> None:
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path))) as client:
        assert (await client.post("/notify", json=a_message())).json()["email_sent"] is True
    [path] = (tmp_path / "mail").iterdir()
    assert path.name[8] == "T"
    assert "Z-facilitator@example.com-new-booking-ada-lovelace-for-morning-meditation" in path.name
    assert path.suffix == ".eml"
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert mail["To"] == "John Doe <facilitator@example.com>"


async def test_mail_is_retried_while_its_directory_cannot_be_written(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path))) as client:
        answer = await client.post("/notify", json=a_message())
        assert answer.status_code == 200
        assert answer.json()["email_sent"] is False
        (tmp_path / "mail").unlink()

        async def sent() -> bool:
            return await mail_status(dsn, 1) == "sent"

        await until(sent)
    assert len(list((tmp_path / "mail").glob("*.eml"))) == 1
