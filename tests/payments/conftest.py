"""A deployment with a local gateway."""

from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from infrastructure.settings import Settings
from tests.support.app_harness import AppHarness, open_app_harness
from tests.support.local_gateway import running_local_gateway


@pytest.fixture
async def harness(make_settings: Callable[..., Settings], database: asyncpg.Connection) -> AsyncIterator[AppHarness]:
    """With two workers and a database of its own."""
    async with (
        running_local_gateway() as (local_gateway, gateway),
        open_app_harness(make_settings(), database, local_gateway, gateway, workers=2) as harness,
    ):
        yield harness
