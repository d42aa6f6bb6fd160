"""Export of what is stored about an account, for its owner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Protocol

from application.accounts.access import require_access
from application.accounts.sessions import Actor
from application.ports import Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import UserId
from domain.audit import AuditAction, Audited, AuditedKind
from domain.errors import Errors, TooManyRequests

EXPORTS_PER_ACCOUNT = Limit("export-account", times=5, per=timedelta(days=1))


class Archive(Protocol):
    """Receives an export."""

    async def add_records(self, section: str, records: Sequence[str]) -> None:
        """Records of a section, each as a JSON object. A long section comes in several parts, without others between
        them; one without records in one empty part."""
        ...

    async def add_file(self, name: str, content: bytes) -> None:
        """A file that the account has uploaded. `name` occurs once."""
        ...


class PersonalData(Protocol):
    async def export(self, user_id: UserId, archive: Archive) -> None:
        """Adds all that is stored about an account, as of one moment. Data of other people is left out, as are secrets
        and their hashes. Raises `Unavailable`, also when it takes too long."""
        ...


@dataclass(frozen=True, slots=True)
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
