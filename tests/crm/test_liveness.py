"""Liveness of the CRM's process: without its database, and after a task ended."""

import asyncio

import httpx

from crm.app import create_app
from servicekit.tasks import LongLivedTasks
from tests.crm.parts import QUICK, settings_for
from tests.support.http import serving


async def ending() -> None:
    pass


async def test_process_is_alive_without_its_database_until_a_task_ends() -> None:
    tasks = LongLivedTasks()
    app = create_app(settings_for("postgresql://convene@127.0.0.1:1/crm"), QUICK, tasks)
    async with serving(app) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
        answer = await client.get("/health/live")
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
        await tasks.start("deliver Email", ending())
        await asyncio.sleep(0)
        answer = await client.get("/health/live")
        assert (answer.status_code, answer.json()) == (503, {"status": "dead", "ended_tasks": ["deliver Email"]})
