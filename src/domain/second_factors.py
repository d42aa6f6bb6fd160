"""Second factors of accounts: codes of an authenticator app (TOTP, RFC 6238), passkeys (WebAuthn), recovery codes.

Lengths, lifetimes and attempts: NIST SP 800-63B-4, 3.1.2 and 3.1.4; OWASP ASVS 5.0, 6.5.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.accounts import UserId
from domain.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable

FactorId = NewType("FactorId", UUID)

MAX_FACTORS = 10
"""Of an account."""
MAX_FACTOR_NAME = 60
MAX_CODE = 64
"""Characters of an entered code."""

ENROLMENT_LIFETIME = timedelta(minutes=15)
"""Time to confirm a new factor."""
TICKET_LIFETIME = timedelta(minutes=5)
TICKET_ATTEMPTS = 5


class FactorKind(StrEnum):
    TOTP = "totp"
    PASSKEY = "passkey"


RECOVERY_CODE = "recovery_code"
"""What a login accepts beside the kinds of the account's factors."""


@dataclass(frozen=True, slots=True)
class Factor:
    id: FactorId
    kind: FactorKind
    name: str
    created_at: datetime
    last_used_at: datetime | None


class LoginKind(StrEnum):
    """The login that needs a second factor: its answer with the tokens has its own format."""

    BOOKING_API = "booking_api"
    EVENTS_API = "events_api"
    SESSIONS_API = "sessions_api"
    GOOGLE = "google"


@dataclass(frozen=True, slots=True)
class LoginTicket:
    """A login whose first factor was right. It is not valid any more when the account has another `token_version`."""

    user_id: UserId
    token_version: int
    login: LoginKind


class SecondFactorRequired(Unauthenticated):
    """The first factor was right. `ticket` completes the login with one of `methods` within `TICKET_LIFETIME`."""

    code = "second_factor_required"
    message = "A second factor is required"

    def __init__(self, ticket: str, kinds: Iterable[FactorKind]) -> None:
        """`kinds` of the account's factors."""
        super().__init__()
        self.ticket = ticket
        self.methods = [*sorted({kind.value for kind in kinds}), RECOVERY_CODE]


class SecondFactorRequiredForRole(Forbidden):
    """The operator requires a second factor of the account's role, and it has none."""

    code = "second_factor_required_for_role"
    message = "Your role needs a second factor. Please add one first"


class SecondFactorNotValid(Unauthenticated):
    code = "second_factor_not_valid"
    message = "This code or passkey is not valid, or has been used"


class PasskeyNotValid(Conflict):
    """A new passkey that does not answer a valid challenge, or is of another address."""

    code = "passkey_not_valid"
    message = "This passkey could not be verified. Please start again"


class PasskeyTaken(Conflict):
    code = "passkey_taken"
    message = "This passkey was added already"


class TicketNotValid(Unauthenticated):
    code = "ticket_not_valid"
    message = "This login has expired, was completed or had too many attempts. Please log in again"


class FactorNotFound(NotFound):
    code = "factor_not_found"
    message = "Second factor not found"


class EnrolmentNotFound(NotFound):
    code = "enrolment_not_found"
    message = "There is no such enrolment, or it has expired. Please start again"


class TooManyFactors(Conflict):
    code = "too_many_factors"
    message = f"An account can have {MAX_FACTORS} second factors. Please remove one first"


class NoSecondFactor(Conflict):
    code = "no_second_factor"
    message = "The account has no second factor"


class TotpNotConfigured(Unavailable):
    code = "totp_not_configured"
    message = "Authenticator apps are not configured: the operator has to set TOKEN_ENCRYPTION_KEYS"

    def __init__(self) -> None:
        super().__init__(retry_after=None)


# Codes of authenticator apps

TOTP_SECONDS = 30
TOTP_DIGITS = 6
_TOTP_CODE = re.compile(rf"[0-9]{{{TOTP_DIGITS}}}", re.ASCII)


def accepted_steps(now: datetime, last_step: int | None) -> Sequence[int]:
    """The time steps whose codes are accepted: the present one and its neighbours, because clocks differ, and only
    those after the last one that was used (RFC 6238, 5.2)."""
    present = int(now.timestamp()) // TOTP_SECONDS
    return [step for step in (present - 1, present, present + 1) if last_step is None or step > last_step]


def entered_code(text: str) -> str:
    """Without spaces and hyphens; empty if it is too long."""
    return "" if len(text) > MAX_CODE else "".join(text.split()).replace("-", "").lower()


def is_totp_code(code: str) -> bool:
    return bool(_TOTP_CODE.fullmatch(code))


# Recovery codes

RECOVERY_CODES = 10
RECOVERY_CODE_LENGTH = 24
"""Of 5 bits each. 112 bits and more may be stored as a plain hash (ASVS 6.5.2)."""
RECOVERY_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, without letters that look like others."""
_LOOKALIKES = str.maketrans("oil", "011")


def shown_recovery_code(code: str) -> str:
    """In groups of four."""
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def entered_recovery_code(code: str) -> str:
    """Of an entered code, with the letters that were meant."""
    return code.translate(_LOOKALIKES)
