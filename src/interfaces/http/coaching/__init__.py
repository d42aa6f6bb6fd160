"""Contract E: coaching and calendars."""

from typing import Any

from interfaces.http.coaching import (
    analytics,
    attachments,
    availability,
    bookings,
    calendars,
    coaches,
    feed,
    payments,
    series,
)
from interfaces.http.coaching.errors import shape

SHAPES = {"/booking": shape, "/coach": shape, "/coaches": shape, "/calendar": shape}

UPLOADS = [attachments.UPLOAD]

ROUTES: list[Any] = [
    *bookings.ROUTES,
    *payments.ROUTES,
    *coaches.ROUTES,
    *availability.ROUTES,
    *series.ROUTES,
    *analytics.ROUTES,
    *feed.ROUTES,
    *attachments.ROUTES,
    *calendars.ROUTES,
]
