"""The connections of a process to PostgreSQL."""

from contextlib import suppress

from domain.errors import Unavailable
from infrastructure.postgres.engine import Database


async def test_close_ends_connections_that_are_still_in_use(database_url: str) -> None:
    database = Database(database_url)
    with suppress(Unavailable):
        async with database.session() as session:
            connection = (await (await session.connection()).get_raw_connection()).driver_connection
            assert connection is not None
            assert not connection.is_closed()
            await database.close()
            assert connection.is_closed()
