"""An API key costs no more queries than an access token: the account is found by it in one statement."""

import asyncpg
import httpx

from tests.support.people import People
from tests.support.statement_log import StatementLog


async def test_key_costs_the_queries_of_a_token(
    statements: StatementLog, api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    ada = await people.user()
    made = (await ada.post("/api-keys", json={"name": "CRM", "scopes": ["profile:read"]})).json()
    by_key = {"Authorization": f"Bearer {made['key']}"}
    await database.execute("UPDATE api_keys SET last_used_at = now() + interval '1 day'")  # no use is stored meanwhile
    counted = []
    for headers in (ada.headers, by_key):
        await api.get("/profile", headers=headers)  # prepares the statement
        counted.append(
            min([await count(statements, api, headers) for _ in range(3)])
        )  # the clock may be read meanwhile
    assert counted == [1, 1]


async def count(statements: StatementLog, api: httpx.AsyncClient, headers: dict[str, str]) -> int:
    statements.since_last_time()
    assert (await api.get("/profile", headers=headers)).status_code == 200
    return len(statements.since_last_time())
