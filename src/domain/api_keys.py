"""API keys: secrets for programs that act for an account, limited by scopes.

A key is `cvk_`, 43 digits in base 62 (256 random bits) and 6 more, the CRC-32 of these 43. Programs that search for
leaked secrets recognise this form, and a mistyped key is rejected without a query.
"""

import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.accounts import User, UserId
from domain.authorization import is_admin
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.text import line
from domain.time import entered_instant

ApiKeyId = NewType("ApiKeyId", UUID)

MAX_NAME = 100


class Scope(StrEnum):
    """What a key may do, by context. Writing does not include reading."""

    PROFILE_READ = "profile:read"
    PROFILE_WRITE = "profile:write"
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    BOOKINGS_READ = "bookings:read"
    BOOKINGS_WRITE = "bookings:write"
    APPOINTMENTS_READ = "appointments:read"
    APPOINTMENTS_WRITE = "appointments:write"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    CALENDARS_READ = "calendars:read"
    CALENDARS_WRITE = "calendars:write"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"


OF_ADMINS = frozenset({Scope.ADMIN_READ, Scope.ADMIN_WRITE})
"""Scopes that only an admin can give to a key."""


class ApiKeyNotFound(NotFound):
    code = "api_key_not_found"
    message = "API key not found"


class TooManyApiKeys(Conflict):
    code = "too_many_api_keys"
    message = "The account has too many API keys. Please revoke one"


class InsufficientScope(Forbidden):
    code = "insufficient_scope"
    message = "The API key does not have the scope of this operation"

    def __init__(self, scope: Scope | None = None) -> None:
        super().__init__(None if scope is None else f"This operation needs an API key with the scope {scope}")


class ApiKeyNotAllowed(Forbidden):
    """The security of the account is for its owner, after a login."""

    code = "api_key_not_allowed"
    message = "This operation cannot be called with an API key. Please log in"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key, without its secret. `prefix` is the beginning of the secret, for recognition. `scopes`: `Scope`, or
    those of a newer version. `last_used_at`: the minute of the last use."""

    id: ApiKeyId
    user_id: UserId
    name: str
    scopes: frozenset[str]
    prefix: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def require(self, *scopes: Scope) -> None:
        """`scopes`: those of an operation; none if keys cannot call it. Raises `InsufficientScope`,
        `ApiKeyNotAllowed`."""
        if not scopes:
            raise ApiKeyNotAllowed
        for scope in scopes:
            if scope not in self.scopes:
                raise InsufficientScope(scope)


@dataclass(frozen=True, slots=True)
class ApiKeyRequest:
    """What a new key shall be, as entered."""

    name: str
    scopes: Collection[str]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What a new key is."""

    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None


def new_api_key(user: User, now: datetime, request: ApiKeyRequest) -> NewApiKey:
    """Raises `Invalid`, also for scopes beyond the role of the account."""
    name = line("name", request.name, at_most=MAX_NAME)
    if not request.scopes:
        raise Invalid({"scopes": "Must not be empty"})
    if not set(request.scopes) <= set(Scope):
        raise Invalid({"scopes": f"Must be some of {', '.join(Scope)}"})
    scopes = frozenset(map(Scope, request.scopes))
    if scopes & OF_ADMINS and not is_admin(user):
        raise Invalid({"scopes": "admin:read and admin:write need the role of an admin"})
    if request.expires_at is None:
        return NewApiKey(name, scopes, None)
    expires_at = entered_instant(request.expires_at, "expires_at")
    if expires_at <= now:
        raise Invalid({"expires_at": "Must be in the future"})
    return NewApiKey(name, scopes, expires_at)


# The secret

_PREFIX = "cvk_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECKSUM = 43, 6
_FORM = re.compile(f"{_PREFIX}([0-9A-Za-z]{{{_RANDOM}}})([0-9A-Za-z]{{{_CHECKSUM}}})", re.ASCII)
_SHOWN = len(_PREFIX) + 6

SECRET_BYTES = 32


def secret_of(random: bytes) -> str:
    """The secret of a new key, from `SECRET_BYTES` random bytes."""
    digits = _base62(int.from_bytes(random), _RANDOM)
    return f"{_PREFIX}{digits}{_checksum(digits)}"


def is_api_key(token: str) -> bool:
    """Whether this is a key, valid or not, and no other kind of token."""
    return token.startswith(_PREFIX)


def is_well_formed(token: str) -> bool:
    """Whether this can be a key: its checksum is right."""
    found = _FORM.fullmatch(token)
    return found is not None and _checksum(found[1]) == found[2]


def shown_prefix(secret: str) -> str:
    return secret[:_SHOWN]


def _checksum(digits: str) -> str:
    return _base62(zlib.crc32(digits.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
