"""Contract C: sessions, their bookings and the facilitator's dashboard under /api."""

from interfaces.http.sessions_api import accounts, bookings, facilitator, google, sessions
from interfaces.http.sessions_api.errors import contract_c_format

ROUTES = [*accounts.ROUTES, *google.ROUTES, *sessions.ROUTES, *bookings.ROUTES, *facilitator.ROUTES]

ERROR_FORMATS = dict.fromkeys(("/api/auth", "/api/sessions", "/api/bookings/my", "/api/facilitator"), contract_c_format)
