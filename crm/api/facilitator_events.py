"""Contract A's list of a facilitator's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from crm.api.parts import parts_of
from crm.api.requests import list_query, next_page, path_id, query_id, query_limit
from crm.facilitator_events import FacilitatorEvent
from servicekit.json_responses import JsonResponse


@get("/api/facilitator/events/{facilitator_id:str}", operation_id="listFacilitatorEvents")
async def list_facilitator_events(
    request: Request[Any, Any, Any], facilitator_id: FromPath[str]
) -> Response[Sequence[FacilitatorEvent]]:
    """A facilitator's events, each as of its newest message. A `Link` header has the address of the next page."""
    given = list_query(request, "limit", "cursor")
    limit = query_limit(given)
    facilitator = path_id(facilitator_id)
    found = await parts_of(request).events.of(facilitator, limit=limit + 1, after=query_id(given, "cursor") or 0)
    page = found[:limit]
    path = f"/api/facilitator/events/{facilitator}"
    return JsonResponse(page, headers=next_page(path, given, page[-1].id) if len(found) > limit else {})
