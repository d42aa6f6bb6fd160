"""Prometheus metrics: counters of this process, and statistics of the database. `servicekit.exposition` says how the
processes behind an address count together."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from application.outbox.ports import CircuitBreaker, DestinationStatistics
from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.postgres.statistics import OperationalStatistics, PostgresOperationalStatistics
from servicekit.exposition import METHODS, DroppedLines, exposition

# Few buckets, because each one is a time series for every route.
_REQUEST_SECONDS = (0.01, 0.05, 0.25, 1, 5)
_WAIT_SECONDS = (0.001, 0.01, 0.1, 1, 3)
_ATTEMPTS = ("delivered", "failed", "dead")
_STATES = (*CircuitBreaker, "paused", "halted")


class Metrics:
    """The metrics of one process. `dropped_log_lines` returns the number of log lines that were not written, by
    reason."""

    def __init__(self, dropped_log_lines: Callable[[], Mapping[str, int]] | None = None) -> None:
        self._registry = CollectorRegistry()
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "convene_http_requests",
            "Requests by route template, method and status class. Status none: the client disconnected first.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "convene_http_request_seconds",
            "Seconds from the start of a request to the end of its response, by route template.",
            ("route",),
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )
        self._refusals = Counter(
            "convene_refusals",
            "Refused requests by the code of their error. For example, invalid_credentials counts failed logins.",
            ("code",),
            registry=self._registry,
        )
        self._limits = Counter(
            "convene_limits_reached",
            "Attempts that a rate limit refused, by the name of the limit: their requests are answered 429. Limits of"
            " writes begin with write-.",
            ("limit",),
            registry=self._registry,
        )
        self._waits = Histogram(
            "convene_database_wait_seconds",
            "Seconds for which each use of the database waited for a pooled connection.",
            buckets=_WAIT_SECONDS,
            registry=self._registry,
        )
        self._in_use = Gauge(
            "convene_database_connections_in_use",
            "PostgreSQL connections in use by the API processes behind this address, or by the worker.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._replica_unused = Gauge(
            "convene_replica_unused",
            "1 while lists are not read from the replica of DATABASE_REPLICA_URL, 0 otherwise and without a replica.",
            multiprocess_mode="livemax",
            registry=self._registry,
        )
        self._replica_lag = Gauge(
            "convene_replica_lag_seconds",
            "Seconds that the replica lags behind the primary at most, as measured once a second.",
            multiprocess_mode="livemax",
            registry=self._registry,
        )
        self._lists = Counter(
            "convene_list_reads",
            "Lists read from the database, by server: replica or primary. Counted only with a replica.",
            ("server",),
            registry=self._registry,
        )
        self._pruned = Counter(
            "convene_pruned_rows",
            "Expired rows and mail files that this worker deleted, by kind; of webhooks (gateway_payloads) those whose"
            " content it deleted.",
            ("kind",),
            registry=self._registry,
        )
        self._dropped = DroppedLines(
            "convene_log_lines_dropped",
            "Log lines that the processes did not write, by reason. full: the output took no more and the queue was"
            " full; no_space: the disk was full; closed: the output has no reader; failed: another error; repeated:"
            " more errors of one kind than are logged.",
            self._registry,
            dropped_log_lines,
        )

    def request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """`route` is a template, never the path itself. `status` 0: the client disconnected before the response."""
        counter, histogram = self._series.get((route, method, status)) or self._series_of(route, method, status)
        counter.inc()
        histogram.observe(seconds)
        self._dropped.update()

    def _series_of(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        """The counter and the histogram of such requests. They are kept: routes, methods and statuses are few."""
        known = method if method in METHODS else "other"
        series = (
            self._requests.labels(route, known, f"{status // 100}xx" if status else "none"),
            self._seconds.labels(route),
        )
        if known == method:
            self._series[route, method, status] = series
        return series

    def refused(self, code: str) -> None:
        self._refusals.labels(code).inc()

    def limit_reached(self, limit: str) -> None:
        """`limit` is a name of the program, never a value of a request."""
        self._limits.labels(limit).inc()

    def waited(self, seconds: float) -> None:
        self._waits.observe(seconds)

    def in_use(self, connections: int) -> None:
        self._in_use.set(connections)

    def replica(self, *, used: bool, lag_seconds: float | None) -> None:
        self._replica_unused.set(0 if used else 1)
        if lag_seconds is not None:
            self._replica_lag.set(lag_seconds)

    def list_read(self, server: str) -> None:
        self._lists.labels(server).inc()

    def pruned(self, kind: str, number: int) -> None:
        self._pruned.labels(kind).inc(number)

    async def exposition(self, database: Database, clock_difference: timedelta | None) -> bytes:
        """The metrics in the text format of Prometheus. While the database is unreachable they contain the counters and
        `0` for its reachability."""
        try:
            statistics = await PostgresOperationalStatistics(database).read()
        except Unavailable:
            statistics = None
        self._dropped.update()
        return exposition(self._registry, _families(statistics, clock_difference))

    def of_process(self, clock_difference: timedelta | None) -> bytes:
        """What this process has counted, without the statistics of the database, in the text format of Prometheus."""
        self._dropped.update()
        return exposition(self._registry, _clock(clock_difference))


def _families(statistics: OperationalStatistics | None, clock_difference: timedelta | None) -> Iterator[Metric]:
    yield from _clock(clock_difference)
    yield GaugeMetricFamily(
        "convene_database_up", "1 while PostgreSQL is reachable, otherwise 0.", 0 if statistics is None else 1
    )
    if statistics is None:
        return
    yield from _outbox(statistics)
    yield from _deliveries(statistics)
    yield GaugeMetricFamily(
        "convene_holds_open", "Unpaid bookings that hold a seat until a deadline.", statistics.holds_open
    )
    yield GaugeMetricFamily(
        "convene_holds_overdue",
        "Unpaid bookings that still hold a seat a minute after their deadline. Above 0: no worker expires holds.",
        statistics.holds_overdue,
    )
    yield GaugeMetricFamily(
        "convene_reminders_late",
        "Reminders that no worker has queued a minute after they were due.",
        statistics.reminders_late,
    )
    yield GaugeMetricFamily(
        "convene_payment_differences",
        "Recorded mismatches between a gateway and the payments of the database that no operator has settled. See "
        "`convene payments check`.",
        statistics.payment_differences,
    )
    yield GaugeMetricFamily(
        "convene_disputes_open",
        "Payments with a dispute that the bank has not decided. See `convene payments list --dispute open`.",
        statistics.disputes_open,
    )
    yield GaugeMetricFamily(
        "convene_audit_unchained_seconds",
        "Age of the oldest entry of the audit log that no worker has chained. See `convene doctor`.",
        statistics.audit_unchained_seconds,
    )


def _clock(difference: timedelta | None) -> Iterator[Metric]:
    if difference is not None:
        yield GaugeMetricFamily(
            "convene_clock_difference_seconds",
            "Seconds by which the clock of an API's or worker's machine is ahead of the database's, which decides what"
            " is due. Absent until the process has read the database's clock.",
            difference.total_seconds(),
        )


def _outbox(statistics: OperationalStatistics) -> Iterator[Metric]:
    pending = _by_destination("convene_outbox_pending", "Pending messages, by destination.")
    oldest = _by_destination(
        "convene_outbox_oldest_seconds", "Age of the oldest pending message in seconds, by destination."
    )
    late = _by_destination(
        "convene_outbox_late_seconds",
        "Seconds since the oldest due message became due for its next attempt, by destination.",
    )
    dead = _by_destination("convene_outbox_dead", "Dead letters, by destination. See `convene outbox list`.")
    held = _by_destination(
        "convene_outbox_held", "Mails that wait for the verification of their address, by destination."
    )
    for each in statistics.destinations:
        labels = (each.destination,)
        pending.add_metric(labels, each.pending)
        oldest.add_metric(labels, statistics.oldest.get(each.destination, 0))
        late.add_metric(labels, each.oldest_due_seconds or 0)
        dead.add_metric(labels, each.dead)
        held.add_metric(labels, each.held)
    yield from (pending, oldest, late, dead, held)


def _deliveries(statistics: OperationalStatistics) -> Iterator[Metric]:
    states = _by_destination(
        "convene_destination_state", "1 for the current state of a destination, 0 for its other states.", "state"
    )
    reclaims = CounterMetricFamily(
        "convene_lease_rescues",
        "Messages reclaimed from a worker whose lease expired, by destination.",
        labels=("destination",),
    )
    attempts = CounterMetricFamily(
        "convene_delivery_attempts", "Delivery attempts by destination and result.", labels=("destination", "result")
    )
    for each in statistics.destinations:
        for state in _STATES:
            states.add_metric((each.destination, state), state == _state(each))
        for result in _ATTEMPTS:
            attempts.add_metric((each.destination, result), statistics.counts.get((each.destination, result), 0))
        reclaims.add_metric((each.destination,), statistics.counts.get((each.destination, "rescued"), 0))
    yield from (states, attempts, reclaims)


def _state(each: DestinationStatistics) -> str:
    if each.halted:
        return "halted"
    return "paused" if each.paused_until else each.circuit


def _by_destination(name: str, description: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, labels=("destination", *labels))
