"""The families of refusal. Each error has a stable `code` for machines and a sentence for people.

    DomainError
    ├── NotFound          there is no such thing, or none that the asker may know of
    ├── Conflict          the request is sound, the state of the world refuses it
    ├── Forbidden         the asker may not do this
    ├── Invalid           the request itself is wrong; `details` names the fields
    ├── Unauthenticated   no valid login
    ├── TooManyRequests   asked too often; `retry_after` seconds
    └── Unavailable       something we need is away; `retry_after` seconds, or None when waiting will not help

Which HTTP status a family gets is decided at the edge, never here.
"""

from collections.abc import Mapping
from typing import ClassVar


class DomainError(Exception):
    code: ClassVar[str] = "error"
    message: ClassVar[str] = "The request was refused"

    def __init__(self, message: str | None = None) -> None:
        self.sentence = message or self.message
        super().__init__(self.sentence)


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

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Unavailable(DomainError):
    code = "unavailable"
    message = "The service cannot reach its database. Please try again shortly"

    def __init__(self, message: str | None = None, retry_after: int | None = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after
