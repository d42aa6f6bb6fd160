"""Composition of second factors."""

from dataclasses import dataclass

from application.accounts.factor_codes import VerifyCode
from application.accounts.factor_verification import VerifyFactor, VerifyPasskey
from application.accounts.login import StartLogin
from application.accounts.owner import ConfirmOwner
from application.accounts.passkeys import AddPasskey, ChallengePasskeys, ChallengePasskeysOfLogin, StartPasskey
from application.accounts.password_guesses import PasswordGuesses, SecondFactorGuesses
from application.accounts.ports.accounts import PasswordHasher
from application.accounts.reauthentication import Reauthenticate
from application.accounts.second_factor_login import CompleteLogin
from application.accounts.second_factors import (
    ConfirmTotpEnrolment,
    ListFactors,
    RemoveFactor,
    RenameFactor,
    ReplaceRecoveryCodes,
    StartTotpEnrolment,
)
from application.accounts.sessions import RequiredFactors
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import Role
from infrastructure.auth.passkeys import WebAuthnPasskeys
from infrastructure.auth.totp import PyotpCodes
from infrastructure.postgres.accounts.second_factors import PostgresFactorQueries
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SecondFactors:
    """Use cases for HTTP handlers."""

    complete_login: CompleteLogin
    list_factors: ListFactors
    start_totp_enrolment: StartTotpEnrolment
    confirm_totp_enrolment: ConfirmTotpEnrolment
    rename_factor: RenameFactor
    remove_factor: RemoveFactor
    replace_recovery_codes: ReplaceRecoveryCodes
    start_passkey: StartPasskey
    add_passkey: AddPasskey
    challenge_passkeys: ChallengePasskeys
    challenge_passkeys_of_login: ChallengePasskeysOfLogin


def required_factors(settings: Settings, database: Database) -> RequiredFactors | None:
    """None if no role needs a second factor."""
    roles = frozenset(map(Role, settings.mfa_required_roles))
    return RequiredFactors(roles, PostgresFactorQueries(database)) if roles else None


def build_second_factors(
    public_url: str,
    open_work: OpenUnitOfWork,
    hasher: PasswordHasher,
    guesses: PasswordGuesses,
    start_login: StartLogin,
    wake_ups: WakeUps,
    clock: Clock,
) -> SecondFactors:
    totp = PyotpCodes()
    verify_code = VerifyCode(totp)
    passkeys = WebAuthnPasskeys(public_url)
    verify_factor = VerifyFactor(verify_code, VerifyPasskey(passkeys))
    factor_guesses = SecondFactorGuesses(guesses.accounts, guesses.limiter, guesses.known_networks)
    confirm_owner = ConfirmOwner(open_work, hasher, guesses, clock)
    reauthenticate = Reauthenticate(open_work, confirm_owner, factor_guesses, verify_factor, clock)
    return SecondFactors(
        complete_login=CompleteLogin(open_work, verify_factor, factor_guesses, guesses.limiter, start_login, clock),
        list_factors=ListFactors(open_work),
        start_totp_enrolment=StartTotpEnrolment(open_work, reauthenticate, totp, clock),
        confirm_totp_enrolment=ConfirmTotpEnrolment(open_work, verify_code, guesses.limiter, wake_ups, clock),
        rename_factor=RenameFactor(open_work, reauthenticate),
        remove_factor=RemoveFactor(open_work, reauthenticate, wake_ups, clock),
        replace_recovery_codes=ReplaceRecoveryCodes(open_work, reauthenticate, wake_ups, clock),
        start_passkey=StartPasskey(open_work, reauthenticate, passkeys, clock),
        add_passkey=AddPasskey(open_work, passkeys, wake_ups, clock),
        challenge_passkeys=ChallengePasskeys(open_work, passkeys, clock),
        challenge_passkeys_of_login=ChallengePasskeysOfLogin(open_work, passkeys, guesses.limiter, clock),
    )
