"""Clients that close the connection in the middle of a request: no fault of the CRM, and logged as none."""

import json

import httpx
import pytest

from tests.crm.parts import a_message
from tests.support.disconnects import HowLong, disconnects, every_line, logged


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("when", ["half of the body", "before the answer"])
async def test_client_disconnect_is_not_logged_as_an_error(
    crm: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, when: HowLong, reset: bool
) -> None:
    headers = {"Authorization": crm.headers["Authorization"]}
    with every_line() as lines:
        await disconnects(str(crm.base_url), "/notify", json.dumps(a_message()).encode(), headers, when, reset=reset)
        [line] = await logged(lines, "request")
    # A client that leaves before its whole request was read is not served.
    assert line["status"] in ({0} if when == "half of the body" else {0, 200})
    assert [line for line in lines if line["log_level"] not in {"info", "debug"}] == []
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR", "CRITICAL"}] == []
    assert len((await crm.get("/notifications")).json()) == (1 if line["status"] else 0)
