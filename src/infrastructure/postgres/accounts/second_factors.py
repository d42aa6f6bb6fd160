"""Second factors and recovery codes of accounts. Secrets of authenticator apps are encrypted, bound to their row."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID, uuid4

import structlog
from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.accounts.ports.second_factors import Passkey, StoredPasskey, TotpFactor
from domain.accounts import UserId
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import account, record_factor
from domain.second_factors import Factor, FactorId, FactorKind, PasskeyTaken, TotpNotConfigured
from infrastructure.auth.token_encryption import SealBroken, SecretBox
from infrastructure.postgres.engine import Database
from infrastructure.postgres.reencryption import SealedColumn

_log = structlog.get_logger()

_SHOWN = "id, kind, name, created_at, last_used_at"
_OF = text(f"""
SELECT {_SHOWN} FROM second_factors WHERE user_id = :user_id AND confirmed_at IS NOT NULL ORDER BY created_at, id
""")  # noqa: S608
_DROP_ENROLMENTS = text("DELETE FROM second_factors WHERE user_id = :user_id AND confirmed_at IS NULL")
_ADD_TOTP = text("""
INSERT INTO second_factors (id, user_id, kind, name, secret, created_at)
VALUES (:id, :user_id, 'totp', :name, :secret, :now)
""")
_FIND_ENROLMENT = text("""
SELECT secret FROM second_factors
WHERE id = :id AND user_id = :user_id AND kind = 'totp' AND confirmed_at IS NULL AND created_at > :since
""")
_CONFIRM = text(f"""
UPDATE second_factors SET confirmed_at = :now, last_step = :step WHERE id = :id RETURNING {_SHOWN}
""")  # noqa: S608
_FIND_TOTP = text("""
SELECT id, secret, last_step FROM second_factors
WHERE user_id = :user_id AND kind = 'totp' AND confirmed_at IS NOT NULL ORDER BY created_at, id
""")
# The condition holds for concurrent transactions too: the second one waits for the row and then reads the new step.
USE_TOTP = """
UPDATE second_factors SET last_step = :step, last_used_at = :now
WHERE id = :id AND (last_step IS NULL OR last_step < :step)
"""
_ADD_PASSKEY = text(f"""
INSERT INTO second_factors
    (id, user_id, kind, name, credential_id, public_key, sign_count, created_at, confirmed_at)
VALUES (:id, :user_id, 'passkey', :name, :credential_id, :public_key, :sign_count, :now, :now)
ON CONFLICT (credential_id) DO NOTHING RETURNING {_SHOWN}
""")  # noqa: S608
_FIND_PASSKEYS = text("""
SELECT id, credential_id, public_key, sign_count FROM second_factors
WHERE user_id = :user_id AND kind = 'passkey' ORDER BY created_at, id
""")
_USE_PASSKEY = text("""
UPDATE second_factors SET sign_count = :sign_count, last_used_at = :now WHERE id = :id
""")
_RENAME = text(f"""
UPDATE second_factors SET name = :name WHERE id = :id AND user_id = :user_id AND confirmed_at IS NOT NULL
RETURNING {_SHOWN}
""")  # noqa: S608
_REMOVE = "DELETE FROM second_factors WHERE id = :id AND user_id = :user_id AND confirmed_at IS NOT NULL"
_DROP_CODES = text("DELETE FROM recovery_codes WHERE user_id = :user_id")
_ADD_CODES = text("""
INSERT INTO recovery_codes (user_id, fingerprint, created_at)
SELECT :user_id, code, :now FROM unnest(CAST(:fingerprints AS bytea[])) AS code
""")
_USE_CODE = """
UPDATE recovery_codes SET used_at = :now WHERE user_id = :user_id AND fingerprint = :fingerprint AND used_at IS NULL
"""
_COUNT_CODES = text("SELECT count(*) FROM recovery_codes WHERE user_id = :user_id AND used_at IS NULL")

_HAS_FACTOR = "SELECT EXISTS (SELECT FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL)"

REVOKE = """
WITH codes AS (DELETE FROM recovery_codes WHERE user_id = :user_id)
DELETE FROM second_factors WHERE user_id = :user_id
"""

PRUNE_ENROLMENTS = """
DELETE FROM second_factors WHERE id IN (
    SELECT id FROM second_factors WHERE confirmed_at IS NULL AND created_at < now() - $1::interval
    ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: age of a factor that was not confirmed, $2: at most so many rows."""


def place(factor_id: UUID) -> str:
    """The place of this factor's secret, which its encryption authenticates."""
    return f"second_factors:{factor_id}"


SECRETS = SealedColumn(
    page="""
        SELECT id, secret AS sealed FROM second_factors WHERE id > $1 AND secret IS NOT NULL ORDER BY id LIMIT $2""",
    reseal="""
        UPDATE second_factors f SET secret = fresh.secret
        FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS fresh(id, was, secret)
        WHERE f.id = fresh.id AND f.secret = fresh.was
        RETURNING f.id""",
    place=place,
)


class PostgresSecondFactors:
    def __init__(self, session: AsyncSession, box: SecretBox, audit: AuditTrail) -> None:
        self._session = session
        self._box = box
        self._audit = audit

    async def of(self, user_id: UserId) -> Sequence[Factor]:
        return [_factor(row) for row in await self._session.execute(_OF, {"user_id": user_id})]

    async def add_totp(self, user_id: UserId, name: str, secret: str, now: datetime) -> FactorId:
        factor_id = uuid4()
        try:
            sealed = self._box.seal(secret.encode(), place(factor_id))
        except SealBroken:
            raise TotpNotConfigured from None
        await self._session.execute(_DROP_ENROLMENTS, {"user_id": user_id})
        values = {"id": factor_id, "user_id": user_id, "name": name, "secret": sealed, "now": now}
        await self._session.execute(_ADD_TOTP, values)
        return FactorId(factor_id)

    async def find_enrolment(self, user_id: UserId, factor_id: FactorId, *, since: datetime) -> str | None:
        values = {"id": factor_id, "user_id": user_id, "since": since}
        sealed = await self._session.scalar(_FIND_ENROLMENT, values)
        return None if sealed is None else self._opened(factor_id, sealed)

    async def confirm_totp(self, user_id: UserId, factor_id: FactorId, step: int, now: datetime) -> Factor:
        record_factor(self._audit, AuditAction.FACTOR_ADDED, user_id, factor_id)
        confirmed = await self._session.execute(_CONFIRM, {"id": factor_id, "step": step, "now": now})
        return _factor(confirmed.one())

    async def find_totp(self, user_id: UserId) -> Sequence[TotpFactor]:
        rows = await self._session.execute(_FIND_TOTP, {"user_id": user_id})
        secrets = [(row, self._opened(FactorId(row.id), row.secret)) for row in rows]
        return [TotpFactor(FactorId(row.id), secret, row.last_step) for row, secret in secrets if secret is not None]

    async def use_totp(self, factor_id: FactorId, step: int, now: datetime) -> bool:
        return await self._changed(USE_TOTP, id=factor_id, step=step, now=now)

    async def add_passkey(self, user_id: UserId, name: str, passkey: Passkey, now: datetime) -> Factor:
        values = {"credential_id": passkey.credential_id, "public_key": passkey.public_key, "now": now}
        values |= {"id": uuid4(), "user_id": user_id, "name": name, "sign_count": passkey.sign_count}
        row = (await self._session.execute(_ADD_PASSKEY, values)).one_or_none()
        if row is None:
            raise PasskeyTaken
        record_factor(self._audit, AuditAction.FACTOR_ADDED, user_id, FactorId(row.id))
        return _factor(row)

    async def find_passkeys(self, user_id: UserId) -> Sequence[StoredPasskey]:
        rows = await self._session.execute(_FIND_PASSKEYS, {"user_id": user_id})
        return [
            StoredPasskey(FactorId(row.id), Passkey(row.credential_id, row.public_key, row.sign_count)) for row in rows
        ]

    async def use_passkey(self, factor_id: FactorId, sign_count: int, now: datetime) -> None:
        await self._session.execute(_USE_PASSKEY, {"id": factor_id, "sign_count": sign_count, "now": now})

    async def rename(self, user_id: UserId, factor_id: FactorId, name: str) -> Factor | None:
        values = {"id": factor_id, "user_id": user_id, "name": name}
        row = (await self._session.execute(_RENAME, values)).one_or_none()
        if row is None:
            return None
        record_factor(self._audit, AuditAction.FACTOR_RENAMED, user_id, factor_id)
        return _factor(row)

    async def remove(self, user_id: UserId, factor_id: FactorId) -> bool:
        removed = await self._changed(_REMOVE, id=factor_id, user_id=user_id)
        if removed:
            record_factor(self._audit, AuditAction.FACTOR_REMOVED, user_id, factor_id)
        return removed

    async def replace_recovery_codes(self, user_id: UserId, fingerprints: Collection[bytes], now: datetime) -> None:
        self._audit.record(
            AuditAction.RECOVERY_CODES_REPLACED, account(user_id), after={"recovery_codes": len(fingerprints)}
        )
        await self._session.execute(_DROP_CODES, {"user_id": user_id})
        values = {"user_id": user_id, "fingerprints": list(fingerprints), "now": now}
        await self._session.execute(_ADD_CODES, values)

    async def use_recovery_code(self, user_id: UserId, fingerprint: bytes, now: datetime) -> bool:
        used = await self._changed(_USE_CODE, user_id=user_id, fingerprint=fingerprint, now=now)
        if used:
            self._audit.record(AuditAction.RECOVERY_CODE_USED, account(user_id))
        return used

    async def count_recovery_codes(self, user_id: UserId) -> int:
        counted: int = (await self._session.execute(_COUNT_CODES, {"user_id": user_id})).scalar_one()
        return counted

    async def _changed(self, statement: str, **values: Any) -> bool:
        """Whether the statement changed a row."""
        done = await self._session.execute(text(statement), values)
        return bool(cast("CursorResult[Any]", done).rowcount)

    def _opened(self, factor_id: FactorId, sealed: bytes) -> str | None:
        try:
            return self._box.open(sealed, place(factor_id)).decode()
        except SealBroken as error:
            # A key that was removed too early may be restored, so the factor is kept.
            _log.error("second_factor.sealed", factor_id=str(factor_id), error=str(error))
            return None


class PostgresFactorQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_factor(self, user_id: UserId) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_HAS_FACTOR, user_id))


def _factor(row: Any) -> Factor:
    return Factor(FactorId(row.id), FactorKind(row.kind), row.name, row.created_at, row.last_used_at)
