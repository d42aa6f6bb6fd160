"""Registration of accounts."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

from application.accounts.login import LoggedIn, LogIn, StartLogin
from application.accounts.ports.accounts import PasswordHasher
from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import (
    MAX_BIO,
    MAX_NAME,
    EmailTaken,
    FacilitatorRegistration,
    FacilitatorRegistrationClosed,
    InvalidCredentials,
    PasswordPolicy,
    Role,
    User,
    UserId,
    acceptable_password,
    check_mailable,
    require_self_assignable,
)
from domain.errors import Errors, TooManyRequests
from domain.networks import network_of
from domain.second_factors import LoginKind, SecondFactorRequired
from domain.text import line, optional_line, text_with_lines

REGISTRATIONS_PER_ACCOUNT = Limit("register-account", times=10, per=timedelta(hours=1))

REGISTRATIONS_PER_ADDRESS = Limit("register-address", times=200, per=timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Registration:
    """The entered data of a registration. `bio` and `specialization` are for facilitators."""

    email: str
    password: str
    name: str
    role: Role
    bio: str | None = None
    specialization: str | None = None
    requested_role: Role | None = None
    """The role that an operator has to approve."""

    def tidied(self, policy: PasswordPolicy) -> "Registration":
        """Raises `Invalid` naming the field."""
        name = line("name", self.name, at_most=MAX_NAME)
        return replace(
            self,
            name=name,
            password=acceptable_password(self.password, policy, context=(name, self.email)),
            bio=text_with_lines("bio", self.bio, at_most=MAX_BIO) if self.bio is not None else None,
            specialization=optional_line("specialization", self.specialization, at_most=MAX_NAME),
        )


@use_case
class Register:
    """Registers a new user account.

    - The e-mail is unique in normalised form (NFC, lower case, IDNA 2008); a second account with it is rejected.
    - Letters beyond ASCII before the @ are rejected unless the mail server accepts them (`smtputf8`).
    - The role is `user` or `facilitator`, never `admin`.
    - If the operator approves facilitators, a new one registers as `user` with `requested_role`. If registration as a
      facilitator is closed, it is rejected.
    - The password has 8 to 128 characters after NFKC; stricter with `PASSWORD_POLICY=strict`.
    - A facilitator gets a profile with the given `bio` and `specialization`.
    - Registrations are limited per e-mail and per network address.
    - The address gets a mail with a link that verifies it.
    """

    raises: ClassVar[Errors] = (FacilitatorRegistrationClosed, EmailTaken, TooManyRequests)

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock
    policy: PasswordPolicy
    smtputf8: bool = False
    facilitators: FacilitatorRegistration = FacilitatorRegistration.OPEN
    by_operator: ClassVar[bool] = False

    async def __call__(self, registration: Registration, *, address: str) -> User:
        if (made := recorded_result()) is not None:
            async with self.open_work() as work:
                return await work.users.get(UserId(made))
        registration, password_hash = await self.check(registration, address)
        async with self.open_work() as work:
            user = await self.add(work, registration, password_hash)
            await work.commit(made=user.id)
        self.wake_ups.notify()
        return user

    async def check(self, registration: Registration, address: str) -> tuple[Registration, str]:
        """The registration as it will be stored, and the hash of the password."""
        check_mailable(registration.email, smtputf8=self.smtputf8)
        if not self.by_operator:
            require_self_assignable(registration.role)
        registration = registration.tidied(self.policy)
        role, requested_role = self.facilitators.admit(registration.role)
        registration = replace(registration, role=role, requested_role=requested_role)
        await self.limiter.take(REGISTRATIONS_PER_ADDRESS, network_of(address))
        await self.limiter.take(REGISTRATIONS_PER_ACCOUNT, registration.email)
        return registration, await self.hasher.hash(registration.password)

    async def add(self, work: UnitOfWork, registration: Registration, password_hash: str) -> User:
        user = await work.users.add(
            email=registration.email,
            name=registration.name,
            role=registration.role,
            requested_role=registration.requested_role,
            password_hash=password_hash,
            now=self.clock.now(),
        )
        if self.by_operator:
            user = replace(user, is_verified=True)
            await work.users.save(user)
        else:
            await work.messages.enqueue_email_verification(user.id)
        if Role.FACILITATOR in {registration.role, registration.requested_role}:
            await work.profiles.add(user.id, bio=registration.bio, specialization=registration.specialization)
        return user


@use_case
class CreateAccount(Register):
    """Creates a new user account as an operator, who decides on roles: registration as a facilitator is open. Its
    address counts as verified."""

    by_operator: ClassVar[bool] = True


@use_case
class RegisterAndLogIn:
    """Registers a new user account and logs it in, in one transaction. Repeated with the same idempotency key, it logs
    in to that account."""

    raises: ClassVar[Errors] = (
        FacilitatorRegistrationClosed,
        EmailTaken,
        InvalidCredentials,
        SecondFactorRequired,
        TooManyRequests,
    )

    open_work: OpenUnitOfWork
    register: Register
    start_login: StartLogin
    log_in: LogIn

    async def __call__(
        self, registration: Registration, *, address: str, login: LoginKind = LoginKind.BOOKING_API
    ) -> LoggedIn:
        if recorded_result() is not None:
            return await self.log_in(
                email=registration.email, password=registration.password, address=address, login=login
            )
        registration, password_hash = await self.register.check(registration, address)
        async with self.open_work() as work:
            user = await self.register.add(work, registration, password_hash)
            logged_in = await self.start_login(work, user, address=address)
            await work.commit(made=user.id)
        self.register.wake_ups.notify()
        return logged_in
