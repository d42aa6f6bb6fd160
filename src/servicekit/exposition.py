"""Exposition of the metrics of a service in the text format of Prometheus.

A scrape reaches one of several processes behind an address. They therefore count into common files
(`PROMETHEUS_MULTIPROC_DIR`, set by the process that starts them), and each of them returns the sum.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from servicekit.logging import dropped_lines

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods with a label; the others are counted together."""

disable_created_metrics()  # type: ignore[no-untyped-call]


def exposition(registry: CollectorRegistry, read: Iterable[Metric]) -> bytes:
    """What the processes have counted, then the metrics that this one has read."""
    return generate_latest(_counted(registry)) + generate_latest(_ReadMetrics(read))


class DroppedLines:
    """Counts the log lines that this process has not written. `read` returns their number so far, by reason."""

    def __init__(
        self, name: str, help_text: str, registry: CollectorRegistry, read: Callable[[], Mapping[str, int]] | None
    ) -> None:
        self._counter = Counter(name, help_text, ("reason",), registry=registry)
        self._read = read or dropped_lines
        self._counted: Mapping[str, int] = {}
        self.update()

    def update(self) -> None:
        """To be called with each request, because a scrape reaches one process of several."""
        lines_so_far = self._read()
        if lines_so_far == self._counted:
            return
        for reason, lines in lines_so_far.items():
            self._counter.labels(reason).inc(lines - self._counted.get(reason, 0))
        self._counted = dict(lines_so_far)


class _ReadMetrics(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counted(registry: CollectorRegistry) -> Collector:
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory is None:
        return registry
    _remove_ended_processes(Path(directory))
    return MultiProcessCollector(CollectorRegistry(), directory)  # type: ignore[no-untyped-call]


def _remove_ended_processes(directory: Path) -> None:
    """Removes the gauges of ended processes. Their counters stay."""
    for file in directory.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
