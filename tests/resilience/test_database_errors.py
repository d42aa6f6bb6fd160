"""Every operation that writes answers 503 with Retry-After, in the format of its path, while PostgreSQL reports an
outage or a conflict, by whatever SQLSTATE and also at COMMIT."""

from pathlib import Path

import asyncpg
import httpx
import pytest

from domain.errors import Unavailable
from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.errors import body_of, error_response
from tests.support.database_faults import A_FAULT_OF_THE_CODE, DatabaseFaults, FaultyRecorder
from tests.support.examples import record as call_all
from tests.support.messages import until

SAFE_METHODS_THAT_WRITE = {
    # The state of a login at another service, until its return.
    *("signInWithGoogle", "signInWithGoogleOfD", "finishGoogleSignIn", "getGoogleCalendarConsent", "getOutlookConsent"),
    # The audit log has who read it, and who exported an account.
    *("exportProfile", "listAuditLog"),
}
UNPAID = "UPDATE payments SET checkout_url = NULL WHERE status = 'pending'"
"""Its checkout has to be opened again."""


def _is_outage(response: httpx.Response) -> None:
    assert response.status_code == 503, f"{response.status_code} {response.text}"
    assert int(response.headers["retry-after"]) > 0
    path, request_id = response.request.url.path, response.headers["x-request-id"]
    assert response.json() == body_of(error_response(Unavailable()), ERROR_FORMATS.of(path), request_id)


# Takes 8 s: every operation of the API is called, those that write three times.
async def test_every_write_of_the_booking_api_answers_503(
    database: asyncpg.Connection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    made: list[FaultyRecorder] = []

    def recorder(client: httpx.AsyncClient, routes: dict[str, tuple[str, str]]) -> FaultyRecorder:
        made.append(
            FaultyRecorder(
                client,
                routes,
                faults=faults,
                check=_is_outage,
                arrange={"payBooking": UNPAID, "payCoaching": UNPAID},
            )
        )
        return made[0]

    faults = await DatabaseFaults.install(database)
    await call_all(database_url, redis_url, tmp_path, recorder)
    assert not made[0].wrong, "\n".join(made[0].wrong)
    assert made[0].writes == made[0].written - SAFE_METHODS_THAT_WRITE


@pytest.mark.parametrize("at_commit", [False, True])
async def test_fault_of_the_code_is_no_outage(
    api: httpx.AsyncClient, database: asyncpg.Connection, at_commit: bool
) -> None:
    """Negative control: other SQLSTATEs are answered 500, so the injected ones reach the operations."""
    faults = await DatabaseFaults.install(database)
    account = {"email": "ada@example.com", "password": "password123", "name": "Ada Lovelace", "role": "user"}
    async with faults.injected(A_FAULT_OF_THE_CODE, at_commit=at_commit):
        assert (await api.post("/auth/register", json=account)).status_code == 500
    assert (await api.post("/auth/register", json=account)).status_code == 201


async def test_api_is_not_ready_while_writes_fail(api: httpx.AsyncClient, database: asyncpg.Connection) -> None:
    faults = await DatabaseFaults.install(database)

    async def is_ready() -> bool:
        return (await api.get("/health/ready")).status_code == 200

    async def is_read_only() -> bool:
        response = await api.get("/health/ready")
        return response.status_code == 503 and response.json()["database"] == "read_only"

    assert await is_ready()
    async with faults.injected("25006"):
        await until(is_read_only)
        assert (await api.get("/health/ready")).headers["retry-after"] == "2"
    await until(is_ready)
