"""For a house to which no calendar can be connected."""

from uuid import UUID


class NoCalendars:
    async def refresh(self, coach: UUID) -> None:
        """There is nothing to read."""
