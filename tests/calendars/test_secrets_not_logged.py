"""Calendar credentials are sent to their owner and their provider only, and never logged."""

from urllib.parse import parse_qs, urlsplit

import pytest

from infrastructure.observability.logging import configure_logging
from tests.calendars.calendar_harness import CalendarHarness
from tests.support import calendar_faults as faults
from tests.support.calendar_grants import BACK

FAULTS = ["server_error", "ten_megabytes", "not_json", "wrong_types", "elsewhere", "lost_answer"]


async def test_no_token_code_state_or_verifier_is_logged(
    calendar_harness: CalendarHarness, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("debug")
    try:
        asked = await calendar_harness.coach.get(
            f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
        )
        verifier = await calendar_harness.records.fetchval("SELECT verifier FROM oauth_attempts")
        code, state = calendar_harness.calendar.grants.consent(asked.json()["auth_url"])
        assert (await calendar_harness.exchange(calendar_harness.coach, code, state)).status_code == 200
        assert (await calendar_harness.exchange(calendar_harness.coach, code, state)).status_code == 400
        given = calendar_harness.calendar.grants.hand_out()["access_token"]
        booking_id = await calendar_harness.book()
        for name in FAULTS:
            calendar_harness.calendar.faults.next.append(getattr(faults, name))
            await calendar_harness.sync(calendar_harness.coach, booking_id, access_token=given)
            calendar_harness.calendar.faults.next.append(getattr(faults, name))
            await calendar_harness.later()
        for name in FAULTS:
            await calendar_harness.records.execute("UPDATE calendar_connections SET expires_at = now()")
            calendar_harness.calendar.grants.faults.next.append(getattr(faults, name))
            await calendar_harness.sync(calendar_harness.coach, booking_id)
        calendar_harness.calendar.grants.revoke()
        await calendar_harness.sync(calendar_harness.coach, booking_id)
        await calendar_harness.sync(calendar_harness.coach, booking_id, access_token=given)
    finally:
        configure_logging("warning")
    said = capfd.readouterr().err
    assert "calendar.refused" in said
    assert "calendar.tokens_away" in said
    challenge = parse_qs(urlsplit(asked.json()["auth_url"]).query)["code_challenge"][0]
    for secret in ("canary", code, state, verifier, challenge, calendar_harness.calendar.grants.client[1]):
        assert secret not in said


async def test_verifier_is_sent_only_with_its_code(calendar_harness: CalendarHarness) -> None:
    asked = await calendar_harness.coach.get(
        f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
    )
    verifier = await calendar_harness.records.fetchval("SELECT verifier FROM oauth_attempts")
    assert verifier not in asked.text
    assert asked.headers["cache-control"] == "no-store"
    code, state = calendar_harness.calendar.grants.consent(asked.json()["auth_url"])
    answer = await calendar_harness.exchange(calendar_harness.coach, code, state)
    assert verifier not in answer.text
    assert [verifier.encode() in each.body for each in calendar_harness.calendar.receiver.requests] == [True]
    assert all(verifier not in each.path for each in calendar_harness.calendar.receiver.requests)
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM oauth_attempts") == 0
