"""Proof by the signed-in person that the account is theirs, before its second factors change (ASVS 7.5.1)."""

from dataclasses import dataclass
from typing import ClassVar

from application.accounts.access import require_access
from application.accounts.factor_verification import VerifyFactor
from application.accounts.owner import ConfirmOwner
from application.accounts.password_guesses import SecondFactorGuesses
from application.accounts.ports.second_factors import PasskeyResponse
from application.accounts.sessions import Actor
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.errors import Errors
from domain.second_factors import SecondFactorNotValid


@dataclass(frozen=True, slots=True)
class Proof:
    """One of them; a second factor if there is also a password."""

    password: str | None = None
    factor: str | PasskeyResponse | None = None
    """A code, or the answer of a passkey."""


@use_case
class Reauthenticate:
    """Verifies a second factor, or else confirms the owner without one. Attempts are limited as at the login."""

    raises: ClassVar[Errors] = (SecondFactorNotValid, *ConfirmOwner.raises)

    open_work: OpenUnitOfWork
    confirm_owner: ConfirmOwner
    guesses: SecondFactorGuesses
    verify_factor: VerifyFactor
    clock: Clock

    async def __call__(self, actor: Actor, proof: Proof, *, address: str) -> None:
        if proof.factor is None:
            await self.confirm_owner(actor, password=proof.password, address=address)
            return
        guess = await self.guesses.begin(actor.user.email, address)
        async with self.open_work() as work:
            await require_access(work, actor.user)
            is_valid = await self.verify_factor(work, actor.user, proof.factor, self.clock.now())
            await work.commit()
        if not is_valid:
            raise SecondFactorNotValid
        await self.guesses.guess_succeeded(guess)
