"""A coach's slots of a month take as many queries for a thousand sessions as for none; PostgreSQL itself counts."""

from datetime import timedelta

import asyncpg
import httpx

from tests.support.appointments import at, uuid_of
from tests.support.people import People
from tests.support.statement_log import StatementLog


async def test_slots_of_a_month_with_a_thousand_sessions_take_at_most_three_queries(
    statements: StatementLog, people: People, api: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    jane, ada = await people.facilitator(), await people.user()
    coach = await uuid_of(jane)
    await database.execute(
        """INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
               payment_status, price, currency, refund_policy, created_at, updated_at)
           SELECT $1, $2, s, s + interval '30 minutes', s, s + interval '30 minutes', 'confirmed', 'not_required', 0,
               'INR', '[]', now(), now()
           FROM generate_series(0, 999) AS n, LATERAL (SELECT $3::timestamptz + n * interval '43 minutes' AS s) AS t""",
        ada.id,
        jane.id,
        at(0),
    )
    path = f"/booking/coach/{coach}/availability"
    month = {"start_date": at(0).date().isoformat(), "end_date": (at(0) + timedelta(days=30)).date().isoformat()}
    await api.get(path, params=month)  # prepares the statements
    statements.since_last_time()
    answer = await api.get(path, params=month)
    asked = [line for line in statements.since_last_time() if "execute" in line]
    assert answer.status_code == 200
    assert 0 < len(asked) <= 3, asked
