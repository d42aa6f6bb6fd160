"""Composition of what people do with their own accounts."""

from dataclasses import dataclass
from datetime import timedelta

from application.accounts.email_change import ChangeEmail, RequestEmailChange, UndoEmailChange
from application.accounts.export import ExportAccount
from application.accounts.owner import ConfirmOwner
from application.accounts.password_guesses import PasswordGuesses
from application.accounts.ports.accounts import PasswordHasher
from application.accounts.profile import UpdateProfile
from application.accounts.sessions import EndSession, ListSessions
from application.accounts.verification import ResendVerification, VerifyEmail
from application.erasure.requests import EraseOwnAccount, RequestErasure
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from infrastructure.container.foundation import request_tokens
from infrastructure.postgres.accounts.personal_data_queries import PostgresPersonalData
from infrastructure.postgres.accounts.sessions import PostgresSessionQueries
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OwnAccount:
    update_profile: UpdateProfile
    export_account: ExportAccount
    erase_own_account: EraseOwnAccount
    verify_email: VerifyEmail
    resend_verification: ResendVerification
    list_sessions: ListSessions
    end_session: EndSession
    request_email_change: RequestEmailChange
    change_email: ChangeEmail
    undo_email_change: UndoEmailChange


def build_own_account(
    settings: Settings,
    database: Database,
    open_work: OpenUnitOfWork,
    hasher: PasswordHasher,
    guesses: PasswordGuesses,
    wake_ups: WakeUps,
    clock: Clock,
    request_erasure: RequestErasure,
) -> OwnAccount:
    limiter = guesses.limiter
    confirm_owner = ConfirmOwner(open_work, hasher, guesses, clock)
    return OwnAccount(
        update_profile=UpdateProfile(open_work),
        export_account=ExportAccount(open_work, PostgresPersonalData(database), limiter),
        erase_own_account=EraseOwnAccount(confirm_owner, request_erasure),
        verify_email=VerifyEmail(open_work, limiter, clock),
        resend_verification=ResendVerification(open_work, limiter, wake_ups),
        list_sessions=ListSessions(
            PostgresSessionQueries(database),
            clock,
            session_lifetime=timedelta(days=settings.session_max_days),
            access_lifetime=timedelta(hours=settings.jwt_expires_hours),
        ),
        end_session=EndSession(open_work, clock),
        request_email_change=RequestEmailChange(
            open_work,
            confirm_owner,
            request_tokens(settings),
            limiter,
            wake_ups,
            clock,
            smtputf8=settings.mail_smtputf8,
        ),
        change_email=ChangeEmail(open_work, limiter, wake_ups, clock),
        undo_email_change=UndoEmailChange(open_work, limiter, wake_ups, clock),
    )
