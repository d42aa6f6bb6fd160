"""Contract A's errors: `{"error": "<status phrase>", "message": "<message>"}`."""

from http import HTTPStatus

from domain.errors import Unauthenticated
from interfaces.http.errors import MISSING_FIELD, Body, ErrorResponse

NOT_FOUND = "The requested resource was not found"
FAILED = "An unexpected error occurred"
NO_TOKEN = "Invalid or missing token"  # noqa: S105 (a sentence)


def contract_a_format(response: ErrorResponse) -> Body:
    return {"error": HTTPStatus(response.status).phrase, "message": _message(response)}


def _message(response: ErrorResponse) -> str:
    match response:
        case ErrorResponse(status=404):
            return NOT_FOUND
        case ErrorResponse(status=500):
            return FAILED
        case ErrorResponse(code=Unauthenticated.code):
            return NO_TOKEN
        case ErrorResponse(details=details) if details:
            field, why = next(iter(details.items()))
            return f"{MISSING_FIELD}: {field}" if why == MISSING_FIELD else f"{field}: {why}"
        case _:
            return response.message
