"""Contract A: events and bookings under /api."""

from interfaces.http.classic import accounts, bookings, events
from interfaces.http.classic.errors import shape

ROUTES = [*accounts.ROUTES, *events.ROUTES, *bookings.ROUTES]

SHAPES = {"/api": shape}
