"""The parts of the service that handlers use.

Handlers take them from the application. As dependencies of the framework each of them would be a task of every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request

from crm.database import Database
from crm.delivery.dispatcher import Dispatcher
from crm.email.content import NotificationEmailWriter
from crm.erasure.eraser import Eraser
from crm.facilitator_events import FacilitatorEvents
from crm.metrics import Metrics
from crm.notification_store import MailClaim, NotificationStore
from crm.refused_webhooks import RefusedWebhooks
from crm.settings import CrmSettings
from crm.webhook_store import Destination, WebhookDelivery, WebhookStore
from servicekit.clock import DatabaseClock
from servicekit.mail_transport import MailTransport
from servicekit.tasks import LongLivedTasks
from servicekit.write_probe import WriteProbe

PARTS = "parts"
"""Key in the state of the application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    settings: CrmSettings
    database: Database
    store: NotificationStore
    events: FacilitatorEvents
    eraser: Eraser
    refused_webhooks: RefusedWebhooks
    webhooks: WebhookStore
    mail_dispatcher: Dispatcher[MailClaim]
    senders: Mapping[Destination, Dispatcher[WebhookDelivery]]
    writer: NotificationEmailWriter
    transport: MailTransport
    tasks: LongLivedTasks
    write_probe: WriteProbe
    metrics: Metrics
    clock: DatabaseClock


def parts_of(request: Request[Any, Any, Any]) -> Parts:
    parts: Parts = request.app.state[PARTS]
    return parts
