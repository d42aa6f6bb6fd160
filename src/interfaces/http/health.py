"""Health checks: `/` (contract B 28) while the process runs, `/health` (contract C) with the database."""

from datetime import datetime
from typing import Literal

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from application.ports import Clock, Health
from interfaces.http.authentication import public
from interfaces.http.injection import Inject
from interfaces.http.schemas import whole_seconds


class Running(Struct):
    message: str
    status: Literal["healthy"]
    timestamp: datetime


class Healthy(Struct):
    status: Literal["healthy", "unhealthy"]
    service: Literal["backend"]
    timestamp: datetime
    database: Literal["connected", "disconnected"]


@get("/", operation_id="getRoot", tags=["Health"], opt=public)
async def root(clock: Inject[Clock]) -> Running:
    """Answers while the process runs, also without the database and Redis."""
    return Running("Booking System API is running!", "healthy", whole_seconds(clock.now()))


@get(
    "/health",
    operation_id="getHealth",
    tags=["Health"],
    opt=public,
    responses={503: ResponseSpec(Healthy, generate_examples=False)},
)
async def health_check(health: Inject[Health], clock: Inject[Clock]) -> Response[Healthy]:
    """Returns 503 while the database is unreachable: bookings are impossible then."""
    connected = await health.database_answers()
    body = Healthy(
        status="healthy" if connected else "unhealthy",
        service="backend",
        timestamp=whole_seconds(clock.now()),
        database="connected" if connected else "disconnected",
    )
    if connected:
        return Response(body)
    return Response(body, status_code=503, headers={"Retry-After": "2"})
