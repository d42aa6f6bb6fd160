"""The error format of each contract's paths."""

from interfaces.http import coaching_api, events_api, sessions_api
from interfaces.http.errors import ErrorFormats

ERROR_FORMATS = ErrorFormats({**events_api.ERROR_FORMATS, **sessions_api.ERROR_FORMATS, **coaching_api.ERROR_FORMATS})
