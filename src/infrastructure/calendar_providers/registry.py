"""The configured calendar providers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from application.calendars.ports import CalendarService
from domain.calendars import CalendarNotConfigured, Provider

if TYPE_CHECKING:
    from infrastructure.calendar_providers.google import GoogleCalendar
    from infrastructure.calendar_providers.microsoft import OutlookCalendar


class CalendarRegistry:
    def __init__(self, services: "Sequence[GoogleCalendar | OutlookCalendar]") -> None:
        self._services = {service.provider: service for service in services}

    def get(self, provider: Provider) -> CalendarService:
        if provider not in self._services:
            raise CalendarNotConfigured(f"{provider.label} is not set up here")
        return self._services[provider]

    async def close(self) -> None:
        for service in self._services.values():
            await service.close()
