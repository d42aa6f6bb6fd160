"""Connecting a calendar: single-use consent, encrypted tokens, disconnecting."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.calendars.calendar_harness import ON_GOOGLE, CalendarHarness
from tests.support.calendar_grants import BACK
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.http import serving
from tests.support.load import many_users

pytestmark = pytest.mark.usefixtures("calendar_harness")


async def test_consent_request_has_pkce_state_and_offline_access(calendar_harness: CalendarHarness) -> None:
    asked = [
        (
            await calendar_harness.coach.get(
                f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
            )
        ).json()
        for _ in range(2)
    ]
    first, second = ({k: v[0] for k, v in parse_qs(urlsplit(each["auth_url"]).query).items()} for each in asked)
    assert first["state"] == asked[0]["state"] != second["state"]
    assert first["redirect_uri"] == BACK
    assert first["code_challenge_method"] == "S256"
    assert len(first["code_challenge"]) == len(first["state"]) == 43
    if calendar_harness.provider == "google":
        assert (first["access_type"], first["prompt"]) == ("offline", "consent")
        assert "https://www.googleapis.com/auth/calendar.events" in first["scope"].split()
    else:
        assert set(first["scope"].split()) == {"offline_access", "Calendars.ReadWrite"}


async def test_tokens_are_returned_once_with_no_store(
    calendar_harness: CalendarHarness,
) -> None:
    asked = await calendar_harness.coach.get(
        f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
    )
    code, state = calendar_harness.calendar.grants.consent(asked.json()["auth_url"])
    answer = await calendar_harness.exchange(calendar_harness.coach, code, state)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["access_token"] in calendar_harness.calendar.grants.access
    assert body["refresh_token"] in calendar_harness.calendar.grants.refresh
    assert (body["expires_in"], body["token_type"]) == (3599, "Bearer")
    again = await calendar_harness.exchange(calendar_harness.coach, code, state)
    assert (again.status_code, again.json()["code"]) == (400, "calendar_consent_unknown")
    assert again.json()["detail"].startswith("This state was not given to you")
    connections = (await calendar_harness.coach.get("/calendar/connections")).json()
    assert [(each["provider"], each["status"]) for each in connections] == [(calendar_harness.provider, "active")]
    assert "canary" not in str(connections)
    assert (await calendar_harness.client.get("/calendar/connections")).json() == []


async def test_state_is_bound_to_user_provider_address_and_ten_minutes(calendar_harness: CalendarHarness) -> None:
    async def begun() -> tuple[str, str]:
        asked = await calendar_harness.coach.get(
            f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
        )
        return calendar_harness.calendar.grants.consent(asked.json()["auth_url"])

    code, state = await begun()
    assert (await calendar_harness.exchange(calendar_harness.client, code, state)).status_code == 400
    assert (await calendar_harness.exchange(calendar_harness.coach, code, state, f"{BACK}/")).status_code == 400
    assert (await calendar_harness.exchange(calendar_harness.coach, code, state[:-1])).status_code == 400
    assert (await calendar_harness.exchange(calendar_harness.coach, code, "")).status_code == 400
    # Only its owner can use it up.
    assert (await calendar_harness.exchange(calendar_harness.coach, code, state)).status_code == 200
    code, state = await begun()
    await calendar_harness.records.execute(
        "UPDATE oauth_attempts SET started_at = started_at - interval '10 minutes 1 second'"
    )
    assert (await calendar_harness.exchange(calendar_harness.coach, code, state)).status_code == 400


async def test_verifier_of_another_attempt_does_not_redeem_the_code(calendar_harness: CalendarHarness) -> None:
    asked = await calendar_harness.coach.get(
        f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
    )
    code, state = calendar_harness.calendar.grants.consent(asked.json()["auth_url"])
    await calendar_harness.records.execute("UPDATE oauth_attempts SET verifier = verifier || 'x'")
    answer = await calendar_harness.exchange(calendar_harness.coach, code, state)
    assert (answer.status_code, answer.json()["code"]) == (400, "calendar_consent_refused")


@ON_GOOGLE  # Microsoft asks for all or nothing
async def test_google_without_event_permission_connects_nothing(calendar_harness: CalendarHarness) -> None:
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    calendar_harness.calendar.grants.scope = "https://www.googleapis.com/auth/calendar.freebusy"
    asked = await calendar_harness.coach.get("/calendar/google/auth-url", params={"redirect_uri": BACK})
    code, state = calendar_harness.calendar.grants.consent(asked.json()["auth_url"])
    answer = await calendar_harness.exchange(calendar_harness.coach, code, state)
    assert (answer.status_code, answer.json()["code"]) == (400, "calendar_consent_refused")
    assert (await calendar_harness.coach.get("/calendar/connections")).json() == []


OTHER_ADDRESSES = [
    BACK.removesuffix("e"),
    f"{BACK}/more",
    f"{BACK}/",
    f"{BACK}?a=b",
    f"{BACK}#top",
    BACK.replace("https", "http"),
    BACK.replace("https", "HTTPS"),
    BACK.replace("app.example.com", "app.example.com:444"),
    BACK.replace("app.example.com", "app.example.com:443"),
    BACK.replace("app.example.com", "APP.example.com"),
    BACK.replace("app.example.com", "app.example.com.evil.example"),
    BACK.replace("app.example.com", "app.example.com@evil.example"),
    BACK.replace("app.example.com", "user@app.example.com"),
    BACK.replace("app.example.com", "evil.example\\@app.example.com"),
    BACK.replace("app.example.com/", "app.example.com\\"),
    BACK.replace("app.example.com", "app%2eexample.com"),
    BACK.replace("calendar", "x/../calendar"),
    BACK.replace("calendar", "%63alendar"),
    f" {BACK}",
    f"{BACK}\t",
    f"{BACK},{BACK}",
    "//app.example.com/calendar/done",
    "javascript:alert(1)",
    "",
]


@ON_GOOGLE
async def test_other_redirect_addresses_are_rejected(calendar_harness: CalendarHarness) -> None:
    for address in OTHER_ADDRESSES:
        asked = await calendar_harness.coach.get(
            f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": address}
        )
        assert asked.status_code == 400, address
        assert asked.json()["detail"] == "This redirect_uri is not allowed"
    missing = await calendar_harness.coach.get(f"/calendar/{calendar_harness.provider}/auth-url")
    assert missing.status_code == 400
    assert "redirect_uri" in missing.json()["detail"]
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM oauth_attempts") == 0


@ON_GOOGLE
async def test_database_dump_contains_no_token(calendar_harness: CalendarHarness) -> None:
    tokens = await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    await calendar_harness.run()
    names = await calendar_harness.records.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    dump = b""
    for (name,) in names:
        for row in await calendar_harness.records.fetch(f"SELECT t.*, t::text AS whole FROM {name} t"):
            dump += row["whole"].encode() + b"".join(value for value in row.values() if isinstance(value, bytes))
    assert b"calendar_outdated" in dump
    for secret in (tokens["access_token"], tokens["refresh_token"], "canary"):
        assert secret.encode() not in dump
        assert secret.encode().hex().encode() not in dump


async def test_disconnecting_revokes_the_consent_and_deletes_the_tokens(calendar_harness: CalendarHarness) -> None:
    tokens = await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    await calendar_harness.run()
    answer = await calendar_harness.coach.delete(f"/calendar/{calendar_harness.provider}")
    assert (answer.status_code, answer.content) == (204, b"")
    if isinstance(calendar_harness.calendar, FakeGoogleCalendar):
        assert calendar_harness.calendar.revoked == [tokens["refresh_token"]]
    assert (await calendar_harness.coach.get("/calendar/connections")).json() == []
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM calendar_entries") == 0
    gone = await calendar_harness.coach.delete(f"/calendar/{calendar_harness.provider}")
    assert (gone.status_code, gone.json()["code"]) == (404, "calendar_not_connected")
    assert (await calendar_harness.coach.delete("/calendar/caldav")).status_code == 404


async def test_provider_that_is_not_configured_returns_503(
    provider: str, make_shared_settings: Callable[..., Settings], calendar_harness: CalendarHarness
) -> None:
    booking_id = await calendar_harness.book()
    async with (
        serving(create_app(make_shared_settings(oauth_redirect_allowlist=BACK))) as address,
        httpx.AsyncClient(base_url=address, headers=calendar_harness.coach.headers) as api,
    ):
        for answer in (
            await api.get(f"/calendar/{provider}/auth-url", params={"redirect_uri": BACK}),
            await api.post(
                f"/calendar/{provider}/exchange-token",
                params={"redirect_uri": BACK},
                json={"code": "c", "state": "s"},
            ),
            await api.post(
                "/calendar/sync-booking",
                json={"booking_id": booking_id, "calendar_type": provider},
            ),
        ):
            assert answer.status_code == 503
            assert answer.json()["detail"].endswith("is not set up here")
            assert answer.json()["code"] == "calendar_not_configured"
            assert "retry-after" not in answer.headers


@ON_GOOGLE
async def test_without_client_settings_access_checks_still_apply(
    provider: str,
    make_shared_settings: Callable[..., Settings],
    calendar_harness: CalendarHarness,
) -> None:
    booking_id = await calendar_harness.book()
    (stranger,) = await many_users(calendar_harness.records, 1)
    async with (
        serving(create_app(make_shared_settings(oauth_redirect_allowlist=BACK))) as address,
        httpx.AsyncClient(base_url=address, headers=stranger.headers) as api,
    ):
        for wanted, status in ((booking_id, 403), ("019bb1c6-5a00-7000-8000-000000000001", 404)):
            answer = await api.post("/calendar/sync-booking", json={"booking_id": wanted, "calendar_type": provider})
            assert answer.status_code == status, answer.text
            assert answer.json()["detail"]


@ON_GOOGLE
async def test_connecting_requires_a_login(calendar_harness: CalendarHarness) -> None:
    answer = await calendar_harness.coach.api.get(
        f"/calendar/{calendar_harness.provider}/auth-url", params={"redirect_uri": BACK}
    )
    assert (answer.status_code, answer.json()["detail"]) == (401, "Not authenticated")
