"""The errors of each operation, derived from its guards, its use cases and its path.

The document cannot be built while a guard or a use case is missing in these tables.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from application.accounts.sessions import Refresh
from application.events.management import OnlyFacilitatorsCreate
from application.idempotency import (
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
)
from domain.accounts import ProfileNotFound
from domain.errors import DomainError, Errors, Forbidden, TooManyRequests, Unauthenticated
from interfaces.http.authentication import (
    Viewer,
    admins,
    event_creators,
    facilitators,
    profiled_facilitators,
    signed_in,
)
from interfaces.http.injection import injected
from interfaces.http.openapi.operations import Operation
from interfaces.http.service import services

Value = TypeVar("Value")


class GuardErrors(NamedTuple):
    """The security scheme of a guard (a key of `SECURITY_SCHEMES`) and its errors."""

    scheme: str
    errors: Errors


SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "userToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a login.",
    },
    "refreshToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `refresh_token` of a login; only for `POST /auth/refresh`.",
    },
    "serviceToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "`BACKEND_SERVICE_TOKEN`, for services that report payments.",
    },
}

OF_GUARDS: Mapping[Any, GuardErrors] = {
    signed_in: GuardErrors("userToken", (Unauthenticated,)),
    facilitators: GuardErrors("userToken", (Unauthenticated, Forbidden)),
    admins: GuardErrors("userToken", (Unauthenticated, Forbidden)),
    event_creators: GuardErrors("userToken", (Unauthenticated, OnlyFacilitatorsCreate)),
    profiled_facilitators: GuardErrors("userToken", (Unauthenticated, Forbidden, ProfileNotFound)),
    services: GuardErrors("serviceToken", (Unauthenticated,)),
}

TOKENS_OF_USE_CASES: Mapping[type, str] = {Refresh: "refreshToken"}
"""Public operations whose use case reads a token itself."""

OF_KEYS: Errors = (IdempotencyKeyReused, IdempotencyKeyInUse, IdempotencyAnswerLost)


def errors_of(operation: Operation) -> list[type[DomainError]]:
    """The errors without duplicates, in the order of the checks. Raises `LookupError` for a guard or a use case that
    is missing in the tables."""
    found: list[type[DomainError]] = []
    for guard in operation.guards:
        found += _line(OF_GUARDS, guard).errors
    if operation.accepts_idempotency_key:
        found += [IdempotencyKeyInvalid, *(OF_KEYS if operation.answers_once else ())]
        if operation.answers_once and not operation.guards:
            found.append(TooManyRequests)
    found += operation.errors_of_path
    for use_case in operation.use_cases:
        found += _raised_by(use_case)
    return list(dict.fromkeys(found))


def security(operation: Operation) -> list[dict[str, list[str]]]:
    """OpenAPI's security requirements; empty for public operations. `{}` marks a token as optional."""
    schemes = [_line(OF_GUARDS, guard).scheme for guard in operation.guards]
    schemes += [TOKENS_OF_USE_CASES[kind] for kind in operation.use_cases if kind in TOKENS_OF_USE_CASES]
    if Viewer in injected(operation.handler.fn).values():
        return [{}, {OF_GUARDS[signed_in].scheme: []}]
    return [{scheme: []} for scheme in schemes]


def _raised_by(use_case: type) -> Errors:
    declared: Errors | None = getattr(use_case, "raises", None)
    if declared is None:
        raise LookupError(f"{use_case.__name__} does not declare its errors: add `raises`")
    return declared


def _line(table: Mapping[Any, Value], key: Any) -> Value:
    if key not in table:
        raise LookupError(f"{getattr(key, '__name__', key)} has no line in {__name__}: add its errors there")
    return table[key]
