"""Health of the service, and probes and metrics for operators, which are not in the API's description."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from crm.api.parts import parts_of
from crm.api.security import bearer_guard
from crm.database import DatabaseUnavailable
from crm.notifications import Moment
from crm.schema_version import SCHEMA_VERSION
from servicekit.json_responses import JsonResponse
from servicekit.probes import EXPOSITION


class Health(msgspec.Struct):
    message: str
    status: Literal["healthy", "degraded"]
    timestamp: Moment
    database: Literal["reachable", "unreachable"]


@get("/", operation_id="crmHealth")
async def health(request: Request[Any, Any, Any]) -> Health:
    """Reports that the service runs; `degraded` while its database is unreachable."""
    parts = parts_of(request)
    answers = await parts.database.answers()
    return Health(
        message="CRM Service is running!",
        status="healthy" if answers else "degraded",
        timestamp=parts.clock.now(),
        database="reachable" if answers else "unreachable",
    )


class Alive(msgspec.Struct, frozen=True, omit_defaults=True):
    """`dead`, with status 503: tasks of the process ended, which it names. It is about to end."""

    status: Literal["alive", "dead"]
    ended_tasks: tuple[str, ...] = ()


@get("/health/live", operation_id="crmLiveness", include_in_schema=False)
async def live(request: Request[Any, Any, Any]) -> Response[Alive]:
    """Answers while the process works, also without the database. Restart a process that does not answer, or answers
    503."""
    tasks = parts_of(request).tasks
    if tasks.ended:
        return JsonResponse(Alive("dead", tasks.ended), status_code=503)
    return JsonResponse(Alive("alive"))


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """`unavailable`, with status 503: the database is unreachable, or can be read while writes fail (`read_only`).
    `message`: why this version cannot use the schema."""

    status: Literal["ready", "unavailable"]
    database: Literal["connected", "read_only", "disconnected"]
    message: str | None = None


@get(["/health", "/health/ready"], operation_id="crmReadiness", include_in_schema=False)
async def ready(request: Request[Any, Any, Any]) -> Response[Ready]:
    """Returns 503 while a notification could not be stored."""
    parts = parts_of(request)
    if await parts.write_probe.succeeds():
        problem = await SCHEMA_VERSION.problem(parts.database.connection, DatabaseUnavailable)
        if problem is None:
            return JsonResponse(Ready("ready", "connected"))
        return JsonResponse(Ready("unavailable", "connected", problem), status_code=503, headers={"Retry-After": "5"})
    found: Literal["read_only", "disconnected"] = "read_only" if await parts.database.answers() else "disconnected"
    return JsonResponse(Ready("unavailable", found), status_code=503, headers={"Retry-After": "5"})


@get("/metrics", operation_id="crmMetrics", include_in_schema=False)
async def show_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Metrics for Prometheus."""
    parts = parts_of(request)
    exposition = await parts.metrics.exposition(parts.database, parts.clock.difference)
    return Response(exposition, media_type=MediaType.TEXT, headers={"Content-Type": EXPOSITION})


def metrics_guard(token: str | None) -> Guard:
    """Requires `token`. Without one the route does not exist (404)."""
    if token is not None:
        return bearer_guard(token)

    async def refuse(_connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        raise NotFoundException

    return refuse
