"""What the CRM deletes, and when: docs/operations/retention.md."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import structlog

from crm.database import Database, DatabaseUnavailable
from crm.settings import CrmSettings
from servicekit.retention import Count, MailFiles, Pruning, Rule

# A message that comes again after its row is deleted is a new one. An event that is still ahead keeps its
# notifications, because its list may count them.
_NOTIFICATIONS = """
DELETE FROM notifications WHERE id IN (
    SELECT id FROM notifications
    WHERE status <> 'pending' AND (processed OR deleted_at IS NOT NULL)
      AND received_at < now() - $1::interval AND (event_date IS NULL OR event_date < now() - $1::interval)
    ORDER BY received_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
# The deliveries are deleted with their webhooks.
_WEBHOOKS = """
DELETE FROM crm_bookings WHERE id IN (
    SELECT b.id FROM crm_bookings b
    WHERE b.received_at < now() - $1::interval AND NOT EXISTS (
        SELECT FROM crm_booking_deliveries d WHERE d.crm_booking_id = b.id AND d.status = 'pending')
    ORDER BY b.received_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
# Until then messages about the user can arrive late, or be replayed.
_ERASED_USERS = """
DELETE FROM erased_users WHERE user_id IN (
    SELECT user_id FROM erased_users WHERE erased_at < now() - $1::interval
    ORDER BY erased_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""

log = structlog.stdlib.get_logger("crm.retention")


def rules(settings: CrmSettings) -> Sequence[Rule]:
    """Without those whose setting is 0 days."""
    age = timedelta(days=settings.retention_days)
    statements = {"notifications": _NOTIFICATIONS, "webhooks": _WEBHOOKS, "erased_users": _ERASED_USERS}
    return [Rule(kind, statement, age) for kind, statement in statements.items()] if age else []


class Retention:
    """Prunes once every `every` seconds. Each process does: locked rows prevent duplicate work."""

    def __init__(
        self, settings: CrmSettings, database: Database, count: Count, files: MailFiles, *, every: float = 60
    ) -> None:
        pruning = Pruning(database, count)
        self._prunes: dict[str, Callable[[], Awaitable[int]]] = {
            **{rule.kind: partial(pruning.prune, rule) for rule in rules(settings)},
            "mail_files": files.prune,
        }
        self._every = every

    async def run(self, clock_is_read: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled. By the clock of a machine files could expire too early."""
        await clock_is_read()
        while True:
            await asyncio.sleep(self._every)
            await self.prune()

    async def prune(self) -> None:
        """One round. A failure is logged and does not affect the other kinds."""
        for kind, prune in self._prunes.items():
            try:
                pruned = await prune()
            except DatabaseUnavailable:
                continue
            except Exception:
                log.exception("pruning_failed", kind=kind)
                continue
            if pruned:
                log.info("pruned", kind=kind, number=pruned)
