"""The commands that list: `users list`, and `--json` of every list, for programs."""

import asyncio
import csv
import json
from collections.abc import Awaitable, Callable, Sequence
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


async def test_audit_lists_entries_and_records_the_reading_as_the_operator(
    database: asyncpg.Connection, run: Run
) -> None:
    await database.execute(
        """INSERT INTO audit_log (at, actor_kind, actor_id, action, object_kind, object_id, after)
           VALUES ('2026-03-01T10:00:00Z', 'admin', '7', 'account.role_changed', 'account', '9', '{"role": "admin"}'),
                  ('2026-03-01T11:00:00Z', 'anonymous', NULL, 'login.failed', 'account', '9', NULL)"""
    )
    about = ("--object-kind", "account", "--object-id", "9")
    shown = await run("audit", *about)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    heads, *lines = [line.split() for line in shown.stdout.splitlines()]
    assert heads == ["id", "at", "actor", "action", "object", "before", "after"]
    assert [line[1:5] for line in lines] == [
        ["2026-03-01", "11:00:00Z", "anonymous", "login.failed"],
        ["2026-03-01", "10:00:00Z", "admin", "7"],
    ]
    page = await listed(run, "audit", *about, "--limit", "1")
    assert [entry["action"] for entry in page["items"]] == ["login.failed"]
    rest = await listed(run, "audit", *about, "--cursor", page["next"])
    assert [(entry["actor_id"], entry["after"]) for entry in rest["items"]] == [("7", {"role": "admin"})]
    exported = await run("audit", "--csv", *about, "--until", "2026-03-01T10:30Z")
    [row] = csv.DictReader(exported.stdout.splitlines())
    assert (row["at"], row["action"], row["after"]) == (
        *("2026-03-01T10:00:00Z", "account.role_changed", '{"role": "admin"}'),
    )
    recorded = await listed(run, "audit", "--actor-kind", "operator")
    assert [entry["action"] for entry in recorded["items"]] == ["audit.exported", *["audit.read"] * 3]


@pytest.mark.parametrize("options", [("--csv", "--json"), ("--actor-id", "7"), ("--object-id", "7")])
async def test_options_of_audit_that_do_not_go_together_are_rejected(run: Run, options: Sequence[str]) -> None:
    assert (await run("audit", *options)).exit_code == 2
