"""The second factors of an account: list, add, rename, remove, and its recovery codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from application.accounts.access import require_access
from application.accounts.factor_codes import VerifyCode, replace_recovery_codes
from application.accounts.ports.second_factors import TotpCodes
from application.accounts.reauthentication import Proof, Reauthenticate
from application.accounts.sessions import Actor
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.errors import Errors, Invalid, TooManyRequests
from domain.second_factors import (
    ENROLMENT_LIFETIME,
    MAX_FACTOR_NAME,
    MAX_FACTORS,
    EnrolmentNotFound,
    Factor,
    FactorId,
    FactorNotFound,
    NoSecondFactor,
    TooManyFactors,
    TotpNotConfigured,
    entered_code,
)
from domain.text import line

CONFIRMATIONS_PER_ACCOUNT = Limit("second-factor-confirmation", times=30, per=timedelta(hours=1))
"""Wrong codes."""


@dataclass(frozen=True, slots=True)
class FactorsOfAccount:
    """`recovery_codes`: the number of those that are not used."""

    factors: Sequence[Factor]
    recovery_codes: int


@use_case
class ListFactors:
    """The second factors of the calling account, oldest first."""

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork

    async def __call__(self, actor: Actor) -> FactorsOfAccount:
        async with self.open_work() as work:
            factors = await work.second_factors.of(actor.user.id)
            return FactorsOfAccount(factors, await work.second_factors.count_recovery_codes(actor.user.id))


@dataclass(frozen=True, slots=True)
class StartedEnrolment:
    """What an authenticator app needs: the secret in base 32, or the `uri` as a QR code."""

    id: FactorId
    secret: str
    uri: str
    expires_at: datetime


@use_case
class StartTotpEnrolment:
    """Creates the secret of an authenticator app. It is a second factor after a code has confirmed it, within 15
    minutes; starting again replaces it. The person proves that the account is theirs."""

    raises: ClassVar[Errors] = (*Reauthenticate.raises, TooManyFactors, TotpNotConfigured)

    open_work: OpenUnitOfWork
    reauthenticate: Reauthenticate
    totp: TotpCodes
    clock: Clock

    async def __call__(self, actor: Actor, proof: Proof, *, name: str, address: str) -> StartedEnrolment:
        name = line("name", name, at_most=MAX_FACTOR_NAME)
        await self.reauthenticate(actor, proof, address=address)
        secret, now = self.totp.new_secret(), self.clock.now()
        async with self.open_work() as work:
            await require_access(work, actor.user)
            await require_room(work, actor.user)
            factor_id = await work.second_factors.add_totp(actor.user.id, name, secret, now)
            await work.commit()
        return StartedEnrolment(factor_id, secret, self.totp.uri(secret, actor.user.email), now + ENROLMENT_LIFETIME)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """`recovery_codes`: None if the account had a factor before."""

    factor: Factor
    recovery_codes: Sequence[str] | None


@use_case
class ConfirmTotpEnrolment:
    """Confirms a new authenticator app by a code, which cannot be used again. With the first factor the account gets
    recovery codes. The owner gets a mail."""

    raises: ClassVar[Errors] = (EnrolmentNotFound, TooManyFactors, TooManyRequests)

    open_work: OpenUnitOfWork
    verify_code: VerifyCode
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, actor: Actor, factor_id: FactorId, code: str) -> Enrolled:
        user, now = actor.user, self.clock.now()
        await self.limiter.take(CONFIRMATIONS_PER_ACCOUNT, str(user.id))
        async with self.open_work() as work:
            await require_access(work, user)
            await require_room(work, user)
            secret = await work.second_factors.find_enrolment(user.id, factor_id, since=now - ENROLMENT_LIFETIME)
            if secret is None:
                raise EnrolmentNotFound
            step = self.verify_code.matching_step(secret, entered_code(code), now)
            if step is None:
                raise Invalid({"code": "Is not the present code of the app"})
            factor = await work.second_factors.confirm_totp(user.id, factor_id, step, now)
            enrolled = await enrol(work, user, factor, now)
            await work.commit()
        self.wake_ups.notify()
        await self.limiter.give_back(CONFIRMATIONS_PER_ACCOUNT, str(user.id))
        return enrolled


@use_case
class RenameFactor:
    """Renames a second factor. The person proves that the account is theirs."""

    raises: ClassVar[Errors] = (*Reauthenticate.raises, FactorNotFound)

    open_work: OpenUnitOfWork
    reauthenticate: Reauthenticate

    async def __call__(self, actor: Actor, proof: Proof, factor_id: FactorId, *, name: str, address: str) -> Factor:
        name = line("name", name, at_most=MAX_FACTOR_NAME)
        await self.reauthenticate(actor, proof, address=address)
        async with self.open_work() as work:
            await require_access(work, actor.user)
            renamed = await work.second_factors.rename(actor.user.id, factor_id, name)
            if renamed is None:
                raise FactorNotFound
            await work.commit()
        return renamed


@use_case
class RemoveFactor:
    """Removes a second factor; with the last one the recovery codes. The person proves that the account is theirs, and
    gets a mail."""

    raises: ClassVar[Errors] = (*Reauthenticate.raises, FactorNotFound)

    open_work: OpenUnitOfWork
    reauthenticate: Reauthenticate
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, actor: Actor, proof: Proof, factor_id: FactorId, *, address: str) -> None:
        await self.reauthenticate(actor, proof, address=address)
        user = actor.user
        async with self.open_work() as work:
            await require_access(work, user)
            if not await work.second_factors.remove(user.id, factor_id):
                raise FactorNotFound
            if not await work.second_factors.of(user.id):
                await work.second_factors.replace_recovery_codes(user.id, [], self.clock.now())
            await work.messages.enqueue_second_factor_changed(user.id)
            await work.commit()
        self.wake_ups.notify()


@use_case
class ReplaceRecoveryCodes:
    """Ten new recovery codes in place of the present ones. The person proves that the account is theirs, and gets a
    mail."""

    raises: ClassVar[Errors] = (*Reauthenticate.raises, NoSecondFactor)

    open_work: OpenUnitOfWork
    reauthenticate: Reauthenticate
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, actor: Actor, proof: Proof, *, address: str) -> Sequence[str]:
        await self.reauthenticate(actor, proof, address=address)
        user = actor.user
        async with self.open_work() as work:
            await require_access(work, user)
            if not await work.second_factors.of(user.id):
                raise NoSecondFactor
            codes = await replace_recovery_codes(work, user, self.clock.now())
            await work.messages.enqueue_second_factor_changed(user.id)
            await work.commit()
        self.wake_ups.notify()
        return codes


async def require_room(work: UnitOfWork, user: User) -> None:
    """Raises `TooManyFactors`."""
    if len(await work.second_factors.of(user.id)) >= MAX_FACTORS:
        raise TooManyFactors


async def enrol(work: UnitOfWork, user: User, factor: Factor, now: datetime) -> Enrolled:
    """What follows from a new factor of the account."""
    is_first = len(await work.second_factors.of(user.id)) == 1
    codes = await replace_recovery_codes(work, user, now) if is_first else None
    await work.messages.enqueue_second_factor_changed(user.id)
    return Enrolled(factor, codes)
