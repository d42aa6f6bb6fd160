"""Metrics of the CRM: counters of its processes, and what waits in its database. `servicekit.exposition` says how the
processes behind an address count together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import asyncpg
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from crm.database import Database, DatabaseUnavailable
from crm.webhook_store import MISMATCH
from servicekit.exposition import METHODS, DroppedLines, exposition

_WAITING = """
SELECT 'email' AS destination, count(*) AS pending, extract(epoch FROM now() - min(received_at))::float8 AS oldest
FROM notifications WHERE status = 'pending'
UNION ALL
SELECT destination, count(*), extract(epoch FROM now() - min(received_at))::float8
FROM crm_booking_deliveries WHERE status = 'pending' GROUP BY destination
"""
_REFUSED = f"""
SELECT d.destination, CASE WHEN {MISMATCH} THEN 'mismatch' ELSE 'refused' END AS reason, count(*) AS webhooks
FROM crm_booking_deliveries d WHERE d.status = 'failed' AND d.processed_at IS NULL GROUP BY 1, 2
"""  # noqa: S608 (composed of constants)
_REASONS = (("forward", "refused"), ("payment", "refused"), ("payment", "mismatch"))


class Metrics:
    """`dropped_log_lines` returns the number of log lines that were not written, by reason."""

    def __init__(
        self, destinations: Sequence[str], dropped_log_lines: Callable[[], Mapping[str, int]] | None = None
    ) -> None:
        self._destinations = destinations
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "convene_crm_http_requests",
            "Requests to the CRM by method and status class. Status none: the client disconnected first.",
            ("method", "status"),
            registry=self._registry,
        )
        self._pruned = Counter(
            "convene_crm_pruned_rows",
            "Expired rows and mail files that the CRM deleted, by kind.",
            ("kind",),
            registry=self._registry,
        )
        self._erasures = Counter(
            "convene_crm_erasures",
            "Attempts of the CRM to erase the personal data of a user, by result. Result unfinished: there was more to "
            "erase, or an error.",
            ("result",),
            registry=self._registry,
        )
        for result in ("finished", "unfinished"):
            self._erasures.labels(result)
        self._dropped = DroppedLines(
            "convene_crm_log_lines_dropped",
            "Log lines that the processes of the CRM did not write, by reason.",
            self._registry,
            dropped_log_lines,
        )

    def request(self, method: str, status: int) -> None:
        """`status` 0: the client disconnected before the response."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, f"{status // 100}xx" if status else "none").inc()
        self._dropped.update()

    def pruned(self, kind: str, number: int) -> None:
        self._pruned.labels(kind).inc(number)

    def erasure(self, result: str) -> None:
        """`finished` or `unfinished`."""
        self._erasures.labels(result).inc()

    async def exposition(self, database: Database, clock_difference: timedelta | None) -> bytes:
        """While the database is unreachable: the counters, and `0` for its reachability."""
        rows: Sequence[asyncpg.Record] | None = None
        refused: Sequence[asyncpg.Record] = ()
        try:
            async with database.connection() as connection:
                refused = await connection.fetch(_REFUSED)
                rows = await connection.fetch(_WAITING)
        except DatabaseUnavailable:
            pass
        return exposition(self._registry, self._families(rows, clock_difference, refused))

    def _families(
        self,
        rows: Sequence[asyncpg.Record] | None,
        clock_difference: timedelta | None,
        refused: Sequence[asyncpg.Record] = (),
    ) -> Iterator[Metric]:
        if clock_difference is not None:
            yield GaugeMetricFamily(
                "convene_crm_clock_difference_seconds",
                "Seconds by which the clock of the CRM's machine is ahead of its database's, which decides what is due."
                " Absent until the process has read the database's clock.",
                clock_difference.total_seconds(),
            )
        yield GaugeMetricFamily(
            "convene_crm_database_up", "1 while the CRM's PostgreSQL is reachable, otherwise 0.", int(rows is not None)
        )
        if rows is None:
            return
        waiting = {row["destination"]: row for row in rows}
        pending = GaugeMetricFamily(
            "convene_crm_deliveries_pending", "Pending deliveries of the CRM, by destination.", labels=("destination",)
        )
        oldest = GaugeMetricFamily(
            "convene_crm_deliveries_oldest_seconds",
            "Age of the oldest pending delivery of the CRM in seconds, by destination.",
            labels=("destination",),
        )
        for destination in sorted({*self._destinations, *waiting}):
            row = waiting.get(destination)
            pending.add_metric((destination,), row["pending"] if row else 0)
            oldest.add_metric((destination,), row["oldest"] or 0 if row else 0)
        yield from (pending, oldest, _refused_webhooks(refused))


def _refused_webhooks(rows: Sequence[asyncpg.Record]) -> Metric:
    found = {(row["destination"], row["reason"]): row["webhooks"] for row in rows}
    family = GaugeMetricFamily(
        "convene_crm_webhooks_refused",
        "Deliveries of webhooks that the destination refused and no operator has processed. Reason mismatch: the "
        "webhook names another user, event or booking than the booking API. See `GET /webhooks?deliveries=failed`.",
        labels=("destination", "reason"),
    )
    for labels in _REASONS:
        family.add_metric(labels, found.get(labels, 0))
    return family
