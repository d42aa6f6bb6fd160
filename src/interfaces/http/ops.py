"""For those who run the house, not for clients, and so not in the API's description: probes and metrics."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from litestar import MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from application.ports import Health
from domain.errors import Unauthenticated
from interfaces.http.authentication import Connection, bearer_token, public
from interfaces.http.injection import Inject

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Alive(Struct):
    status: Literal["alive"] = "alive"


class Ready(Struct):
    """`degraded`: it serves, a little slower. `unavailable` and `draining` (it is about to end) come with a 503."""

    status: Literal["ready", "degraded", "unavailable", "draining"]
    database: Literal["connected", "disconnected"]
    redis: Literal["connected", "disconnected"]


async def operators(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Lets in who shows `METRICS_TOKEN`. Where none is set there is nothing to be let into."""
    expected: str | None = connection.app.state.metrics_token
    if expected is None:
        raise NotFoundException
    if not hmac.compare_digest(bearer_token(connection).encode(), expected.encode()):
        raise Unauthenticated


@get("/health/live", operation_id="getLiveness", include_in_schema=False, opt=public)
async def live() -> Alive:
    """Answers unless the process is stuck, whatever else is away: who does not answer should be started anew."""
    return Alive()


@get("/health/ready", operation_id="getReadiness", include_in_schema=False, opt=public)
async def ready(request: Request[Any, Any, Any], health: Inject[Health]) -> Response[Ready]:
    """503 for whom nobody should send requests to: no database, or about to end. Without Redis everything works."""
    draining: Callable[[], bool] = request.app.state.draining
    database, redis = await health.database_answers(), await health.redis_answers()
    body = Ready(
        "draining" if draining() else "unavailable" if not database else "ready" if redis else "degraded",
        database="connected" if database else "disconnected",
        redis="connected" if redis else "disconnected",
    )
    if body.status in {"ready", "degraded"}:
        return Response(body)
    return Response(body, status_code=503, headers={"Retry-After": "2"})


@get("/metrics", operation_id="getMetrics", include_in_schema=False, guards=[operators])
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """What Prometheus scrapes."""
    exposition: Callable[[], Awaitable[bytes]] = request.app.state.exposition
    return Response(await exposition(), media_type=MediaType.TEXT, headers={"Content-Type": _EXPOSITION})


ROUTES = [live, ready, metrics]
