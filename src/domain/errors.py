"""The error classes of the domain. Each error has a stable `code` for programs and a `message` for people.

    DomainError
    ├── NotFound          the resource does not exist, or the caller may not know of it
    ├── Conflict          the request is valid, but the current state does not allow it
    ├── Forbidden         the caller may not do this
    ├── Invalid           the request is wrong; `details` names the fields
    ├── Unauthenticated   no valid login
    ├── TooManyRequests   too many requests; `retry_after` in seconds
    └── Unavailable       a required service is unavailable; `retry_after` in seconds, None if waiting does not help
        └── Overloaded    there are more requests than the service can answer in time

`interfaces/http/errors.py` maps each class to an HTTP status.
"""

from collections.abc import Mapping
from typing import ClassVar


class DomainError(Exception):
    code: ClassVar[str] = "error"
    message: str = "The request was refused"

    def __init__(self, message: str | None = None) -> None:
        if message is not None:
            self.message = message
        super().__init__(self.message)


Errors = tuple[type[DomainError], ...]
"""The errors that a use case declares to raise, in the order of its checks, besides `Invalid` and `Unavailable`. The
description of the API states them."""


class NotFound(DomainError):
    code = "not_found"
    message = "Resource not found"


class Conflict(DomainError):
    code = "conflict"


class Forbidden(DomainError):
    code = "forbidden"
    message = "Insufficient permissions"


class Invalid(DomainError):
    """`details` maps a field's name to why it was refused."""

    code = "validation_error"
    message = "Validation error"

    def __init__(self, details: Mapping[str, str], message: str | None = None) -> None:
        super().__init__(message)
        self.details = dict(details)


class Unauthenticated(DomainError):
    code = "invalid_token"
    message = "Invalid or expired token"


class TooManyRequests(DomainError):
    code = "too_many_requests"
    message = "Too many attempts. Please wait and try again"

    def __init__(self, retry_after: int, limit: str | None = None) -> None:
        """`limit` names the limit that is reached, if it is one that is counted."""
        super().__init__()
        self.retry_after = retry_after
        self.limit = limit


class Unavailable(DomainError):
    code = "unavailable"
    message = "The service cannot reach its database. Please try again shortly"

    def __init__(self, message: str | None = None, retry_after: int | None = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    code = "overloaded"
    message = "The service has too many requests at the moment. Please try again in a few seconds"
