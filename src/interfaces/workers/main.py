"""The worker process: message delivery and periodic tasks. Any number of worker processes may run."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
import uvloop

from domain.errors import Unavailable
from infrastructure.container.delivery import DeliveryParts, build_deliveries
from infrastructure.observability.logging import configure_logging
from infrastructure.postgres.engine import Database
from infrastructure.postgres.schema_version import SCHEMA_VERSION
from infrastructure.redis.wake_ups import QUEUE, WAKE, connect
from infrastructure.settings import Settings, SettingsError
from interfaces.workers.arq_worker import ArqWorker
from interfaces.workers.delivery import Deliveries
from interfaces.workers.periodic_tasks import PeriodicTask, PruningTask, run_task
from servicekit.probes import ProcessMetrics, serve_probes
from servicekit.process import end_process, exit_status
from servicekit.tasks import LongLivedTasks, cancel

_log = structlog.get_logger(__name__)


def run(settings: Settings, build: Callable[[Settings], DeliveryParts] = build_deliveries) -> None:
    """Runs until SIGTERM or SIGINT, or until one of its tasks ends; then it raises SystemExit. Raises `SettingsError`
    for a configuration that prevents the start."""
    configure_logging(settings.log_level)
    uvloop.run(_work(settings, build))
    if status := exit_status():
        sys.exit(status)


async def _work(settings: Settings, build: Callable[[Settings], DeliveryParts]) -> None:
    parts = build(settings)
    tasks = LongLivedTasks(end_process)
    deliveries = Deliveries(parts.deliver_due, parts.deliver_due.senders)
    pruning = pruning_tasks(parts)
    arq_worker = ArqWorker(
        lambda: connect(settings.redis_url, seconds=5), deliveries.notify, job=WAKE, queue=QUEUE, cron_tasks=pruning
    )
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        deliveries.close()

    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop)
    background = [
        tasks.start("read the clock", parts.database_clock.run()),
        tasks.start("arq worker", arq_worker.run()),
    ]

    def expose() -> bytes:
        return parts.metrics.of_process(parts.database_clock.difference)

    try:
        await _serve_probes(settings, tasks, ProcessMetrics(settings.metrics_token, expose))
        await _require_schema(parts.database)
        # By the machine's clock holds and reminders could be due too early. Without the database nothing can be done.
        if await _first(parts.database_clock.first_reading(), stopped.wait()):
            _log.info("worker_started")
            await run_task("record_settings", parts.record_settings)
            periodic = [*periodic_tasks(parts), *(task.overdue() for task in pruning)]
            background += [tasks.start(task.name, task.run()) for task in periodic]
        await deliveries.serve(tasks)
    finally:
        await tasks.stop(background)
        with suppress(TimeoutError, Unavailable):
            await asyncio.wait_for(parts.counts.save(), 1)
        with suppress(TimeoutError):
            await asyncio.wait_for(parts.close(), 1)
        _log.info("worker_stopped")


async def _serve_probes(settings: Settings, tasks: LongLivedTasks, metrics: ProcessMetrics) -> None:
    if not settings.worker_probe_port:
        return
    try:
        await serve_probes(settings.worker_probe_port, tasks, metrics)
    except OSError as error:
        port, reason = settings.worker_probe_port, error.strerror or str(error)
        raise SettingsError(f"WORKER_PROBE_PORT: cannot listen on port {port}: {reason}") from None


def periodic_tasks(parts: DeliveryParts) -> list[PeriodicTask]:
    """What keeps the invariants and what each process has to do for itself. It needs PostgreSQL only."""
    return [
        PeriodicTask("expire_holds", parts.money.expire_holds, every=5),
        PeriodicTask("expire_appointment_holds", parts.expire_appointment_holds, every=5),
        PeriodicTask("expire_invitations", parts.expire_invitations, every=5),
        PeriodicTask("reconcile", parts.money.reconcile, every=30),
        PeriodicTask("queue_reminders", parts.queue_reminders, every=5),
        PeriodicTask("queue_change_mails", parts.queue_change_mails, every=5),
        PeriodicTask("release_held_messages", parts.release_held, every=15, rest=20),
        PeriodicTask("carry_out_erasures", parts.carry_out_erasures, every=5, rest=5),
        PeriodicTask("extend_audit_chain", parts.extend_audit_chain, every=2),
        PeriodicTask("complete_bookings", parts.complete_bookings, every=15),
        PeriodicTask("delay_blocked_messages", parts.ordering_keys.delay_blocked, every=2, rest=20),
        PeriodicTask("read_busy_times", parts.calendars.read_busy_times, every=5),
        PeriodicTask("update_delivery_counts", parts.counts.save, every=2),
        PeriodicTask("store_calendar_domain", parts.calendar_identity.store, every=30),
        PeriodicTask("fill_facilitator_active", parts.fill_facilitator_active, every=300),
        PeriodicTask("fill_facilitators_of_bookings", parts.fill_facilitators_of_bookings, every=300),
        PeriodicTask("add_up_facilitator_counts", parts.facilitator_counts.add_up, every=10),
        PeriodicTask("count_facilitators", parts.facilitator_counts.count_due, every=60),
        PeriodicTask("prune_mail_files", parts.mail_files.prune, every=600),
    ]


def pruning_tasks(parts: DeliveryParts) -> list[PruningTask]:
    """What may wait while Redis is unavailable; docs/decisions/0009 says why."""
    return [
        PruningTask(f"prune_{kind}", prune, seconds=(10 + place * 60 // len(parts.pruning)) % 60)
        for place, (kind, prune) in enumerate(parts.pruning.items())
    ]


async def _first(one: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, Any]) -> bool:
    """Whether `one` is done before `other`."""
    both = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return both[0].done()
    finally:
        await cancel(both)


async def _require_schema(database: Database) -> None:
    """Raises `SettingsError` for a schema that this version cannot use. An unreachable server is not an error: it may
    come back."""
    with suppress(Unavailable):
        async with database.connection() as connection:
            fit = await SCHEMA_VERSION.fit(connection)
        if not fit.usable:
            raise SettingsError(f"DATABASE_URL: {fit.sentence}")
        if fit.sentence:
            _log.warning("schema_newer", message=fit.sentence)
