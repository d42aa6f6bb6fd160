"""Contract E's errors: `{"detail": "<message>"}`. Where a field is wrong, the sentence says why."""

from domain.errors import Unauthenticated
from interfaces.http.errors import MISSING_FIELD, Body, ErrorResponse

MESSAGES = {Unauthenticated.code: "Not authenticated"}
FIELDS = {"price": "price_per_hour"}
"""The domain's name of a field, where contract E has another."""


def contract_e_format(response: ErrorResponse) -> Body:
    if response.details:
        details = {FIELDS.get(field, field): why for field, why in response.details.items()}
        return {"detail": "; ".join(_why(field, why) for field, why in details.items()), "details": details}
    return {"detail": MESSAGES.get(response.code, response.message)}


def _why(field: str, why: str) -> str:
    """A sentence about a field names it, unless it is the contract's own ("End date must be after start date"). One
    about a session of a series names when that begins."""
    if why == MISSING_FIELD:
        return f"{why}: {field}"
    names_it = why.startswith(("Must", "Is ", "Expected", "Invalid")) or not field.isidentifier()
    return f"{field}: {why}" if names_it else why
