"""The use cases of accounts, and the mails that a worker sends for them."""

from collections.abc import Sequence

from application.accounts.mails import MailWithAccountTokens
from application.accounts.recovery import RequestPasswordReset, ResetPassword, SetPassword
from application.accounts.sessions import Actor
from application.accounts.verification import ResendVerification, VerifyEmail
from domain.accounts import PasswordPolicy, User
from domain.outbox import Destination, Outcome
from tests.application.deliveries import AnsweringSender, attempt_each
from tests.support.memory.account_use_cases import AccountUseCases
from tests.support.memory.claims import MemoryOutboxClaims

NOT_SENT = "not sent: there is no such account, or it has changed"


class AccountMails(AccountUseCases):
    def __init__(self) -> None:
        super().__init__()
        self.verify = VerifyEmail(self.units, self.limiter, self.clock)
        self.resend = ResendVerification(self.units, self.limiter, self.wake_ups)
        self.forgot = RequestPasswordReset(self.units, self.limiter, self.wake_ups)
        self.reset = self.resetting(PasswordPolicy.CONTRACT)
        self.set_password = SetPassword(self.units, self.hasher, self.wake_ups, self.clock, PasswordPolicy.CONTRACT)
        self.mail = AnsweringSender()
        self.sender = MailWithAccountTokens(self.mail, self.units, self.clock)

    def resetting(self, policy: PasswordPolicy) -> ResetPassword:
        return ResetPassword(self.units, self.hasher, self.limiter, self.wake_ups, self.clock, policy)

    async def outcomes(self) -> Sequence[Outcome]:
        """Those of the mails that are due."""
        return await attempt_each(MemoryOutboxClaims(self.store, self.clock), Destination.EMAIL, self.sender)

    async def mailed_token(self) -> str:
        """That of the last mail."""
        while await self.outcomes():
            pass
        token: str = self.mail.received[-1].payload["token"]
        return token

    async def signed_in(self) -> Actor:
        return await self.is_authenticated(await self.has_logged_in())

    def change(self, user: User) -> None:
        self.store.tables.of("users")[user.id] = user
