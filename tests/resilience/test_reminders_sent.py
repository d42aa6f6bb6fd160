"""Reminders sent by worker processes, one of which dies during a delivery, and reminders of held seats."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from infrastructure import container
from infrastructure.settings import Settings
from tests.support.app_harness import open_app_harness
from tests.support.local_gateway import running_local_gateway
from tests.support.messages import EXPIRE_LEASES, until
from tests.support.processes import server_environ
from tests.support.reminder_harness import DAY, HOUR, Inbox, ReminderHarness, SettableClock


class DeadlyInbox(Inbox):
    """Accepts the first reminder, and kills the sending process before it gets the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.victims: list[int] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        reply = await super().handle_DATA(server, session, envelope)
        if self.victims and self.mails[-1]["Subject"] == "Tomorrow: Yoga":
            os.kill(self.victims.pop(), signal.SIGKILL)
        return reply


@pytest.fixture
async def harness(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    inbox = DeadlyInbox()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    parts = container.build(make_settings(), container.Substitutes(clock=SettableClock()))
    try:
        yield ReminderHarness(parts, database, SettableClock(), inbox, f"smtp://127.0.0.1:{port}?starttls=0")
    finally:
        await parts.close()
        server.stop()


@contextlib.asynccontextmanager
async def a_worker(harness: ReminderHarness, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    settings = harness.parts.settings
    environ = server_environ(settings.database_url, settings.redis_url, tmp_path, smtp_url=harness.smtp_url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interfaces.cli", "worker"),
        env=environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# Takes 5 s: reminders are due in 2 s, and looked for every 5 s.
async def test_two_workers_send_one_reminder_before_each_start(harness: ReminderHarness, tmp_path: Path) -> None:
    tomorrow, _ = await harness.a_booking(DAY + timedelta(seconds=2))
    soon, _ = await harness.a_booking(HOUR + timedelta(seconds=2))
    async with a_worker(harness, tmp_path), a_worker(harness, tmp_path):
        sent = "SELECT count(*) = 2 FROM reminders WHERE status = 'sent'"
        await until(partial(harness.records.fetchval, sent), 60)
    assert harness.inbox.subjects(tomorrow).count("Tomorrow: Yoga") == 1
    assert harness.inbox.subjects(soon).count("In an hour: Yoga") == 1


# Takes 6 s: reminders are due in 2 s, and looked for every 5 s.
async def test_worker_killed_between_send_and_mark_sends_at_most_one_more_mail(
    harness: ReminderHarness, tmp_path: Path
) -> None:
    person, _ = await harness.a_booking(DAY + timedelta(seconds=2))
    assert isinstance(harness.inbox, DeadlyInbox)
    async with a_worker(harness, tmp_path) as killed_worker:
        harness.inbox.victims.append(killed_worker.pid)
        await asyncio.wait_for(killed_worker.wait(), 60)
    assert await harness.records.fetchval("SELECT count(*) FROM reminders WHERE status = 'queued'") == 1
    await harness.records.execute(EXPIRE_LEASES)
    async with a_worker(harness, tmp_path):
        await until(partial(harness.records.fetchval, "SELECT count(*) = 1 FROM reminders WHERE status = 'sent'"), 60)
    reminders = [mail for mail in harness.inbox.mails if mail["Subject"] == "Tomorrow: Yoga"]
    assert len(reminders) == 2
    assert len({mail["Message-ID"] for mail in reminders}) == 1
    assert harness.inbox.subjects(person).count("Tomorrow: Yoga") == 2


async def test_expired_hold_skips_reminders_and_late_payment_plans_them_again(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with (
        running_local_gateway() as (local_gateway, gateway),
        open_app_harness(make_settings(), database, local_gateway, gateway) as h,
    ):
        new = await h.book(await h.person(), await h.event())

        async def statuses() -> list[tuple[str, str | None]]:
            rows = await database.fetch("SELECT status, reason FROM reminders ORDER BY due_at")
            return [(row["status"], row["reason"]) for row in rows]

        assert await statuses() == [("planned", None)] * 2
        await h.minutes_pass(31)
        await h.worker.money.expire_holds()
        assert await statuses() == [("skipped", "booking_cancelled")] * 2
        await h.settle("till", h.received(new))
        assert await statuses() == [("planned", None)] * 2
