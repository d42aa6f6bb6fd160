"""Contract A: events and bookings under /api."""

from interfaces.http.events_api import accounts, bookings, events
from interfaces.http.events_api.errors import contract_a_format

ROUTES = [*accounts.ROUTES, *events.ROUTES, *bookings.ROUTES]

ERROR_FORMATS = {"/api": contract_a_format}
