"""60 KiB of combining marks in any text of a request cost next to nothing: the length is looked at first."""

from collections.abc import Callable

import httpx

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.description_checks import document
from tests.support.http import serving
from tests.support.people import People
from tests.support.request_cost import text_fields, too_dear


async def test_long_text_of_combining_marks_is_cheap_in_every_field(make_settings: Callable[..., Settings]) -> None:
    app = create_app(make_settings())
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        john = await People(client).facilitator()
        assert len(list(text_fields(document()))) > 150
        assert await too_dear(app, document(), john.headers) == []
