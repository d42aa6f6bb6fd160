"""Export of what is stored about an account, for its owner."""

from datetime import timedelta
from typing import ClassVar

from application.accounts.access import require_access
from application.accounts.ports.accounts import Archive, PersonalData
from application.accounts.sessions import Actor
from application.ports import Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.audit import AuditAction, Audited, AuditedKind
from domain.errors import Errors, TooManyRequests

EXPORTS_PER_ACCOUNT = Limit("export-account", times=5, per=timedelta(days=1))


@use_case
class ExportAccount:
    """Exports what is stored about the calling account, at most five times a day. The audit log records it."""

    raises: ClassVar[Errors] = (TooManyRequests,)

    open_work: OpenUnitOfWork
    personal_data: PersonalData
    limiter: RateLimiter

    async def __call__(self, actor: Actor, archive: Archive) -> None:
        user = actor.user
        await self.limiter.take(EXPORTS_PER_ACCOUNT, str(user.id))
        async with self.open_work() as work:
            await require_access(work, user)
            work.audit.record(AuditAction.ACCOUNT_EXPORTED, Audited(AuditedKind.ACCOUNT, str(user.id)))
            await work.commit()
        await self.personal_data.export(user.id, archive)
