"""Health of the service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency

from crm.database import Database
from crm.notifications import Moment


class Health(msgspec.Struct):
    message: str
    status: Literal["healthy", "degraded"]
    timestamp: Moment
    database: Literal["reachable", "unreachable"]


@get("/", operation_id="crmHealth")
async def health(database: NamedDependency[Database]) -> Health:
    """Reports that the service runs; `degraded` while its database is unreachable."""
    answers = await database.answers()
    return Health(
        message="CRM Service is running!",
        status="healthy" if answers else "degraded",
        timestamp=datetime.now(UTC),
        database="reachable" if answers else "unreachable",
    )
