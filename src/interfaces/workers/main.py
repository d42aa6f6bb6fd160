"""The worker process: it delivers what is owed, in any number of processes beside each other."""

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta

import structlog

from application.deliveries import DeliverDue
from domain.errors import Unavailable
from domain.messages import Destination, RetrySchedule
from infrastructure.database.engine import Database
from infrastructure.database.outbox import PostgresDueMessages
from infrastructure.deliveries.crm import CrmCourier
from infrastructure.deliveries.mail import MailComposer, MailCourier, Post
from infrastructure.deliveries.mail_files import MailFiles
from infrastructure.deliveries.smtp import SmtpPost
from infrastructure.settings import Settings, SettingsError
from infrastructure.telemetry import configure_logging
from infrastructure.wake_ups import QUEUE, WAKE, connect
from interfaces.workers.deliveries import Deliveries
from interfaces.workers.doorbell import Doorbell

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises `SettingsError` for what an operator has to mend before it can work at all."""
    configure_logging(settings.log_level)
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    mail = _mail_courier(settings)
    crm = CrmCourier(
        settings.crm_service_url, settings.crm_bearer_token, signing_secrets=settings.delivery_signing_secrets
    )
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    deliver_due = DeliverDue(
        outbox=PostgresDueMessages(database),
        couriers={Destination.CRM: crm, Destination.EMAIL: mail},
        schedule=RetrySchedule(tuple(timedelta(seconds=delay) for delay in settings.delivery_retry_schedule)),
    )
    deliveries = Deliveries(deliver_due, deliver_due.couriers)
    doorbell = Doorbell(lambda: connect(settings.redis_url, seconds=5), deliveries.ring, job=WAKE, queue=QUEUE)
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, deliveries.close)
    listening = asyncio.create_task(doorbell.listen())
    try:
        await _require_tables(database)
        _log.info("worker_started")
        await deliveries.serve()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await crm.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(database.close(), 1)
        _log.info("worker_stopped")


def _mail_courier(settings: Settings) -> MailCourier:
    post: Post = SmtpPost(settings.smtp_url) if settings.smtp_url else MailFiles(settings.convene_data / "mail")
    return MailCourier(MailComposer(mail_from=settings.mail_from, public_url=settings.public_url), post)


async def _require_tables(database: Database) -> None:
    """A server that is away may come back; one without our tables waits for somebody."""
    with suppress(Unavailable):
        async with database.connection() as connection:
            if await connection.fetchval("SELECT to_regclass('outbox')") is None:
                raise SettingsError("DATABASE_URL: this database has no tables yet: run `convene migrate`")
