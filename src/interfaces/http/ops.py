"""Operations endpoints: probes and metrics. They are not in the API's description."""

import hmac
from typing import Literal, NewType, Protocol

from litestar import MediaType, Response, get
from litestar.exceptions import NotFoundException
from msgspec import Struct

from application.ports import Health
from domain.errors import Unauthenticated
from interfaces.http.authentication import METRICS_TOKEN, Connection, bearer_token, public
from interfaces.http.injection import Inject, guard
from servicekit.tasks import LongLivedTasks

MetricsToken = NewType("MetricsToken", str)

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Draining(Protocol):
    """Returns whether the process is shutting down."""

    def __call__(self) -> bool: ...


class Exposition(Protocol):
    """Returns the metrics in the text format of Prometheus."""

    async def __call__(self) -> bytes: ...


class SchemaProblem(Protocol):
    """Returns why this version cannot use the schema of the database; None if it can, or if that is unknown."""

    async def __call__(self) -> str | None: ...


class Replica(Struct, omit_defaults=True):
    """A replica that serves lists: `used`, or why not. Without it the database serves them."""

    state: str
    lag_seconds: float | None = None


class ReplicaHealth(Protocol):
    """Returns the state of the replica, None without one."""

    def __call__(self) -> Replica | None: ...


class Alive(Struct, omit_defaults=True):
    """`dead`, with status 503: tasks of the process ended, which it names. It is about to end."""

    status: Literal["alive", "dead"]
    ended_tasks: tuple[str, ...] = ()


class Ready(Struct, omit_defaults=True):
    """`degraded`: Redis is unreachable, answers are slower. `unavailable` and `draining` (shutting down) have status
    503. `read_only`: the database can be read, but writes fail. `message`: why this version cannot use the schema. The
    state of the replica does not change the status."""

    status: Literal["ready", "degraded", "unavailable", "draining"]
    database: Literal["connected", "read_only", "disconnected"]
    redis: Literal["connected", "disconnected"]
    message: str | None = None
    replica: Replica | None = None


@guard(METRICS_TOKEN, Unauthenticated)
async def operators(connection: Connection, expected: Inject[MetricsToken | None]) -> None:
    """Requires `METRICS_TOKEN`. Without that setting the route does not exist (404)."""
    if expected is None:
        raise NotFoundException
    if not hmac.compare_digest(bearer_token(connection).encode(), expected.encode()):
        raise Unauthenticated


@get("/health/live", operation_id="getLiveness", include_in_schema=False, opt=public)
async def live(tasks: Inject[LongLivedTasks]) -> Response[Alive]:
    """Answers while the process works, also without the database and Redis. Restart a process that does not answer, or
    answers 503."""
    if tasks.ended:
        return Response(Alive("dead", tasks.ended), status_code=503)
    return Response(Alive("alive"))


@get("/health/ready", operation_id="getReadiness", include_in_schema=False, opt=public)
async def ready(
    health: Inject[Health],
    draining: Inject[Draining],
    schema_problem: Inject[SchemaProblem],
    replica: Inject[ReplicaHealth],
) -> Response[Ready]:
    """Returns 503 while the database is unreachable, writes fail or this version cannot use the schema, and while the
    process is shutting down. Redis is not required."""
    writes, redis = await health.database_writes(), await health.redis_answers()
    problem = await schema_problem()
    body = Ready(
        "draining" if draining() else "unavailable" if not writes or problem else "ready" if redis else "degraded",
        database="connected" if writes else "read_only" if await health.database_answers() else "disconnected",
        redis="connected" if redis else "disconnected",
        message=problem,
        replica=replica(),
    )
    if body.status in {"ready", "degraded"}:
        return Response(body)
    return Response(body, status_code=503, headers={"Retry-After": "2"})


@get("/metrics", operation_id="getMetrics", include_in_schema=False, guards=[operators])
async def metrics(exposition: Inject[Exposition]) -> Response[bytes]:
    """Metrics for Prometheus."""
    return Response(await exposition(), media_type=MediaType.TEXT, headers={"Content-Type": _EXPOSITION})


ROUTES = [live, ready, metrics]
