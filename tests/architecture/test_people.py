"""People that tests write to the database are as if they had registered and logged in."""

import asyncpg
import httpx
import pytest

from tests.support.people import PASSWORD, People

# Mail to written people is not limited, as mail to accounts from before the limit.
ROWS = """SELECT to_jsonb(u) - '{id,uuid,email,password_hash,created_at,mail_limited}'::text[] AS account,
        split_part(u.password_hash, '$', 4) AS hash_cost,
        to_jsonb(p) - '{user_id,created_at}'::text[] AS profile,
        to_jsonb(l) - '{id,user_id,started_at,last_used_at}'::text[] AS login,
        r.retired_at
    FROM users u LEFT JOIN facilitator_profiles p ON p.user_id = u.id
    JOIN logins l ON l.user_id = u.id JOIN refresh_tokens r ON r.login_id = l.id WHERE u.id = $1"""


@pytest.mark.parametrize("role", ["user", "facilitator"])
async def test_written_person_has_the_rows_of_a_registered_one(
    api: httpx.AsyncClient, database: asyncpg.Connection, role: str
) -> None:
    written, registered = [await getattr(people, role)("Ada") for people in (People(api, database), People(api))]
    assert await database.fetchrow(ROWS, written.id) == await database.fetchrow(ROWS, registered.id)


async def test_written_person_is_logged_in_and_can_log_in(api: httpx.AsyncClient, database: asyncpg.Connection) -> None:
    person = await People(api, database).facilitator()
    assert (await person.get("/bookings")).status_code == 200
    refreshed = await api.post("/auth/refresh", headers={"Authorization": f"Bearer {person.refresh_token}"})
    assert refreshed.status_code == 200
    answer = await api.post("/auth/login", json={"email": person.email, "password": PASSWORD})
    assert answer.status_code == 200
