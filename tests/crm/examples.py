"""The examples of the CRM's description, recorded from real answers: `python -m tests.crm.examples` writes them.

One small story calls every operation of a CRM that runs on a fresh database; what differs from run to run is replaced.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from crm.api import openapi
from crm.app import create_app
from crm.migrations import upgrade
from crm.settings import CrmSettings
from tests.crm.parts import LOGIN, TOKEN, MailServer, a_message, running_crm, settings_for
from tests.support.recorder import Recorder, as_text
from tests.support.servers import running_postgres, temporary_directory

FILE = Path(openapi.__file__).with_name("examples.json")
KEY = {"Idempotency-Key": "019b8a51-7c00-7000-8000-000000000012"}


async def record(
    dsn: str, mail_server: MailServer, data: Path, make_recorder: Callable[..., Recorder] = Recorder
) -> dict[str, Any]:
    """What `examples.json` must hold: by operation id. The database is empty and migrated."""
    smtp = f"smtp://{LOGIN[0].replace('@', '%40')}:{LOGIN[1].replace(' ', '%20')}@127.0.0.1:{mail_server.port}"
    settings = settings_for(dsn, SMTP_URL=smtp, CONVENE_DATA=str(data))
    enveloping = settings_for(dsn, CONVENE_DATA=str(data), CRM_NOTIFICATIONS_SHAPE="envelope")
    async with running_crm(settings) as client:
        call = _recorder(client, settings, make_recorder)
        await _story(call)
    async with running_crm(enveloping) as client:
        again = _recorder(client, enveloping, make_recorder)
        await again("notify", TOKEN, {"action": "user_erased", "message_id": KEY["Idempotency-Key"], "user": {"id": 9}})
        erased = again.examples["notify"]["answers"]["200"]["body"]
        await again("notify", TOKEN, _message(again))
        await again("listNotifications", TOKEN, limit=1)
    examples = {name: _example(kept) for name, kept in call.examples.items()}
    examples["notify"]["answers"] = {"stored": examples["notify"]["answers"]["answer"], "erased": erased}
    listed = {"list": call, "envelope": again}
    examples["listNotifications"]["answers"] = {
        shape: recorder.examples["listNotifications"]["answers"]["200"]["body"] for shape, recorder in listed.items()
    }
    return dict(sorted(examples.items()))


async def _story(call: Recorder) -> None:
    await call("crmHealth")
    call.client.headers.update(KEY)
    stored = await call("notify", TOKEN, _message(call))
    for header in KEY:
        del call.client.headers[header]
    await call("listNotifications", TOKEN, limit=20)
    await call("listFacilitatorEvents", TOKEN, facilitator_id=2, limit=20)
    await call("processNotification", TOKEN, notification_id=stored["notification_id"])
    await call("deleteNotification", TOKEN, notification_id=stored["notification_id"])
    await call("notify", TOKEN, _message(call))
    await call("clearNotifications", TOKEN)
    await call("sendTestEmail", TOKEN, {"to_email": "test@example.com", "subject": "Test Email"})
    await call("testMailLogin", TOKEN)
    user = {"name": "Alice", "email": "alice@example.com"}
    received = await call("receiveWebhook", TOKEN, {"booking_id": 15, "user": user, "event": 7, "facilitator_id": 3})
    await call("listWebhooks", TOKEN, limit=20)
    await call("processWebhook", TOKEN, webhook_id=received["webhook_id"])


def _message(call: Recorder) -> dict[str, Any]:
    """About an event three weeks from now; the examples show it three weeks after their own day."""

    def at(in_days: int, hour: int) -> str:
        return (call.neat.today + timedelta(days=in_days, hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")

    message = a_message(occurred_at=at(-1, 12))
    times = {"date_time": at(21, 9), "start_datetime": at(21, 9), "end_datetime": at(21, 10)}
    return message | {"event": message["event"] | times}


def _recorder(client: httpx.AsyncClient, settings: CrmSettings, make_recorder: Callable[..., Recorder]) -> Recorder:
    served = openapi.operations(create_app(settings))
    return make_recorder(client, {str(handler.operation_id): (method, path) for path, method, handler in served})


def _example(kept: dict[str, Any]) -> dict[str, Any]:
    body = {"body": kept["bodies"]["200"]} if "bodies" in kept else {}
    parameters = {"parameters": kept["parameters"]} if "parameters" in kept else {}
    return body | parameters | {"answers": {"answer": kept["answers"]["200"]["body"]}}


def _main() -> None:
    mail_server = MailServer()
    mail_server.start()
    try:
        with temporary_directory() as data, running_postgres() as postgres:
            upgrade(postgres.dsn("convene"))
            examples = asyncio.run(record(postgres.dsn("convene"), mail_server, data))
    finally:
        mail_server.stop()
    FILE.write_text(as_text(examples), encoding="utf-8")
    print(f"{FILE.name}: {len(examples)} operations")


if __name__ == "__main__":
    _main()
