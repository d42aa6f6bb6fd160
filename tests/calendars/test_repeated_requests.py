"""Idempotency keys where calendars of others are asked on the way."""

from uuid import uuid4

from tests.calendars.calendar_harness import ON_GOOGLE, CalendarHarness, at
from tests.support.calendar_grants import BACK
from tests.support.crash_after_commit import died_after_the_commit


async def test_calendar_connected_before_a_crash_stays_connected_on_retry(
    calendar_harness: CalendarHarness,
) -> None:
    asked = await calendar_harness.coach.get(
        f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
    )
    code, state = calendar_harness.calendar.grants.consent(asked.json()["auth_url"])
    key = str(uuid4())

    async def exchanges() -> dict[str, str]:
        answer = await calendar_harness.coach.api.post(
            f"/calendar/{calendar_harness.provider}/exchange-token",
            params={"redirect_uri": BACK},
            headers=calendar_harness.coach.headers | {"Idempotency-Key": key},
            json={"code": code, "state": state},
        )
        assert answer.status_code == 200, answer.text
        return {name: answer.json()[name] for name in ("access_token", "refresh_token", "token_type")}

    first = await exchanges()
    kept = await calendar_harness.records.fetchval("SELECT k::text FROM idempotency_keys k WHERE key = $1", key)
    assert not any(token in kept for token in (first["access_token"], first["refresh_token"]))
    await died_after_the_commit(calendar_harness.records, key)
    assert await exchanges() == first
    assert len((await calendar_harness.coach.get("/calendar/connections")).json()) == 1


async def test_entry_is_created_once_for_a_repeated_request(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    body = {"booking_id": await calendar_harness.book(), "calendar_type": calendar_harness.provider}
    key, answers = str(uuid4()), []
    for _ in range(2):
        answers.append(await calendar_harness.coach.post("/calendar/sync-booking", body, key=key))
        await died_after_the_commit(calendar_harness.records, key)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(calendar_harness.entries()) == 1


@ON_GOOGLE
async def test_token_refresh_does_not_complete_the_idempotent_request(
    calendar_harness: CalendarHarness,
) -> None:
    """The refresh commits; the request is refused as unsound after it, and may be mended under its key."""
    await calendar_harness.connect(calendar_harness.coach)
    calendar_harness.calendar.grants.end_access()
    await calendar_harness.records.execute("UPDATE calendar_connections SET expires_at = now() - interval '1 minute'")
    key = str(uuid4())
    body = {"coach_id": calendar_harness.coach_uuid, "session_datetime": at(3, 10).isoformat(), "duration_minutes": 60}

    refused = await calendar_harness.client.post("/booking/recurring", body | {"rrule": "FREQ=SOMETIMES"}, key=key)
    assert (refused.status_code, refused.json()["code"]) == (400, "validation_error")
    assert calendar_harness.calendar.grants.refreshed == 1
    mended = await calendar_harness.client.post("/booking/recurring", body | {"rrule": "FREQ=DAILY;COUNT=2"}, key=key)
    assert mended.status_code == 201, mended.text
