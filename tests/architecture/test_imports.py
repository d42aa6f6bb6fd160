"""What a process loads before it serves: no package that it does not need. Imports are most of the time of a start."""

import json
import subprocess
import sys

import pytest

BY_SETTING = {"opentelemetry", "stripe", "requests"}
"""Loaded when a setting asks for them."""
OF_MIGRATIONS = {"alembic", "mako"}
OF_API_AND_WORKER = {"aiohttp", "argon2", "arq", "dateutil", "jwt", "prometheus_client", "redis"}
OF_CRM = {"aiosmtplib", "asyncpg", "httpx", "jinja2", "litestar", "sqlalchemy", "structlog", "uvicorn"}
OF_WORKER = {"aiohttp", "aiosmtplib", "dateutil", "email_validator", "jinja2"}
"""Loaded by the API when a request needs them."""
OF_TESTS = {"faker", "hypothesis", "icalendar", "polyfactory", "pytest"}

HELP = (
    "import click; import interfaces.cli as c; [c.convene.get_command(click.Context(c.convene), n) for n in c.COMMANDS]"
)
BUILD = (
    "from interfaces.cli.openapi import DRAWING; from infrastructure.settings import load_settings;"
    " from interfaces.http.app import assemble; assemble(c.build(load_settings(DRAWING)))"
)
NEVER = BY_SETTING | OF_TESTS


@pytest.mark.parametrize(
    "steps",
    [
        # `convene demo` sends requests with httpx, and `--help` loads every command.
        [
            (HELP, NEVER | OF_MIGRATIONS | OF_API_AND_WORKER | OF_CRM - {"httpx"} | {"crm"}),
            ("import crm.app", NEVER | OF_MIGRATIONS | OF_API_AND_WORKER - {"prometheus_client"}),
        ],
        [
            ("import interfaces.http.app", NEVER | OF_MIGRATIONS | OF_WORKER | {"crm", "httpx"}),
            (f"import infrastructure.container as c; {BUILD}", OF_MIGRATIONS | OF_WORKER | {"crm", "httpx", "stripe"}),
        ],
        [
            (
                "import interfaces.workers.main",
                NEVER | OF_MIGRATIONS | {"aiohttp", "crm", "uvicorn", "websockets", "httptools"},
            )
        ],
    ],
    ids=["help and CRM", "API", "worker"],
)
# Takes 3 s each: they import everything anew.
def test_process_loads_no_package_that_it_does_not_need(steps: list[tuple[str, set[str]]]) -> None:
    script = "import json, sys\n" + "".join(
        f"{step}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))\n" for step, _ in steps
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    loaded = [set(json.loads(line)) for line in done.stdout.splitlines()]
    assert [names & unneeded for names, (_, unneeded) in zip(loaded, steps, strict=True)] == [set()] * len(steps)
