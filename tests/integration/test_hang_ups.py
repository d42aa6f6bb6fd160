"""Clients that close the connection in the middle of a request: no fault of the service, and logged as none."""

import json

import asyncpg
import pytest

from tests.support.disconnects import HowLong, disconnects, every_line, logged
from tests.support.people import Person, event


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("when", ["half of the body", "before the answer"])
async def test_client_disconnect_is_not_logged_as_an_error(
    john: Person,
    shared_database: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    when: HowLong,
    reset: bool,
) -> None:
    body = json.dumps(event(title=f"{when} {reset}")).encode()
    with every_line() as lines:
        await disconnects(str(john.api.base_url), "/events", body, john.headers, when, reset=reset)
        [line] = await logged(lines, "request")
    # A client that leaves before its whole request was read is not served.
    assert line["status"] in ({0} if when == "half of the body" else {0, 201})
    assert [line for line in lines if line["log_level"] not in {"info", "debug"}] == []
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR", "CRITICAL"}] == []
    made = await shared_database.fetchval("SELECT count(*) FROM events WHERE title = $1", f"{when} {reset}")
    assert made == (1 if line["status"] else 0)
