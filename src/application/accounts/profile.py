"""The profile and the password of an account."""

from dataclasses import replace
from typing import ClassVar

from application.accounts.access import end_access
from application.accounts.password_guesses import PasswordGuesses
from application.accounts.ports.accounts import PasswordHasher
from application.accounts.sessions import Actor
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import (
    MAX_NAME,
    InvalidCredentials,
    PasswordPolicy,
    User,
    acceptable_password,
    normalised_password,
)
from domain.availability import zone_of
from domain.credentials import AccessEnd
from domain.errors import Errors, TooManyRequests
from domain.text import line, optional_line


@use_case
class ChangePassword:
    """Sets a new password after checking the current one. It ends every login, including this one, and revokes the
    secret address of the calendar feed, and the owner gets a mail. Wrong passwords count towards the limits of
    logins."""

    raises: ClassVar[Errors] = (InvalidCredentials, TooManyRequests)

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    guesses: PasswordGuesses
    wake_ups: WakeUps
    clock: Clock
    policy: PasswordPolicy

    async def __call__(self, actor: Actor, *, current: str, new: str, address: str) -> None:
        user = actor.user
        new = acceptable_password(new, self.policy, context=(user.name, user.email))
        guess = await self.guesses.begin(user.email, address)
        present = guess.credentials.password_hash if guess.credentials else None
        if not await self.hasher.verify(normalised_password(current), present):
            raise InvalidCredentials
        await self.guesses.guess_succeeded(guess)
        password_hash = await self.hasher.hash(new)
        async with self.open_work() as work:
            locked = await work.users.get_locked(user.id)
            credentials = await work.users.find_credentials(user.email)
            if credentials is None or credentials.password_hash != present:
                raise InvalidCredentials  # it was changed or removed while the hash was computed
            await work.users.set_password(user.id, password_hash)
            await end_access(work, locked, AccessEnd.PASSWORD_CHANGED, self.clock.now())
            await work.messages.enqueue_password_changed(user.id)
            await work.commit()
        self.wake_ups.notify()


@use_case
class UpdateProfile:
    """Changes the name, the phone number and the time zone of mails. Omitted fields stay; an empty phone number or time
    zone is removed."""

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork

    async def __call__(self, actor: Actor, *, name: str | None, phone: str | None, timezone: str | None = None) -> User:
        async with self.open_work() as work:
            user = await work.users.get_locked(actor.user.id)
            if name is not None and name != user.name:
                user = replace(user, name=line("name", name, at_most=MAX_NAME))
            if phone is not None and phone != user.phone:
                user = replace(user, phone=optional_line("phone", phone, at_most=40))
            if timezone is not None:
                user = replace(user, timezone=zone_of(timezone).key if timezone else None)
            await work.users.save(user)
            await work.commit()
        return user
