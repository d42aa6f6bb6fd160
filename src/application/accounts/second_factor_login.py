"""The second step of a login to an account with a second factor."""

from typing import ClassVar

from application.accounts.account_tokens import TRIES_PER_NETWORK
from application.accounts.factor_verification import VerifyFactor
from application.accounts.login import LoggedIn, StartLogin
from application.accounts.password_guesses import SecondFactorGuesses
from application.accounts.ports.second_factors import PasskeyResponse
from application.oauth import fingerprint
from application.ports import Clock, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.errors import Errors, TooManyRequests
from domain.networks import network_of
from domain.second_factors import TICKET_ATTEMPTS, LoginKind, LoginTicket, SecondFactorNotValid, TicketNotValid


@use_case
class CompleteLogin:
    """Completes a login by its ticket and a code or a passkey of the account. Returns the tokens, and for which login.

    - A ticket is valid for five minutes, for five attempts and for one login. It ends with the access to the account.
    - A code of an authenticator app is accepted once, in its time step and those beside it; a recovery code once.
    - Attempts are limited per account and network as those with passwords; tickets that are not valid per network.
    """

    raises: ClassVar[Errors] = (TicketNotValid, SecondFactorNotValid, TooManyRequests)

    open_work: OpenUnitOfWork
    verify_factor: VerifyFactor
    guesses: SecondFactorGuesses
    limiter: RateLimiter
    start_login: StartLogin
    clock: Clock

    async def __call__(self, secret: str, given: str | PasskeyResponse, *, address: str) -> tuple[LoggedIn, LoginKind]:
        network, hashed, now = network_of(address), fingerprint(secret), self.clock.now()
        await self.limiter.take(TRIES_PER_NETWORK, network)
        ticket, user = await self._find(hashed)
        await self.limiter.give_back(TRIES_PER_NETWORK, network)
        guess = await self.guesses.begin(user.email, address)
        async with self.open_work() as work:
            user = await work.users.get_locked(user.id)
            if not user.is_active or user.token_version != ticket.token_version:
                raise TicketNotValid
            if not await work.login_tickets.take_attempt(hashed, now, at_most=TICKET_ATTEMPTS):
                raise TicketNotValid
            if not await self.verify_factor(work, user, given, now):
                await work.commit()
                raise SecondFactorNotValid
            await work.login_tickets.use(hashed, now)
            logged_in = await self.start_login(work, user, address=address)
            await work.commit()
        await self.guesses.guess_succeeded(guess)
        return logged_in, ticket.login

    async def _find(self, hashed: bytes) -> tuple[LoginTicket, User]:
        async with self.open_work() as work:
            ticket = await work.login_tickets.find(hashed, self.clock.now())
            if ticket is None:
                raise TicketNotValid
            return ticket, await work.users.get(ticket.user_id)
