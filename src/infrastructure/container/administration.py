"""Use cases of admins and operators: accounts, messages of the outbox, the audit log."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from application.accounts.administration import ApproveFacilitator, GrantRole, ResetSecondFactors, SetAccountActive
from application.accounts.ports.accounts import AccountQueries
from application.audit.reading import ReadAuditLog
from application.erasure.requests import RequestErasure
from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.outbox.ports import DeadLetters, WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from infrastructure.container.foundation import audit_trails
from infrastructure.postgres.accounts.queries import PostgresAccountQueries
from infrastructure.postgres.audit.queries import PostgresAuditQueries
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Administration:
    account_queries: AccountQueries
    grant_role: GrantRole
    approve_facilitator: ApproveFacilitator
    set_account_active: SetAccountActive
    request_erasure: RequestErasure
    reset_second_factors: ResetSecondFactors
    dead_letters: DeadLetters
    replay_message: ReplayMessage
    replay_messages: ReplayMessages
    read_audit_log: ReadAuditLog


def build_administration(
    settings: Settings,
    database: Database,
    open_work: OpenUnitOfWork,
    wake_ups: WakeUps,
    clock: Clock,
    expire_holds: Sequence[Callable[[], Awaitable[int]]],
) -> Administration:
    dead_letters = PostgresDeadLetters(database, audit_trails(settings))
    return Administration(
        account_queries=PostgresAccountQueries(database),
        grant_role=GrantRole(open_work, clock),
        approve_facilitator=ApproveFacilitator(open_work, clock),
        set_account_active=SetAccountActive(open_work, expire_holds, clock),
        request_erasure=RequestErasure(open_work, wake_ups, clock, timedelta(days=settings.erasure_grace_days)),
        reset_second_factors=ResetSecondFactors(open_work, wake_ups, clock),
        dead_letters=dead_letters,
        replay_message=ReplayMessage(dead_letters, wake_ups),
        replay_messages=ReplayMessages(dead_letters, wake_ups),
        read_audit_log=ReadAuditLog(open_work, PostgresAuditQueries(database)),
    )
