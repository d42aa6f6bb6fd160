"""Contract E's errors: `{"detail": "<message>"}`. The message of a validation error names the field and the reason."""

from domain.errors import Unauthenticated
from interfaces.http.errors import MISSING_FIELD, Body, ErrorResponse

MESSAGES = {Unauthenticated.code: "Not authenticated"}
FIELDS = {"price": "price_per_hour"}
"""Contract E's names of fields, by the domain's names, where they differ."""


def contract_e_format(response: ErrorResponse) -> Body:
    if response.details:
        details = {FIELDS.get(field, field): why for field, why in response.details.items()}
        return {"detail": "; ".join(_why(field, why) for field, why in details.items()), "details": details}
    return {"detail": MESSAGES.get(response.code, response.message)}


def _why(field: str, why: str) -> str:
    """The message about a field. It begins with the field's name, unless the contract defines the message ("End date
    must be after start date"). A message about a session of a series begins with the session's start."""
    if why == MISSING_FIELD:
        return f"{why}: {field}"
    names_it = why.startswith(("Must", "Is ", "Expected", "Invalid")) or not field.isidentifier()
    return f"{field}: {why}" if names_it else why
