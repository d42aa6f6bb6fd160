"""The errors of each operation, derived from its guards, its use cases and its path.

Each of them declares its errors; the document cannot be built while one does not.
"""

from collections.abc import Iterable, Mapping

from application.accounts.sessions import Refresh
from application.idempotency import (
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
)
from domain.api_keys import Scope
from domain.errors import DomainError, Errors, TooManyRequests
from interfaces.http.authentication import (
    API_KEY,
    REFRESH_TOKEN,
    SERVICE_TOKEN,
    USER_TOKEN,
    VIEWED_BY_KEY,
    AccountGuard,
    Viewer,
)
from interfaces.http.injection import injected
from interfaces.http.openapi.operations import Operation
from interfaces.http.write_limits import LIMITED

SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    USER_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a login.",
    },
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "cvk_…",
        "description": "An API key of an account, in place of its `access_token`. The roles are the scopes that the key"
        " must have, all of them.",
    },
    REFRESH_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `refresh_token` of a login; only for `POST /auth/refresh`.",
    },
    SERVICE_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "`BACKEND_SERVICE_TOKEN`, for services that report payments.",
    },
}

TOKENS_OF_USE_CASES: Mapping[type, str] = {Refresh: REFRESH_TOKEN}
"""Public operations whose use case reads a token itself."""

OF_KEYS: Errors = (IdempotencyKeyReused, IdempotencyKeyInUse, IdempotencyAnswerLost)


def errors_of(operation: Operation) -> list[type[DomainError]]:
    """The errors without duplicates, in the order of the checks. Raises `LookupError` for a use case or an id in
    the path that does not declare its errors."""
    found: list[type[DomainError]] = []
    for guard in operation.guards:
        found += guard.raises
    if operation.accepts_idempotency_key:
        found += [IdempotencyKeyInvalid, *(OF_KEYS if operation.answers_once else ())]
        if operation.answers_once and not operation.guards:
            found.append(TooManyRequests)
    if operation.id in LIMITED:
        found.append(TooManyRequests)
    found += operation.errors_of_path
    for use_case in operation.use_cases:
        found += _raised_by(use_case)
    return list(dict.fromkeys(found))


def security(operation: Operation) -> list[dict[str, list[str]]]:
    """OpenAPI's security requirements; empty for public operations. `{}` marks a token as optional."""
    if Viewer in injected(operation.handler.fn).values():
        return [{}, {USER_TOKEN: []}, *_by_key(operation.handler.opt[VIEWED_BY_KEY])]
    schemes = [guard.scheme for guard in operation.guards]
    schemes += [TOKENS_OF_USE_CASES[kind] for kind in operation.use_cases if kind in TOKENS_OF_USE_CASES]
    scopes = [scope for guard in operation.guards if isinstance(guard, AccountGuard) for scope in guard.scopes]
    needed: list[dict[str, list[str]]] = [{scheme: []} for scheme in schemes]
    return needed + _by_key(scopes)


def _by_key(scopes: Iterable[Scope]) -> list[dict[str, list[str]]]:
    needed = [scope.value for scope in scopes]
    return [{API_KEY: needed}] if needed else []


def _raised_by(use_case: type) -> Errors:
    declared: Errors | None = getattr(use_case, "raises", None)
    if declared is None:
        raise LookupError(f"{use_case.__name__} does not declare its errors: add `raises`")
    return declared
