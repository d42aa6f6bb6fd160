"""User accounts: roles, registration of facilitators, password rules."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated

RECENT_SIGN_IN = timedelta(minutes=5)
"""How long a sign-in stands for the password of an account without one."""

UserId = NewType("UserId", int)
LoginId = NewType("LoginId", UUID)


class Role(StrEnum):
    USER = "user"
    FACILITATOR = "facilitator"
    ADMIN = "admin"


SELF_ASSIGNABLE_ROLES = frozenset({Role.USER, Role.FACILITATOR})


def require_self_assignable(role: str) -> None:
    """Raises `Invalid` unless people may register with this role."""
    if role not in SELF_ASSIGNABLE_ROLES:
        raise Invalid({"role": "Must be user or facilitator"})


class FacilitatorRegistrationClosed(Forbidden):
    code = "facilitator_registration_closed"
    message = "Facilitators cannot register here: please ask the operator"


class RoleNotRequested(Conflict):
    code = "role_not_requested"
    message = "The account does not wait for approval"


class FacilitatorRegistration(StrEnum):
    """Who may register as a facilitator: everyone, everyone with an operator's approval, or no one."""

    OPEN = "open"
    APPROVAL = "approval"
    CLOSED = "closed"

    def admit(self, role: Role) -> tuple[Role, Role | None]:
        """The role that a new account gets, and the one that waits for approval. Raises
        `FacilitatorRegistrationClosed`."""
        if role is not Role.FACILITATOR or self is FacilitatorRegistration.OPEN:
            return role, None
        if self is FacilitatorRegistration.CLOSED:
            raise FacilitatorRegistrationClosed
        return Role.USER, role


class EmailTaken(Conflict):
    code = "email_taken"
    message = "Email already exists"


class InvalidCredentials(Unauthenticated):
    code = "invalid_credentials"
    message = "Invalid credentials"


class RecentSignInRequired(Forbidden):
    """The account has no password that could be asked for."""

    code = "recent_sign_in_required"
    message = "This account has no password: please sign in with Google again and repeat this within 5 minutes"


class UserNotFound(NotFound):
    code = "user_not_found"
    message = "User not found"


class OwnAccountProtected(Forbidden):
    code = "own_account"
    message = "You cannot deactivate your own account or change its role"


class LastAdmin(Conflict):
    code = "last_admin"
    message = "This is the last active admin"


class ProfileNotFound(NotFound):
    """The account may manage events but has no facilitator profile, such as an admin."""

    code = "profile_not_found"
    message = "Facilitator profile not found"


@dataclass(frozen=True, slots=True)
class User:
    """`token_version` grows to revoke all issued tokens: by log-out everywhere, a new password, another role, a
    deactivation."""

    id: UserId
    uuid: UUID
    email: str
    name: str
    role: Role
    phone: str | None
    is_active: bool
    is_verified: bool
    token_version: int
    created_at: datetime
    external_id: str | None = None
    """The subject of the linked external identity."""
    profile_picture: str | None = None
    timezone: str | None = None
    """The IANA name of the time zone for times in mails; None if not set."""
    requested_role: Role | None = None
    """The role that waits for an operator's approval; None after the decision."""

    @property
    def can_facilitate(self) -> bool:
        return self.role in {Role.FACILITATOR, Role.ADMIN}


class PasswordPolicy(StrEnum):
    """`contract`: 8 to 128 characters of any kind, because the published documents register `password123`.
    `strict`: NIST SP 800-63B-4 for a password that is the only factor: at least 15 characters, and not easily
    guessed."""

    CONTRACT = "contract"
    STRICT = "strict"


MAX_NAME = 120
MAX_BIO = 4_000
MAX_PASSWORD = 128
MIN_PASSWORD = {PasswordPolicy.CONTRACT: 8, PasswordPolicy.STRICT: 15}


_LONGEST_PASSWORD_INPUT = 4 * MAX_PASSWORD
"""Characters that are processed: the time of normalisation grows with the square of the length."""


def check_mailable(email: str, *, smtputf8: bool) -> None:
    """Rejects an address to which mail cannot be sent: letters beyond ASCII before the @ need a mail server with
    SMTPUTF8 (RFC 6531). Raises `Invalid` naming the field `email`."""
    if not smtputf8 and not email.rpartition("@")[0].isascii():
        raise Invalid({"email": "Letters beyond ASCII before the @-sign are not supported"})


def normalised_password(password: str) -> str:
    """The password in NFKC, so that different keyboards result in the same password (NIST SP 800-63B, 3.1.1.2).

    A text that is too long for a password is truncated first; the result is still too long.
    """
    if len(password) > _LONGEST_PASSWORD_INPUT:
        return password[: _LONGEST_PASSWORD_INPUT + 1]
    return unicodedata.normalize("NFKC", password)


def acceptable_password(password: str, policy: PasswordPolicy, *, context: tuple[str, ...] = ()) -> str:
    """The normalised password. `context` contains words that an attacker would try first: the name, the e-mail.

    Raises `Invalid` naming the field `password`.
    """
    if len(password) > _LONGEST_PASSWORD_INPUT:
        raise Invalid({"password": f"Must be at most {MAX_PASSWORD} characters"})
    password = normalised_password(password)
    least = MIN_PASSWORD[policy]
    if not least <= len(password) <= MAX_PASSWORD:
        raise Invalid({"password": f"Must have {least} to {MAX_PASSWORD} characters"})
    if policy is PasswordPolicy.STRICT and _is_easily_guessed(password, context):
        raise Invalid({"password": "Is too easy to guess"})
    return password


_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qazwsxedcrfvtgbyhnujmikolp",
)
_COMMON_WORDS = ("password", "passwort", "letmein", "iloveyou", "welcome", "admin", "convene", "booking", "qwerty")


def _is_easily_guessed(password: str, context: tuple[str, ...]) -> bool:
    """Whether a password of 15 characters or more is easily guessed: it consists of keyboard sequences, repetitions and
    common words, so that too few characters are left after their removal."""
    rest = password.casefold()
    parts = {part for text in context for part in text.casefold().replace("@", " ").replace(".", " ").split()}
    for word in sorted({*_COMMON_WORDS, *(part for part in parts if len(part) > 2)}, key=len, reverse=True):
        rest = rest.replace(word, "")
    for run in (*_RUNS, *(run[::-1] for run in _RUNS)):
        for size in range(len(run), 3, -1):
            for start in range(len(run) - size + 1):
                rest = rest.replace(run[start : start + size], "")
    return len(rest) < 6 or len(set(rest)) < 5
