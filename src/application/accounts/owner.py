"""Confirmation of the owner, for requests that a copied access token must not suffice for."""

from typing import ClassVar

from application.accounts.password_guesses import PasswordGuesses
from application.accounts.ports.accounts import PasswordHasher
from application.accounts.sessions import Actor
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import RECENT_SIGN_IN, InvalidCredentials, RecentSignInRequired, normalised_password
from domain.errors import Errors, TooManyRequests


@use_case
class ConfirmOwner:
    """Checks the password of the calling account. For an account without one, which signs in with Google alone, the
    present session must have begun in the last five minutes. Wrong passwords count towards the limits of logins."""

    raises: ClassVar[Errors] = (InvalidCredentials, RecentSignInRequired, TooManyRequests)

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    guesses: PasswordGuesses
    clock: Clock

    async def __call__(self, actor: Actor, *, password: str | None, address: str) -> None:
        guess = await self.guesses.begin(actor.user.email, address)
        stored = guess.credentials.password_hash if guess.credentials else None
        if stored is None:
            await self._require_recent_sign_in(actor)
        elif password is None or not await self.hasher.verify(normalised_password(password), stored):
            raise InvalidCredentials
        await self.guesses.guess_succeeded(guess)

    async def _require_recent_sign_in(self, actor: Actor) -> None:
        async with self.open_work() as work:
            started_at = await work.logins.get_start(actor.login_id)
        if self.clock.now() - started_at > RECENT_SIGN_IN:
            raise RecentSignInRequired
