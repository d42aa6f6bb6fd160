"""Health of the service, and probes and metrics for operators, which are not in the API's description."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import MediaType, Response, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from crm.api.security import bearer_guard
from crm.database import Database, DatabaseUnavailable
from crm.metrics import Metrics
from crm.notifications import Moment
from crm.schema_version import SCHEMA_VERSION
from servicekit.clock import DatabaseClock
from servicekit.probes import EXPOSITION
from servicekit.tasks import LongLivedTasks
from servicekit.write_probe import WriteProbe


class Health(msgspec.Struct):
    message: str
    status: Literal["healthy", "degraded"]
    timestamp: Moment
    database: Literal["reachable", "unreachable"]


@get("/", operation_id="crmHealth")
async def health(database: NamedDependency[Database], clock: NamedDependency[DatabaseClock]) -> Health:
    """Reports that the service runs; `degraded` while its database is unreachable."""
    answers = await database.answers()
    return Health(
        message="CRM Service is running!",
        status="healthy" if answers else "degraded",
        timestamp=clock.now(),
        database="reachable" if answers else "unreachable",
    )


class Alive(msgspec.Struct, frozen=True, omit_defaults=True):
    """`dead`, with status 503: tasks of the process ended, which it names. It is about to end."""

    status: Literal["alive", "dead"]
    ended_tasks: tuple[str, ...] = ()


@get("/health/live", operation_id="crmLiveness", include_in_schema=False)
async def live(tasks: NamedDependency[LongLivedTasks]) -> Response[Alive]:
    """Answers while the process works, also without the database. Restart a process that does not answer, or answers
    503."""
    if tasks.ended:
        return Response(Alive("dead", tasks.ended), status_code=503)
    return Response(Alive("alive"))


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """`unavailable`, with status 503: the database is unreachable, or can be read while writes fail (`read_only`).
    `message`: why this version cannot use the schema."""

    status: Literal["ready", "unavailable"]
    database: Literal["connected", "read_only", "disconnected"]
    message: str | None = None


@get(["/health", "/health/ready"], operation_id="crmReadiness", include_in_schema=False)
async def ready(database: NamedDependency[Database], write_probe: NamedDependency[WriteProbe]) -> Response[Ready]:
    """Returns 503 while a notification could not be stored."""
    if await write_probe.succeeds():
        problem = await SCHEMA_VERSION.problem(database.connection, DatabaseUnavailable)
        if problem is None:
            return Response(Ready("ready", "connected"))
        return Response(Ready("unavailable", "connected", problem), status_code=503, headers={"Retry-After": "5"})
    found: Literal["read_only", "disconnected"] = "read_only" if await database.answers() else "disconnected"
    return Response(Ready("unavailable", found), status_code=503, headers={"Retry-After": "5"})


@get("/metrics", operation_id="crmMetrics", include_in_schema=False)
async def show_metrics(
    metrics: NamedDependency[Metrics], database: NamedDependency[Database], clock: NamedDependency[DatabaseClock]
) -> Response[bytes]:
    """Metrics for Prometheus."""
    exposition = await metrics.exposition(database, clock.difference)
    return Response(exposition, media_type=MediaType.TEXT, headers={"Content-Type": EXPOSITION})


def metrics_guard(token: str | None) -> Guard:
    """Requires `token`. Without one the route does not exist (404)."""
    if token is not None:
        return bearer_guard(token)

    def refuse(_connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        raise NotFoundException

    return refuse
