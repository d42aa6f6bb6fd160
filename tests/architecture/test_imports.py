"""What a process loads before it serves: no package that it does not need. Imports are most of the time of a start."""

import json
import subprocess
import sys

import pytest

BY_SETTING = {"opentelemetry", "stripe", "requests"}
"""Loaded when a setting asks for them."""
OF_MIGRATIONS = {"alembic", "mako"}
OF_API_AND_WORKER = {"aiohttp", "argon2", "arq", "dateutil", "jwt", "prometheus_client", "redis"}
OF_SECOND_FACTORS = {"OpenSSL", "pyasn1", "cbor2", "pyotp", "webauthn"}
"""Loaded by the API when a request needs them."""
OF_CRM = {"aiosmtplib", "asyncpg", "httpx", "jinja2", "litestar", "sqlalchemy", "structlog", "uvicorn"}
OF_WORKER = {"aiohttp", "aiosmtplib", "dateutil", "email_validator", "jinja2"}
"""Loaded by the API when a request needs them."""
OF_SQLALCHEMY = {"advanced_alchemy", "sqlalchemy"}
OF_OTHERS = {"aiohttp", "crm", "httptools", "jwt", "litestar", "uvicorn", "websockets"}
"""What a worker does without."""
API_PARTS = {"infrastructure.container.api", "infrastructure.container.appointments", "application.accounts.login"}
API_PARTS |= {"application.bookings.reservation", "application.events.participant_messages", "interfaces.http"}
WORKER_PARTS = {"infrastructure.container.delivery", "infrastructure.email.composer", "application.outbox.delivery"}
WORKER_PARTS |= {"interfaces.workers"}
OF_TESTS = {"faker", "hypothesis", "icalendar", "polyfactory", "pytest"}
BEGIN = "from servicekit.process import begin_start; begin_start({}); "
BEGIN_USUAL, BEGIN_WORKER = BEGIN.format(""), BEGIN.format("'litestar'")
SERVE_CRM = BEGIN_USUAL + (
    "import os; os.environ |= {'CRM_DATABASE_URL': 'postgresql:///none', 'CRM_BEARER_TOKEN': 'none',"
    " 'CONVENE_EMBEDDED': '1'}; from crm import serving; serving.served_app()"
)

HELP = (
    "import click; import interfaces.cli as c; [c.convene.get_command(click.Context(c.convene), n) for n in c.COMMANDS]"
)
BUILD = (
    "from interfaces.cli.openapi import DRAWING; from infrastructure.settings import load_settings;"
    " from interfaces.http.app import assemble; assemble(c.build(load_settings(DRAWING)))"
)
BUILD_DELIVERIES = (
    "from interfaces.cli.openapi import DRAWING; from infrastructure.settings import load_settings;"
    " from infrastructure.container.delivery import build_deliveries; build_deliveries(load_settings(DRAWING))"
)
NEVER = BY_SETTING | OF_TESTS | OF_SECOND_FACTORS
NEVER_SERVING = NEVER | {"pydantic", "pygments", "rich", "watchfiles"}
"""The last four are kept out by `begin_start`."""


@pytest.mark.parametrize(
    "steps",
    [
        # `convene demo` sends requests with httpx, and `--help` loads every command.
        [(HELP, NEVER | OF_MIGRATIONS | OF_API_AND_WORKER | OF_CRM - {"httpx"} | {"crm"})],
        [
            ("import crm.__main__", NEVER | OF_MIGRATIONS | OF_API_AND_WORKER | OF_CRM - {"asyncpg", "httpx"}),
            (
                SERVE_CRM,
                # Litestar imports OpenTelemetry where it is installed.
                NEVER_SERVING - {"opentelemetry"}
                | OF_MIGRATIONS
                | OF_SQLALCHEMY
                | OF_API_AND_WORKER - {"prometheus_client"},
            ),
        ],
        [
            (f"{BEGIN_USUAL}import interfaces.http.app", NEVER_SERVING | OF_MIGRATIONS | OF_WORKER | {"crm", "httpx"}),
            (
                f"import infrastructure.container as c; {BUILD}",
                OF_MIGRATIONS | OF_WORKER | OF_SECOND_FACTORS | WORKER_PARTS | {"crm", "httpx", "stripe"},
            ),
        ],
        [
            (
                f"{BEGIN_WORKER}import interfaces.workers.main; {BUILD_DELIVERIES}",
                NEVER_SERVING | OF_MIGRATIONS | OF_OTHERS | API_PARTS,
            )
        ],
    ],
    ids=["help", "CRM", "API", "worker"],
)
# Takes 3 s each: they import everything anew.
def test_process_loads_nothing_that_it_does_not_need(steps: list[tuple[str, set[str]]]) -> None:
    """Packages by their name, modules of ours with their path."""
    show = "print(json.dumps([name for name, module in sys.modules.items() if module]))\n"
    script = "import json, sys\n" + "".join(f"{step}\n{show}" for step, _ in steps)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    loaded = [set(json.loads(line)) for line in done.stdout.splitlines()]
    assert [names & unneeded for names, (_, unneeded) in zip(loaded, steps, strict=True)] == [set()] * len(steps)
