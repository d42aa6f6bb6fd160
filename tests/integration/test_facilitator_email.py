"""`FACILITATOR_EMAIL_PUBLIC`: whether events show the e-mail address of their facilitator."""

from collections.abc import Callable

import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import People


@pytest.mark.parametrize("public", [True, False])
async def test_email_of_the_facilitator_is_null_if_it_is_private(
    make_settings: Callable[..., Settings], public: bool
) -> None:
    app = create_app(make_settings(**({} if public else {"facilitator_email_public": "false"})))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
        john = await People(api).facilitator()
        event = await john.creates_event()
        listed = (await api.get("/events")).json()["events"]
        own = (await john.get("/facilitator/events")).json()["events"]
        alone = (await api.get(f"/events/{event['id']}")).json()
    for shown in (event, *listed, *own, alone):
        assert shown["facilitator"]["email"] == (john.email if public else None)
        assert shown["facilitator"]["name"] == john.name
