"""Every operation that writes answers 503 with Retry-After while PostgreSQL reports an outage or a conflict, by any
SQLSTATE and also at COMMIT."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from servicekit.conflicts import TRIES
from servicekit.logging import configure_logging
from tests.crm.examples import record as call_all
from tests.crm.parts import MailServer, a_message, connected, running_crm, settings_for, until
from tests.support.database_faults import A_FAULT_OF_THE_CODE, DatabaseFaults, FaultyRecorder

NAME = "Ada of Kensington"
WRITES_NOTHING = {
    "crmHealth",
    "listNotifications",
    "listWebhooks",
    "listFacilitatorEvents",
    "sendTestEmail",
    "testMailLogin",
}
"""Left out: while they run, the deliveries of the process write."""


def _is_outage(response: httpx.Response) -> None:
    assert response.status_code == 503, f"{response.status_code} {response.text}"
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["code"] == "database_unavailable"


async def test_every_write_answers_503(own_dsn: str, mail_server: MailServer, tmp_path: Path) -> None:
    made: list[FaultyRecorder] = []

    def recorder(client: httpx.AsyncClient, routes: dict[str, tuple[str, str]]) -> FaultyRecorder:
        made.append(FaultyRecorder(client, routes, faults=faults, check=_is_outage, writes_nothing=WRITES_NOTHING))
        return made[-1]

    async with connected(own_dsn) as connection:
        faults = await DatabaseFaults.install(connection)
        await call_all(own_dsn, mail_server, tmp_path, recorder)
    assert not made[0].wrong, "\n".join(made[0].wrong)
    assert made[0].written == made[0].writes - WRITES_NOTHING


BODIES: dict[str, Any] = {
    "/notify": a_message(),
    "/webhook": {
        "booking_id": 15,
        "user": {"name": "Ada", "email": "ada@example.com"},
        "event": 7,
        "facilitator_id": 3,
    },
}
TABLES = {"/notify": "notifications", "/webhook": "crm_bookings"}


async def test_fault_of_the_code_is_no_outage(own_dsn: str, tmp_path: Path) -> None:
    """Negative control: other SQLSTATEs are answered 500, so the injected ones reach the operations."""
    async with connected(own_dsn) as connection:
        faults = await DatabaseFaults.install(connection)
        async with running_crm(settings_for(own_dsn, CONVENE_DATA=str(tmp_path))) as crm:
            for at_commit in (False, True):
                async with faults.injected(A_FAULT_OF_THE_CODE, at_commit=at_commit):
                    assert (await crm.post("/notify", json=a_message())).status_code == 500
            assert (await crm.post("/notify", json=a_message())).status_code == 200


@pytest.mark.parametrize("path", ["/notify", "/webhook"])
async def test_conflict_is_repeated(own_dsn: str, tmp_path: Path, path: str) -> None:
    async with connected(own_dsn) as connection:
        faults = await DatabaseFaults.install(connection)
        async with running_crm(settings_for(own_dsn, CONVENE_DATA=str(tmp_path))) as crm:
            for number, at_commit in enumerate((False, True), start=1):
                async with faults.injected("40P01", at_commit=at_commit, times=TRIES - 1):
                    response = await crm.post(path, json=BODIES[path])
                assert response.status_code == 200, response.text
                assert await connection.fetchval(f"SELECT count(*) FROM {TABLES[path]}") == number


async def test_not_ready_while_writes_fail(own_dsn: str, tmp_path: Path) -> None:
    async with connected(own_dsn) as connection:
        faults = await DatabaseFaults.install(connection)
        async with running_crm(settings_for(own_dsn, CONVENE_DATA=str(tmp_path))) as crm:

            async def is_ready() -> bool:
                return (await crm.get("/health/ready")).status_code == 200

            async def is_read_only() -> bool:
                response = await crm.get("/health/ready")
                return response.status_code == 503 and response.json()["database"] == "read_only"

            assert await is_ready()
            async with faults.injected("25006"):
                await until(is_read_only)
                assert int((await crm.get("/health/ready")).headers["retry-after"]) > 0
            await until(is_ready)


@pytest.fixture
def _log_of_a_process() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    configure_logging("warning")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@pytest.mark.usefixtures("_log_of_a_process")
async def test_log_has_no_values_of_users(own_dsn: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with connected(own_dsn) as connection:
        await connection.execute(
            f"ALTER TABLE notifications ADD CONSTRAINT names_are_checked CHECK (user_name <> '{NAME}')"
        )
    async with running_crm(settings_for(own_dsn, CONVENE_DATA=str(tmp_path))) as crm:
        message = a_message(user={"id": 5, "name": NAME, "email": "ada@example.com"})
        assert (await crm.post("/notify", json=message)).status_code == 500
    written = capfd.readouterr().err
    assert "names_are_checked" in written
    assert NAME not in written


async def test_not_ready_with_a_schema_that_it_cannot_use(own_dsn: str, tmp_path: Path) -> None:
    async with (
        connected(own_dsn) as connection,
        running_crm(settings_for(own_dsn, CONVENE_DATA=str(tmp_path))) as crm,
    ):
        assert (await crm.get("/health/ready")).json() == {"status": "ready", "database": "connected"}
        await connection.execute("UPDATE crm_schema_version SET version_num = '9001', oldest_code = '9000'")
        response = await crm.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["message"].endswith("install the newer version")
