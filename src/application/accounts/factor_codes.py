"""Verification of codes: those of authenticator apps, and recovery codes."""

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from application.accounts.ports.second_factors import TotpCodes
from application.oauth import fingerprint
from application.unit_of_work import UnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.second_factors import (
    RECOVERY_ALPHABET,
    RECOVERY_CODE_LENGTH,
    RECOVERY_CODES,
    accepted_steps,
    entered_code,
    entered_recovery_code,
    is_totp_code,
    shown_recovery_code,
)


@use_case
class VerifyCode:
    """Verifies and uses a code of the account, which is locked. Each code is accepted once."""

    totp: TotpCodes

    async def __call__(self, work: UnitOfWork, user: User, text: str, now: datetime) -> bool:
        code = entered_code(text)
        if not is_totp_code(code):
            return await work.second_factors.use_recovery_code(user.id, fingerprint(entered_recovery_code(code)), now)
        for factor in await work.second_factors.find_totp(user.id):
            step = self.matching_step(factor.secret, code, now, factor.last_step)
            if step is not None and await work.second_factors.use_totp(factor.id, step, now):
                return True
        return False

    def matching_step(self, secret: str, code: str, now: datetime, last_step: int | None = None) -> int | None:
        """The time step of this code, if it is accepted."""
        matching = [
            step
            for step in accepted_steps(now, last_step)
            if hmac.compare_digest(self.totp.code(secret, step).encode(), code.encode())
        ]
        return matching[0] if matching else None


async def replace_recovery_codes(work: UnitOfWork, user: User, now: datetime) -> Sequence[str]:
    """New recovery codes, which are stored as hashes."""
    codes = [
        "".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_CODE_LENGTH)) for _ in range(RECOVERY_CODES)
    ]
    await work.second_factors.replace_recovery_codes(user.id, [fingerprint(code) for code in codes], now)
    return [shown_recovery_code(code) for code in codes]
