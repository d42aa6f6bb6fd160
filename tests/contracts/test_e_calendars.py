"""Contract E, calendars: its own examples against Google and Microsoft of the tests."""

from collections.abc import AsyncIterator

import httpx
import pytest

from infrastructure.embedded import EmbeddedPostgres
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.contracts.documents import uncalled
from tests.support.appointments import at, uuid_of, wanted
from tests.support.calendar_grants import BACK
from tests.support.databases import a_database
from tests.support.google_calendar import FakeGoogleCalendar, fake_google_calendar
from tests.support.http import serving
from tests.support.outlook import FakeOutlook, fake_outlook
from tests.support.people import People
from tests.support.settings import settings_for
from tests.support.shapes import misfits

CONSENT = {"auth_url": str, "state": str}
TOKENS = {"access_token": str, "refresh_token": str, "expires_in": int, "token_type": str}
ENTRY = {"event_id": str, "meeting_link": str, "status": str}


@pytest.fixture(scope="module")
async def google() -> AsyncIterator[FakeGoogleCalendar]:
    async with fake_google_calendar() as google:
        yield google


@pytest.fixture(scope="module")
async def outlook() -> AsyncIterator[FakeOutlook]:
    async with fake_outlook() as outlook:
        yield outlook


@pytest.fixture(scope="module")
async def api(
    google: FakeGoogleCalendar,
    outlook: FakeOutlook,
    postgres: EmbeddedPostgres,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    changes = {**outlook.settings, **google.settings}
    settings = settings_for(await a_database(postgres), redis_url, tmp_path_factory.mktemp("data"), **changes)
    async with serving(create_app(settings)) as address, a_client(address) as client:
        yield client


async def test_both_calendars_are_connected_and_a_booking_is_synced_to_each(
    api: httpx.AsyncClient, google: FakeGoogleCalendar, outlook: FakeOutlook
) -> None:
    people = People(api)
    client, coach = await people.user(), await people.facilitator()
    booked = await client.post("/booking", wanted(await uuid_of(coach), at(10)))
    assert booked.status_code == 201, booked.text
    links = []
    for provider, calendar in (("google", google), ("outlook", outlook)):
        asked = await client.get(f"/calendar/{provider}/auth-url", params={"redirect_uri": BACK})
        assert asked.status_code == 200
        assert misfits(CONSENT, asked.json()) == []
        code, state = calendar.grants.consent(asked.json()["auth_url"])
        tokens = await api.post(
            f"/calendar/{provider}/exchange-token",
            params={"redirect_uri": BACK},
            headers=client.headers,
            json={"code": code, "state": state},
        )
        assert tokens.status_code == 200
        assert misfits(TOKENS, tokens.json()) == []
        synced = await client.post(
            "/calendar/sync-booking",
            {
                "booking_id": booked.json()["id"],
                "calendar_type": provider,
                "access_token": tokens.json()["access_token"],
                "timezone": "America/New_York",
            },
        )
        assert synced.status_code == 200, synced.text
        assert misfits(ENTRY, synced.json()) == []
        assert synced.json()["status"] == "confirmed"
        links.append(synced.json()["meeting_link"])
    # "The meeting link is automatically added to the booking record", and one is enough.
    shown = await client.get(f"/booking/{booked.json()['id']}")
    assert {shown.json()["meeting_link"]} == set(links)
    last = (await client.get(f"/booking/{booked.json()['id']}/history")).json()["history"][-1]
    assert (last["change"], last["changed_by"], last["after"]) == ("linked", None, {"meeting_link": links[0]})
    stranger = await (await people.user()).post(
        "/calendar/sync-booking", {"booking_id": booked.json()["id"], "calendar_type": "google"}
    )
    assert stranger.status_code == 403
    assert isinstance(stranger.json()["detail"], str)


async def test_state_of_one_provider_is_rejected_by_the_other(
    api: httpx.AsyncClient, google: FakeGoogleCalendar, outlook: FakeOutlook
) -> None:
    """Also where both would redeem the code: a mix-up is detected before any request (RFC 9700, 4.4)."""
    client = await People(api).user()
    asked = await client.get("/calendar/google/auth-url", params={"redirect_uri": BACK})
    code, state = google.grants.consent(asked.json()["auth_url"])
    outlook.grants.codes[code] = google.grants.codes[code]
    before = len(outlook.receiver.requests)
    paths = {name: f"/calendar/{name}/exchange-token?redirect_uri={BACK}" for name in ("outlook", "google")}
    mixed = await client.post(paths["outlook"], {"code": code, "state": state})
    assert mixed.status_code == 400
    assert mixed.json()["detail"].startswith("This state was not given to you for this calendar")
    assert len(outlook.receiver.requests) == before
    assert (await client.post(paths["google"], {"code": code, "state": state})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/calendar/google/auth-url?redirect_uri={BACK}"),
        ("GET", f"/calendar/outlook/auth-url?redirect_uri={BACK}"),
        ("POST", f"/calendar/google/exchange-token?redirect_uri={BACK}"),
        ("POST", f"/calendar/outlook/exchange-token?redirect_uri={BACK}"),
        ("POST", "/calendar/sync-booking"),
    ],
)
async def test_calendar_endpoints_require_a_login(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "Not authenticated"


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
