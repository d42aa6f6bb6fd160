"""Every operation that lists has a default, a maximum and a way to the next page: a walk over both API descriptions."""

from typing import Any

import pytest

from tests.crm.description_checks import document as crm_document
from tests.support.description_checks import document

DOCUMENTED_BY_A_TO_D = 500, 500
DOCUMENTED_BY_E = 20, 100
OTHERS = 50, 500

# By path: entries by default and at most.
PAGES = {
    "/api/bookings/my": DOCUMENTED_BY_A_TO_D,
    "/api/events": DOCUMENTED_BY_A_TO_D,
    "/api/facilitator/bookings": DOCUMENTED_BY_A_TO_D,
    "/api/facilitator/sessions": DOCUMENTED_BY_A_TO_D,
    "/api/facilitator/sessions/{session_id}/bookings": DOCUMENTED_BY_A_TO_D,
    "/api/my-bookings": DOCUMENTED_BY_A_TO_D,
    "/api/sessions": DOCUMENTED_BY_A_TO_D,
    "/bookings": DOCUMENTED_BY_A_TO_D,
    "/events": DOCUMENTED_BY_A_TO_D,
    "/events/filter": DOCUMENTED_BY_A_TO_D,
    "/facilitator/events": DOCUMENTED_BY_A_TO_D,
    "/facilitator/events/{event_id}/bookings": DOCUMENTED_BY_A_TO_D,
    "/facilitator/registrations/{event_id}": DOCUMENTED_BY_A_TO_D,
    "/booking/client/{client_id}": DOCUMENTED_BY_E,
    "/booking/coach/{coach_id}": DOCUMENTED_BY_E,
    "/coaches": DOCUMENTED_BY_E,
    "/admin/audit": OTHERS,
    "/admin/outbox": OTHERS,
    "/api-keys": OTHERS,
    "/auth/sessions": OTHERS,
    "/admin/users": OTHERS,
    "/booking/{booking_id}/history": OTHERS,
    "/booking/{booking_id}/reminders": OTHERS,
    "/bookings/{booking_id}/reminders": OTHERS,
    "/events/{event_id}/reviews": OTHERS,
    "/facilitator/events/{event_id}/invitations": OTHERS,
}
PAGES_OF_CRM = {
    "/notifications": DOCUMENTED_BY_A_TO_D,
    "/api/facilitator/events/{facilitator_id}": DOCUMENTED_BY_A_TO_D,
    "/webhooks": DOCUMENTED_BY_A_TO_D,  # the bounds of the CRM's other lists
}

BOUNDED = {
    "/admin/outbox/{message_id}": "one message, with the attempts of its retry schedule",
    "/api/facilitator/dashboard": "the last ten bookings",
    "/auth/factors": "an account has at most ten",
    "/booking/{booking_id}/attachments": "a booking has at most 20",
    "/calendar/connections": "one for each provider",
    "/booking/coach/{coach_id}/analytics": "the weeks of a range that is bounded",
    "/booking/coach/{coach_id}/availability": "the slots of a range of days that is bounded",
    "/coach/availability": "the hours that one coach has given, bounded where they are given",
    "/bookings/{booking_id}/cancellation": "the tiers of one refund policy",
}
"""Why an answer that holds an array is no list of pages."""

LISTS = [(document, path, bounds) for path, bounds in PAGES.items()]
LISTS_OF_CRM = [(crm_document, path, bounds) for path, bounds in PAGES_OF_CRM.items()]


def resolved(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def holds_array(schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    schema = resolved(schema, whole)
    if any(holds_array(each, whole) for each in schema.get("anyOf", [])):
        return True
    within = [resolved(each, whole) for each in schema.get("properties", {}).values()]
    return schema.get("type") == "array" or any(each.get("type") == "array" for each in within)


def listing(whole: dict[str, Any]) -> set[str]:
    """The paths whose GET answers with an array, or with an object that holds one."""
    found = set()
    for path, methods in whole["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema is not None and holds_array(schema, whole):
            found.add(path)
    return found


def test_every_list_operation_is_known_here() -> None:
    assert listing(document()) - set(BOUNDED) == set(PAGES)
    assert set(BOUNDED) <= set(document()["paths"])
    assert listing(crm_document()) == set(PAGES_OF_CRM)


@pytest.mark.parametrize(
    ("whole", "path", "bounds"), LISTS + LISTS_OF_CRM, ids=lambda value: value if isinstance(value, str) else ""
)
def test_list_documents_its_page_limits_and_the_next_page(whole: Any, path: str, bounds: tuple[int, int]) -> None:
    operation = whole()["paths"][path]["get"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    default, most = bounds
    limit = parameters["limit"]
    assert limit["schema"]["default"] == default
    assert limit["schema"].get("maximum") == most or f"more than {most} counts as {most}" in limit["description"]
    assert "cursor" in parameters
    answer = operation["responses"]["200"]
    assert "Link" in answer["headers"]
    schema = resolved(answer["content"]["application/json"]["schema"], whole())
    if schema.get("type") == "object":
        assert "next_cursor" in schema["required"]
