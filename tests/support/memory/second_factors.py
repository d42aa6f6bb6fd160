"""Second factors, recovery codes and logins that wait for a second factor, in memory; codes that need no library."""

import base64
import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from uuid import UUID, uuid4

from application.accounts.ports.second_factors import Passkey, StoredPasskey, TotpFactor
from domain.accounts import UserId
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import account, record_factor
from domain.second_factors import Factor, FactorId, FactorKind, LoginTicket, PasskeyTaken
from tests.support.memory.store import Store, Tables, Transaction


@dataclass(frozen=True, slots=True)
class FactorRow:
    user_id: UserId
    factor: Factor
    secret: str | None = None
    is_confirmed: bool = False
    last_step: int | None = None
    passkey: Passkey | None = None


class MemorySecondFactors:
    def __init__(self, transaction: Transaction, audit: AuditTrail) -> None:
        self._audit = audit
        self._rows: dict[UUID, FactorRow] = transaction.tables.of("second_factors")
        self._codes: dict[tuple[UserId, bytes], datetime | None] = transaction.tables.of("recovery_codes")

    async def of(self, user_id: UserId) -> Sequence[Factor]:
        return [row.factor for row in self._rows.values() if row.user_id == user_id and row.is_confirmed]

    async def add_totp(self, user_id: UserId, name: str, secret: str, now: datetime) -> FactorId:
        for other in [key for key, row in self._rows.items() if row.user_id == user_id and not row.is_confirmed]:
            del self._rows[other]
        factor_id = FactorId(uuid4())
        self._rows[factor_id] = FactorRow(user_id, Factor(factor_id, FactorKind.TOTP, name, now, None), secret)
        return factor_id

    async def find_enrolment(self, user_id: UserId, factor_id: FactorId, *, since: datetime) -> str | None:
        row = self._rows.get(factor_id)
        if row is None or row.user_id != user_id or row.is_confirmed or row.factor.created_at <= since:
            return None
        return row.secret

    async def confirm_totp(self, user_id: UserId, factor_id: FactorId, step: int, now: datetime) -> Factor:
        record_factor(self._audit, AuditAction.FACTOR_ADDED, user_id, factor_id)
        self._rows[factor_id] = replace(self._rows[factor_id], is_confirmed=True, last_step=step)
        return self._rows[factor_id].factor

    async def find_totp(self, user_id: UserId) -> Sequence[TotpFactor]:
        return [
            TotpFactor(row.factor.id, row.secret, row.last_step)
            for row in self._rows.values()
            if row.user_id == user_id and row.is_confirmed and row.secret is not None
        ]

    async def use_totp(self, factor_id: FactorId, step: int, now: datetime) -> bool:
        row = self._rows[factor_id]
        if row.last_step is not None and row.last_step >= step:
            return False
        self._rows[factor_id] = replace(row, last_step=step, factor=replace(row.factor, last_used_at=now))
        return True

    async def add_passkey(self, user_id: UserId, name: str, passkey: Passkey, now: datetime) -> Factor:
        if any(row.passkey and row.passkey.credential_id == passkey.credential_id for row in self._rows.values()):
            raise PasskeyTaken
        factor = Factor(FactorId(uuid4()), FactorKind.PASSKEY, name, now, None)
        self._rows[factor.id] = FactorRow(user_id, factor, is_confirmed=True, passkey=passkey)
        record_factor(self._audit, AuditAction.FACTOR_ADDED, user_id, factor.id)
        return factor

    async def find_passkeys(self, user_id: UserId) -> Sequence[StoredPasskey]:
        return [
            StoredPasskey(row.factor.id, row.passkey)
            for row in self._rows.values()
            if row.user_id == user_id and row.passkey is not None
        ]

    async def use_passkey(self, factor_id: FactorId, sign_count: int, now: datetime) -> None:
        row = self._rows[factor_id]
        assert row.passkey is not None
        used = replace(row.passkey, sign_count=sign_count)
        self._rows[factor_id] = replace(row, passkey=used, factor=replace(row.factor, last_used_at=now))

    async def rename(self, user_id: UserId, factor_id: FactorId, name: str) -> Factor | None:
        row = self._confirmed(user_id, factor_id)
        if row is None:
            return None
        self._rows[factor_id] = replace(row, factor=replace(row.factor, name=name))
        record_factor(self._audit, AuditAction.FACTOR_RENAMED, user_id, factor_id)
        return self._rows[factor_id].factor

    async def remove(self, user_id: UserId, factor_id: FactorId) -> bool:
        if self._confirmed(user_id, factor_id) is None:
            return False
        del self._rows[factor_id]
        record_factor(self._audit, AuditAction.FACTOR_REMOVED, user_id, factor_id)
        return True

    async def replace_recovery_codes(self, user_id: UserId, fingerprints: Collection[bytes], now: datetime) -> None:
        self._audit.record(
            AuditAction.RECOVERY_CODES_REPLACED, account(user_id), after={"recovery_codes": len(fingerprints)}
        )
        for key in [key for key in self._codes if key[0] == user_id]:
            del self._codes[key]
        self._codes.update({(user_id, fingerprint): None for fingerprint in fingerprints})

    async def use_recovery_code(self, user_id: UserId, fingerprint: bytes, now: datetime) -> bool:
        key = user_id, fingerprint
        if key not in self._codes or self._codes[key] is not None:
            return False
        self._codes[key] = now
        self._audit.record(AuditAction.RECOVERY_CODE_USED, account(user_id))
        return True

    async def count_recovery_codes(self, user_id: UserId) -> int:
        return sum(owner == user_id and used_at is None for (owner, _), used_at in self._codes.items())

    def _confirmed(self, user_id: UserId, factor_id: FactorId) -> FactorRow | None:
        row = self._rows.get(factor_id)
        return row if row is not None and row.user_id == user_id and row.is_confirmed else None


class MemoryFactorQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def has_factor(self, user_id: UserId) -> bool:
        rows: Mapping[UUID, FactorRow] = self._store.tables.of("second_factors")
        return any(row.user_id == user_id and row.is_confirmed for row in rows.values())


def revoke_factors(tables: Tables, user_id: UserId) -> None:
    factors: dict[UUID, FactorRow] = tables.of("second_factors")
    for factor_id in [factor_id for factor_id, row in factors.items() if row.user_id == user_id]:
        del factors[factor_id]
    codes: dict[tuple[UserId, bytes], datetime | None] = tables.of("recovery_codes")
    for key in [key for key in codes if key[0] == user_id]:
        del codes[key]


@dataclass(frozen=True, slots=True)
class TicketRow:
    ticket: LoginTicket
    expires_at: datetime
    attempts: int = 0
    used_at: datetime | None = None


class MemoryLoginTickets:
    def __init__(self, transaction: Transaction) -> None:
        self._rows: dict[bytes, TicketRow] = transaction.tables.of("login_tickets")

    async def add(self, fingerprint: bytes, ticket: LoginTicket, now: datetime, *, expires_at: datetime) -> None:
        assert fingerprint not in self._rows, "a primary key"
        self._rows[fingerprint] = TicketRow(ticket, expires_at)

    async def find(self, fingerprint: bytes, now: datetime) -> LoginTicket | None:
        row = self._valid(fingerprint, now)
        return row.ticket if row else None

    async def take_attempt(self, fingerprint: bytes, now: datetime, *, at_most: int) -> bool:
        row = self._valid(fingerprint, now)
        if row is None or row.attempts >= at_most:
            return False
        self._rows[fingerprint] = replace(row, attempts=row.attempts + 1)
        return True

    async def use(self, fingerprint: bytes, now: datetime) -> None:
        self._rows[fingerprint] = replace(self._rows[fingerprint], used_at=now)

    def _valid(self, fingerprint: bytes, now: datetime) -> TicketRow | None:
        row = self._rows.get(fingerprint)
        return row if row is not None and row.used_at is None and row.expires_at > now else None


class MemoryTotpCodes:
    """RFC 6238 by the standard library. Each secret is another number."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def new_secret(self) -> str:
        return base64.b32encode(next(self._numbers).to_bytes(20, "big")).decode()

    def code(self, secret: str, step: int) -> str:
        digest = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1)
        start = digest[-1] & 0xF
        number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
        return f"{number % 10**6:06}"

    def uri(self, secret: str, account: str) -> str:
        return f"otpauth://totp/Convene:{account}?secret={secret}&issuer=Convene"
