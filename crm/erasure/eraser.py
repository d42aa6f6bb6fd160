"""Carries out an erasure in short transactions. What it has done is stored with each, so that the next attempt goes
on there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from uuid import UUID

import structlog

from crm.database import Connection, Database
from crm.erasure import erased_users
from crm.erasure.rows import Step, erase_facilitator, erase_notifications, erase_webhooks
from servicekit.database import in_transaction
from servicekit.mail_transport import MARK_LENGTH, delete_mail_files

SECONDS = 5.0
"""An attempt begins no further step after this time. A step takes as long as a statement may at most, and the sender
waits 15 s."""
PAUSE_SECONDS = 0.05

# A statement that began before the user was marked as erased may store the user's data afterwards. It has the lock of
# its table before it reads.
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relation IN ('notifications'::regclass, 'crm_bookings'::regclass)
"""

log = structlog.stdlib.get_logger("crm.erasure")


class ErasureUnfinished(Exception):
    """There was more to erase than an attempt does. The next one goes on."""


class Eraser:
    """`mail_directory`: where mails are files. `count` receives how an attempt has ended: `finished` or `unfinished`.
    `seconds`: how long an attempt goes on."""

    def __init__(
        self, database: Database, mail_directory: Path, count: Callable[[str], None], *, seconds: float = SECONDS
    ) -> None:
        self._database = database
        self._mail_directory = mail_directory
        self._count = count
        self._seconds = seconds

    async def erase(self, user_id: int) -> None:
        """Replaces the personal data of a user, client or facilitator, in all tables; deletes the files of mails.

        Repeated calls have no further effect. Raises ErasureUnfinished, DatabaseUnavailable.
        """
        done: Counter[str] = Counter()
        result = "unfinished"
        try:
            async with self._database.connection() as connection:
                known = await erased_users.begin(connection, user_id)
            if known.erased_at is None:
                await self._erase(user_id, time.monotonic() + self._seconds, done)
            result = "finished"
        finally:
            self._count(result)
            log.info("user_erasure", user_id=user_id, result=result, **done)

    async def _erase(self, user_id: int, deadline: float, done: Counter[str]) -> None:
        def check_time() -> None:
            if time.monotonic() >= deadline:
                raise ErasureUnfinished

        async def until_last(step: Callable[[Connection], Awaitable[Step]]) -> None:
            while True:
                made = await self._in_transaction(step)
                done.update(made.replaced)
                if made.is_last:
                    return
                if made.waits:
                    await asyncio.sleep(PAUSE_SECONDS)
                check_time()

        async def of_facilitator(connection: Connection) -> Step:
            return await erase_facilitator(connection, user_id)

        async def of_notifications(connection: Connection) -> Step:
            known = await erased_users.progress(connection, user_id)
            step = await erase_notifications(connection, user_id, known.notifications_until, self._delete_mail_files)
            await erased_users.advance(connection, user_id, "notifications_until", step.until)
            return step

        async def of_webhooks(connection: Connection) -> Step:
            known = await erased_users.progress(connection, user_id)
            step = await erase_webhooks(connection, user_id, known.webhooks_until)
            await erased_users.advance(connection, user_id, "webhooks_until", step.until)
            return step

        await self._wait_for_writers(check_time)
        for step in (of_facilitator, of_notifications, of_webhooks):
            await until_last(step)
        async with self._database.connection() as connection:
            await erased_users.finish(connection, user_id)

    async def _in_transaction(self, step: Callable[[Connection], Awaitable[Step]]) -> Step:
        async with self._database.connection() as connection:
            return await in_transaction(connection, lambda: step(connection))

    async def _wait_for_writers(self, check_time: Callable[[], None]) -> None:
        async with self._database.connection() as connection:
            writers = await connection.fetch(_WRITERS)
        waiting = {row["virtualtransaction"] for row in writers}
        while waiting:
            check_time()
            await asyncio.sleep(PAUSE_SECONDS)
            async with self._database.connection() as connection:
                writers = await connection.fetch(_WRITERS)
            waiting &= {row["virtualtransaction"] for row in writers}

    async def _delete_mail_files(self, mail_ids: Collection[UUID]) -> int:
        marks = {str(mail_id)[-MARK_LENGTH:] for mail_id in mail_ids}
        try:
            return await asyncio.to_thread(delete_mail_files, self._mail_directory, marks)
        except OSError as error:
            log.error("mail_files_not_deleted", error=error.strerror)  # noqa: TRY400 (a traceback has file names)
            raise ErasureUnfinished from error
