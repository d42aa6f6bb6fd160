"""The CRM application, put together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from litestar import Litestar, Router
from litestar.di import Provide

from crm.api.bodies import BODY_LIMIT
from crm.api.errors import HANDLERS
from crm.api.frame import RequestFrame
from crm.api.health import health
from crm.api.notifications import list_notifications, notify
from crm.api.security import bearer_guard
from crm.carriers import carrier_for
from crm.database import Database
from crm.letters import LetterWriter
from crm.mailroom import LEASE, Mailroom
from crm.settings import CrmSettings, load_settings
from crm.store import NotificationStore


def create_app(settings: CrmSettings | None = None) -> Litestar:
    """The application for `settings`, by default those of the environment; raises SettingsError."""
    settings = settings or load_settings(os.environ)
    database = Database(settings.database_url)
    store = NotificationStore(database, uuid4(), LEASE)
    mailroom = Mailroom(store, LetterWriter(settings.mail_from), carrier_for(settings.smtp, settings.data))

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        await database.open()
        mailroom.start()
        try:
            yield
        finally:
            await mailroom.close()
            await database.close()

    provided = {"settings": settings, "database": database, "store": store, "mailroom": mailroom}
    app = Litestar(
        route_handlers=[
            health,
            Router("/", route_handlers=[notify, list_notifications], guards=[bearer_guard(settings.bearer_token)]),
        ],
        dependencies={name: _always(part) for name, part in provided.items()},
        exception_handlers=HANDLERS,
        lifespan=[run],
        request_max_body_size=BODY_LIMIT,
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = RequestFrame(app.asgi_handler)
    return app


def _always(part: object) -> Provide:
    def provide() -> Any:
        return part

    return Provide(provide, sync_to_thread=False, use_cache=True)
