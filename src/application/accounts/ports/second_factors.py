"""Ports of second factors: storage, tickets of logins, codes of apps, passkeys."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from domain.accounts import UserId
from domain.second_factors import Factor, FactorId, LoginTicket


@dataclass(frozen=True, slots=True)
class TotpFactor:
    """`secret` in base 32. `last_step`: the time step of the last code that was used."""

    id: FactorId
    secret: str
    last_step: int | None


@dataclass(frozen=True, slots=True)
class Passkey:
    """`public_key`: a COSE key. `sign_count`: of the last answer; 0 if the authenticator does not count."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


@dataclass(frozen=True, slots=True)
class StoredPasskey:
    id: FactorId
    passkey: Passkey


class SecondFactors(Protocol):
    """Second factors and recovery codes. Before a write the account is locked."""

    async def of(self, user_id: UserId) -> Sequence[Factor]:
        """The confirmed ones, oldest first."""
        ...

    async def add_totp(self, user_id: UserId, name: str, secret: str, now: datetime) -> FactorId:
        """Adds a factor that has to be confirmed, in place of an earlier one that was not. Raises
        `TotpNotConfigured`."""
        ...

    async def find_enrolment(self, user_id: UserId, factor_id: FactorId, *, since: datetime) -> str | None:
        """The secret of a factor of the account that was added after `since` and is not confirmed."""
        ...

    async def confirm_totp(self, user_id: UserId, factor_id: FactorId, step: int, now: datetime) -> Factor:
        """`step` is that of the code. There is such an enrolment."""
        ...

    async def find_totp(self, user_id: UserId) -> Sequence[TotpFactor]:
        """The confirmed ones, except those whose secret cannot be decrypted."""
        ...

    async def use_totp(self, factor_id: FactorId, step: int, now: datetime) -> bool:
        """Records the use of this step's code. False if that step or a later one was used already, also by a concurrent
        call."""
        ...

    async def add_passkey(self, user_id: UserId, name: str, passkey: Passkey, now: datetime) -> Factor:
        """Raises `PasskeyTaken` if there is one with its `credential_id`."""
        ...

    async def find_passkeys(self, user_id: UserId) -> Sequence[StoredPasskey]: ...

    async def use_passkey(self, factor_id: FactorId, sign_count: int, now: datetime) -> None: ...

    async def rename(self, user_id: UserId, factor_id: FactorId, name: str) -> Factor | None:
        """None if the account has no such factor."""
        ...

    async def remove(self, user_id: UserId, factor_id: FactorId) -> bool:
        """False if the account has no such factor."""
        ...

    async def replace_recovery_codes(self, user_id: UserId, fingerprints: Collection[bytes], now: datetime) -> None: ...

    async def use_recovery_code(self, user_id: UserId, fingerprint: bytes, now: datetime) -> bool:
        """True once for each code, also under concurrent calls."""
        ...

    async def count_recovery_codes(self, user_id: UserId) -> int:
        """Those that are not used."""
        ...


class LoginTickets(Protocol):
    """Logins that wait for a second factor, by the hash of a secret. A ticket is valid until it expires or is used."""

    async def add(self, fingerprint: bytes, ticket: LoginTicket, now: datetime, *, expires_at: datetime) -> None: ...

    async def find(self, fingerprint: bytes, now: datetime) -> LoginTicket | None: ...

    async def take_attempt(self, fingerprint: bytes, now: datetime, *, at_most: int) -> bool:
        """Counts an attempt. False for a ticket that is not valid or had so many attempts, also under concurrent calls:
        they wait for each other."""
        ...

    async def use(self, fingerprint: bytes, now: datetime) -> None: ...


class TotpCodes(Protocol):
    """Codes of authenticator apps: SHA-1, six digits, a step of 30 seconds, which every app supports."""

    def new_secret(self) -> str:
        """160 random bits in base 32."""
        ...

    def code(self, secret: str, step: int) -> str: ...

    def uri(self, secret: str, account: str) -> str:
        """The `otpauth:` address, usually shown as a QR code."""
        ...


PasskeyResponse = Mapping[str, Any]
"""What a browser's `PublicKeyCredential.toJSON()` returns."""


class PasskeyVerifier(Protocol):
    """Verifies what authenticators sign. Each method raises `PasskeyNotValid`."""

    rp_id: str
    """The domain that passkeys are bound to."""

    def challenge(self, response: PasskeyResponse) -> str:
        """The challenge that it claims to answer, in base64url. The other methods verify it."""
        ...

    def credential_id(self, response: PasskeyResponse) -> bytes: ...

    def verify_new(self, response: PasskeyResponse, challenge: str) -> Passkey:
        """A new passkey, signed for this challenge at the address of the service."""
        ...

    def verify(self, response: PasskeyResponse, challenge: str, passkey: Passkey) -> int:
        """The sign count of an answer by this passkey. It is higher than the last one, unless both are 0."""
        ...


class FactorQueries(Protocol):
    async def has_factor(self, user_id: UserId) -> bool:
        """Whether the account has a confirmed second factor."""
        ...
