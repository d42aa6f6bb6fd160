"""The entry of a start of a process."""

from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.audit import SYSTEM, AuditAction, Audited, AuditedKind, Fields


@use_case
class RecordSettings:
    """Records the settings with which a process starts. `settings` has no secrets."""

    open_work: OpenUnitOfWork
    process: str
    settings: Fields

    async def __call__(self) -> None:
        async with self.open_work() as work:
            started = Audited(AuditedKind.SETTINGS, self.process)
            work.audit.record(AuditAction.PROCESS_STARTED, started, after=self.settings, actor=SYSTEM)
            await work.commit()
