"""Verification of second factors: a code, or the answer of a passkey."""

from datetime import datetime

from application.accounts.factor_codes import VerifyCode
from application.accounts.ports.second_factors import PasskeyResponse, PasskeyVerifier
from application.oauth import fingerprint
from application.unit_of_work import UnitOfWork
from application.use_cases import use_case
from domain.account_tokens import TokenKind
from domain.accounts import User
from domain.audit import AuditAction
from domain.audit_effects import account
from domain.second_factors import PasskeyNotValid


@use_case
class VerifyPasskey:
    """Verifies the answer of a passkey of the account, which is locked, and uses its challenge."""

    verifier: PasskeyVerifier

    async def __call__(self, work: UnitOfWork, user: User, response: PasskeyResponse, now: datetime) -> bool:
        try:
            challenge, credential_id = self.verifier.challenge(response), self.verifier.credential_id(response)
            if not await use_challenge(work, user, TokenKind.USE_PASSKEY, challenge, now):
                return False
            for stored in await work.second_factors.find_passkeys(user.id):
                if stored.passkey.credential_id == credential_id:
                    sign_count = self.verifier.verify(response, challenge, stored.passkey)
                    await work.second_factors.use_passkey(stored.id, sign_count, now)
                    return True
        except PasskeyNotValid:
            return False
        return False


@use_case
class VerifyFactor:
    """Verifies and uses a code or the answer of a passkey. The account is locked. What is not valid is recorded."""

    code: VerifyCode
    passkey: VerifyPasskey

    async def __call__(self, work: UnitOfWork, user: User, given: str | PasskeyResponse, now: datetime) -> bool:
        if isinstance(given, str):
            is_valid = await self.code(work, user, given, now)
        else:
            is_valid = await self.passkey(work, user, given, now)
        if not is_valid:
            work.audit.record(AuditAction.FACTOR_FAILED, account(user.id))
        return is_valid


async def use_challenge(work: UnitOfWork, user: User, kind: TokenKind, challenge: str, now: datetime) -> bool:
    used = await work.account_tokens.use(fingerprint(challenge), kind, now)
    return used is not None and used.user_id == user.id
