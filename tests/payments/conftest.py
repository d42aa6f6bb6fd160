"""A house with a till."""

from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from infrastructure.settings import Settings
from tests.support.app_harness import House, open_house
from tests.support.local_gateway import running_till


@pytest.fixture
async def house(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[House]:
    """With two workers and a database of its own."""
    async with (
        running_till() as (till, gateway),
        open_house(make_settings(), database, till, gateway, workers=2) as house,
    ):
        yield house
