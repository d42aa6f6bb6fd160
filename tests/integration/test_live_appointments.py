"""Sessions with a coach in the coach's live feed, as a worker brings them there."""

from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from domain.outbox import Destination
from infrastructure import container
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.appointments import free_hour, uuid_of, wanted
from tests.support.followers import a_stream
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.people import People


async def test_coach_receives_bookings_and_cancellations(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        people = People(api)
        mira, ada = await people.facilitator(), await people.user()
        booked = await ada.post("/booking", wanted(await uuid_of(mira), free_hour()))
        assert booked.status_code == 201, booked.text
        booking = booked.json()["id"]
        assert (await ada.delete(f"/booking/{booking}")).is_success

        parts = container.build_deliveries(settings)
        await deliver_due(parts.deliver_due, Destination.REALTIME)
        await parts.close()

        place = urlsplit(address)
        async with a_stream((str(place.hostname), place.port or 0), mira.access_token, 0) as stream:
            events = [await stream.event() for _ in range(2)]
    assert [name for name, _ in events] == ["booking_created", "booking_cancelled"]
    entries = [entry["data"] for _, entry in events]
    assert {(each["kind"], each["booking_id"], each["user"]["id"]) for each in entries} == {
        ("coaching", booking, ada.id)
    }
    assert [each["status"] for each in entries] == ["pending", "cancelled"]
