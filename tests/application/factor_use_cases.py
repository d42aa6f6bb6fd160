"""The use cases of second factors, and what a person does with them."""

from application.accounts.external_identity import SignInWithIdentity
from application.accounts.factor_codes import VerifyCode
from application.accounts.factor_verification import VerifyFactor, VerifyPasskey
from application.accounts.login import LoggedIn
from application.accounts.owner import ConfirmOwner
from application.accounts.passkeys import AddPasskey, ChallengePasskeys, ChallengePasskeysOfLogin, StartPasskey
from application.accounts.password_guesses import SecondFactorGuesses
from application.accounts.ports.second_factors import PasskeyResponse
from application.accounts.reauthentication import Proof, Reauthenticate
from application.accounts.second_factor_login import CompleteLogin
from application.accounts.second_factors import (
    ConfirmTotpEnrolment,
    Enrolled,
    ListFactors,
    RemoveFactor,
    RenameFactor,
    ReplaceRecoveryCodes,
    StartTotpEnrolment,
)
from application.accounts.sessions import Actor
from domain.external_identity import ExternalIdentity
from domain.second_factors import TOTP_SECONDS, SecondFactorRequired
from tests.application.account_mails import AccountMails
from tests.support.memory.account_use_cases import ADDRESS, PASSWORD
from tests.support.memory.passkeys import MemoryAuthenticator, MemoryPasskeys
from tests.support.memory.second_factors import MemoryTotpCodes

BY_PASSWORD = Proof(password=PASSWORD)
OF_GOOGLE = ExternalIdentity("google", "a subject", "google@example.com", True, "Ada", None)


class FactorUseCases(AccountMails):
    def __init__(self) -> None:
        super().__init__()
        self.totp = MemoryTotpCodes()
        codes = VerifyCode(self.totp)
        self.passkeys = MemoryPasskeys()
        verify = VerifyFactor(codes, VerifyPasskey(self.passkeys))
        guesses = SecondFactorGuesses(self.guesses.accounts, self.limiter, self.known_networks)
        self.reauthenticate = Reauthenticate(
            self.units, ConfirmOwner(self.units, self.hasher, self.guesses, self.clock), guesses, verify, self.clock
        )
        self.complete = CompleteLogin(self.units, verify, guesses, self.limiter, self.start_login, self.clock)
        self.list_factors = ListFactors(self.units)
        self.start = StartTotpEnrolment(self.units, self.reauthenticate, self.totp, self.clock)
        self.confirm = ConfirmTotpEnrolment(self.units, codes, self.limiter, self.wake_ups, self.clock)
        self.rename = RenameFactor(self.units, self.reauthenticate)
        self.remove = RemoveFactor(self.units, self.reauthenticate, self.wake_ups, self.clock)
        self.replace_codes = ReplaceRecoveryCodes(self.units, self.reauthenticate, self.wake_ups, self.clock)
        self.start_passkey = StartPasskey(self.units, self.reauthenticate, self.passkeys, self.clock)
        self.add_passkey = AddPasskey(self.units, self.passkeys, self.wake_ups, self.clock)
        self.challenge = ChallengePasskeys(self.units, self.passkeys, self.clock)
        self.challenge_login = ChallengePasskeysOfLogin(self.units, self.passkeys, self.limiter, self.clock)
        self.sign_in = SignInWithIdentity(self.units, self.start_login, self.wake_ups, self.clock)
        self.secret = ""
        """Of the app that was enrolled last."""

    def code(self, *, steps: int = 0, secret: str | None = None) -> str:
        """The present code of an app, or one of another time step."""
        step = int(self.clock.now().timestamp()) // TOTP_SECONDS + steps
        return self.totp.code(secret or self.secret, step)

    async def has_app(self, actor: Actor, proof: Proof = BY_PASSWORD, *, name: str = "Phone") -> Enrolled:
        """Afterwards the next code is accepted."""
        started = await self.start(actor, proof, name=name, address=ADDRESS)
        self.secret = started.secret
        return await self.confirm(actor, started.id, self.code(steps=-1))

    async def has_passkey(
        self, actor: Actor, authenticator: MemoryAuthenticator, proof: Proof = BY_PASSWORD
    ) -> Enrolled:
        options = await self.start_passkey(actor, proof, address=ADDRESS)
        return await self.add_passkey(actor, authenticator.create(options), name="Laptop")

    async def ticket(self, *, password: str = PASSWORD, address: str = ADDRESS) -> str:
        """Of a login by password, which needs a second factor."""
        try:
            await self.has_logged_in(password=password, address=address)
        except SecondFactorRequired as required:
            return required.ticket
        raise AssertionError("no second factor was required")

    async def completes(self, given: str | PasskeyResponse, *, ticket: str | None = None) -> LoggedIn:
        logged_in, _ = await self.complete(ticket or await self.ticket(), given, address=ADDRESS)
        return logged_in
