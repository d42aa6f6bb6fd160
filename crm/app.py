"""The CRM application, put together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from litestar import Litestar, Router
from litestar.datastructures import State

from crm.api.bodies import BODY_LIMIT
from crm.api.errors import HANDLERS
from crm.api.facilitator_events import list_facilitator_events
from crm.api.health import health, live, metrics_guard, ready, show_metrics
from crm.api.mail_checks import send_test_email, test_gmail_auth
from crm.api.middleware import RequestMiddleware
from crm.api.notifications import (
    clear_notifications,
    delete_notification,
    list_notifications,
    notify,
    process_notification,
)
from crm.api.openapi import show_asset, show_docs, show_document
from crm.api.parts import PARTS, Parts
from crm.api.security import bearer_guard
from crm.api.webhook import list_webhooks, process_webhook, webhook
from crm.database import Database, DatabaseUnavailable
from crm.delivery.dispatcher import LEASE, Dispatcher, Pace
from crm.delivery.email import EmailSender
from crm.delivery.http import PAYMENT_REPORT, WebhookSender
from crm.email.content import NotificationEmailWriter
from crm.erasure.eraser import Eraser
from crm.facilitator_events import FacilitatorEvents
from crm.metrics import Metrics
from crm.notification_store import NotificationStore, mail_queue
from crm.refused_webhooks import RefusedWebhooks
from crm.retention import Retention
from crm.schema_version import VERSION_TABLE
from crm.settings import CrmSettings, load_settings
from crm.webhook_store import Destination, WebhookStore, webhook_queue
from servicekit.browser_pages import BrowserPages
from servicekit.clock import DatabaseClock
from servicekit.json_responses import JsonResponse
from servicekit.lease_queue import OutageLog
from servicekit.mail_transport import mail_directory, mail_transport
from servicekit.retention import MailFiles
from servicekit.tasks import LongLivedTasks
from servicekit.time_zones import use_newest_time_zones
from servicekit.write_probe import WriteProbe

CONTRACT_A = [notify, list_notifications, process_notification, list_facilitator_events]
CONTRACT_B = [delete_notification, clear_notifications, send_test_email, test_gmail_auth]
CONTRACT_D = [webhook]
OPERATORS = [list_webhooks, process_webhook]
DESTINATIONS = ("email", *Destination)


def create_app(
    settings: CrmSettings | None = None, pace: Pace | None = None, tasks: LongLivedTasks | None = None
) -> Litestar:
    """The application for `settings`, by default those of the environment; raises SettingsError. `tasks` supervises the
    tasks that run until its end."""
    use_newest_time_zones()
    settings = settings or load_settings(os.environ)
    pace = pace or Pace()
    tasks = tasks or LongLivedTasks()
    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        timeout=settings.database_timeout_seconds,
        pooler=settings.pooler,
    )
    clock = DatabaseClock(database.connection)
    lease = uuid4()
    writer = NotificationEmailWriter(settings.mail_from, smtputf8=settings.mail_smtputf8)
    transport = mail_transport(settings.smtp, settings.data)
    outages = OutageLog()
    metrics = Metrics(DESTINATIONS)
    files = MailFiles(
        mail_directory(settings.data), timedelta(days=settings.mail_file_retention_days), clock.now, metrics.pruned
    )
    retention = Retention(settings, database, metrics.pruned, files)
    mail_dispatcher = Dispatcher(
        mail_queue(database, lease, LEASE), EmailSender(writer, transport), clock, pace, outages
    )
    http = _http_senders(settings, clock)
    senders = {
        destination: Dispatcher(webhook_queue(database, destination, lease, LEASE), sender, clock, pace, outages)
        for destination, sender in http.items()
    }

    dispatchers: list[Dispatcher[Any]] = [mail_dispatcher, *senders.values()]

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            closing.push_async_callback(database.close)
            closing.push_async_callback(transport.close)
            for sender in http.values():
                closing.push_async_callback(sender.close)
            await clock.read()
            running = [
                tasks.start("read the clock", clock.run()),
                tasks.start("prune", retention.run(clock.first_reading)),
            ]
            for dispatcher in dispatchers:
                dispatcher.start(tasks)
            try:
                yield
            finally:
                await asyncio.gather(*(dispatcher.close() for dispatcher in dispatchers))
                await tasks.stop(running)

    parts = Parts(
        settings=settings,
        database=database,
        store=NotificationStore(database, lease, LEASE),
        events=FacilitatorEvents(database),
        eraser=Eraser(database, mail_directory(settings.data), metrics.erasure),
        refused_webhooks=RefusedWebhooks(database),
        webhooks=WebhookStore(database, forwards=settings.forward is not None),
        mail_dispatcher=mail_dispatcher,
        senders=senders,
        writer=writer,
        transport=transport,
        tasks=tasks,
        write_probe=WriteProbe(database.connection, VERSION_TABLE, unavailable=DatabaseUnavailable),
        metrics=metrics,
        clock=clock,
    )
    bearer = bearer_guard(settings.bearer_token)
    webhook_bearer = bearer_guard(settings.webhook_token, status=403)
    app = Litestar(
        route_handlers=[
            health,
            live,
            ready,
            Router("/", route_handlers=[show_metrics], guards=[metrics_guard(settings.metrics_token)]),
            show_docs,
            show_document,
            show_asset,
            Router("/", route_handlers=CONTRACT_A, guards=[bearer]),
            Router("/", route_handlers=CONTRACT_B, guards=[bearer], opt={"sentences": True}),
            Router("/", route_handlers=OPERATORS, guards=[bearer], opt={"sentences": True}),
            Router("/", route_handlers=CONTRACT_D, guards=[webhook_bearer], opt={"sentences": True}),
        ],
        state=State({PARTS: parts}, deep_copy=False),
        response_class=JsonResponse,
        exception_handlers=HANDLERS,
        lifespan=[run],
        request_max_body_size=BODY_LIMIT,
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = BrowserPages(
        RequestMiddleware(app.asgi_handler, metrics.request), "Convene CRM", {"/docs": "Documentation of the API"}
    )
    return app


def _http_senders(settings: CrmSettings, clock: DatabaseClock) -> dict[Destination, WebhookSender]:
    senders = {}
    if settings.forward:
        senders[Destination.TRANSITIONS] = WebhookSender(
            "Forward", settings.forward.url, settings.forward.token, now=clock.now
        )
    if settings.payments:
        senders[Destination.PAYMENT] = WebhookSender(
            PAYMENT_REPORT, settings.payments.url, settings.payments.token, now=clock.now
        )
    return senders
