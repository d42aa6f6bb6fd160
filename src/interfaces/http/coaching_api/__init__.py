"""Contract E: coaching and calendars."""

from typing import Any

from interfaces.http.coaching_api import (
    appointments,
    attachments,
    availability,
    calendar_feed,
    calendars,
    coaches,
    payments,
    series,
    statistics,
)
from interfaces.http.coaching_api.errors import contract_e_format

ERROR_FORMATS = {
    "/booking": contract_e_format,
    "/coach": contract_e_format,
    "/coaches": contract_e_format,
    "/calendar": contract_e_format,
}

UPLOADS = [attachments.UPLOAD]

ROUTES: list[Any] = [
    *appointments.ROUTES,
    *payments.ROUTES,
    *coaches.ROUTES,
    *availability.ROUTES,
    *series.ROUTES,
    *statistics.ROUTES,
    *calendar_feed.ROUTES,
    *attachments.ROUTES,
    *calendars.ROUTES,
]
