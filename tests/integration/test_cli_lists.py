"""The commands that list: `users list`, and `--json` of every list, for programs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner, Result

from interfaces.cli import COMMANDS, convene
from tests.support.messages import add_message

Run = Callable[..., Awaitable[Result]]

ADD = """INSERT INTO users (email, name, role, is_active, created_at)
VALUES ($1, $2, $3, $4, '2026-03-01T10:00:00Z') RETURNING id"""


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    """A command in this process, in a thread of its own: it brings its own event loop."""
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1",
        "JWT_SECRET_KEY": "j" * 32,
        "CRM_BEARER_TOKEN": "c" * 32,
        "BACKEND_SERVICE_TOKEN": "b" * 32,
        "CONVENE_DATA": str(tmp_path),
    }

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner(env=settings).invoke, convene, arguments)

    return run


async def listed(run: Run, *arguments: str) -> dict[str, Any]:
    done = await run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def list_commands() -> list[str]:
    context = click.Context(convene)
    groups = {name: convene.get_command(context, name) for name in COMMANDS}
    return [name for name, group in groups.items() if isinstance(group, click.Group) and "list" in group.commands]


def test_list_commands_are_users_outbox_and_payments() -> None:
    assert list_commands() == ["users", "outbox", "payments"]


@pytest.mark.parametrize("group", list_commands())
async def test_every_empty_list_prints_json(group: str, run: Run) -> None:
    body = await listed(run, group, "list")
    assert body["items"] == []
    assert body["next"] is None


async def test_users_list_shows_the_newest_first_and_filters(database: asyncpg.Connection, run: Run) -> None:
    people = [
        ("ada@example.com", "Ada Byron", "user", True),
        ("mira@example.com", "Mira \x1b[31mSol", "facilitator", True),
        ("root@example.com", "Root", "admin", False),
    ]
    ids = [await database.fetchval(ADD, *person) for person in people]

    shown = await run("users", "list")
    heads, *lines = shown.stdout.splitlines()
    assert heads.split() == ["id", "email", "name", "role", "state", "created"]
    assert [line.split()[0] for line in lines] == [str(each) for each in reversed(ids)]
    assert lines[0].split()[1:] == ["root@example.com", "Root", "admin", "inactive", "2026-03-01", "10:00:00Z"]
    assert "\x1b" not in shown.stdout

    chosen = await listed(run, "users", "list", "--role", "user")
    assert [person["email"] for person in chosen["items"]] == ["ada@example.com"]
    chosen = await listed(run, "users", "list", "--inactive")
    assert chosen["items"][0].items() >= {"email": "root@example.com", "is_active": False}.items()
    assert chosen["items"][0]["created_at"] == "2026-03-01T10:00:00Z"

    page = await listed(run, "users", "list", "--limit", "2")
    rest = await listed(run, "users", "list", "--limit", "2", "--cursor", page["next"])
    assert [person["id"] for person in (*page["items"], *rest["items"])] == ids[::-1]
    assert rest["next"] is None


async def test_outbox_list_prints_messages_and_unserved_destinations(database: asyncpg.Connection, run: Run) -> None:
    message_id = await add_message(database)
    body = await listed(run, "outbox", "list", "--status", "all")
    [message] = body["items"]
    assert message.items() >= {"id": str(message_id), "destination": "crm", "status": "pending"}.items()
    assert body["not_served"] == []
