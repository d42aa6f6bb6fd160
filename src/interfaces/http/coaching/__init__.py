"""Contract E: coaching and calendars."""

from typing import Any

from interfaces.http.coaching import bookings
from interfaces.http.coaching.errors import shape

SHAPES = {"/booking": shape, "/coach": shape, "/calendar": shape}

ROUTES: list[Any] = [
    *bookings.ROUTES,
]
