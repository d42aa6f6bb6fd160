"""All that is stored about a person in the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from application.audit.ports import NewTrail
from application.erasure.ports import Ahead
from application.idempotency import owner_of
from domain.accounts import UserId
from domain.audit import AuditAction
from domain.audit_effects import account
from domain.erasure import ERASED_NAME, Identifiers, erased_email
from domain.events import EventId
from domain.ids import AppointmentId, BookingId
from domain.invitations import InvitationId
from infrastructure.postgres.audit.writer import write_on
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.statements import bound, run
from infrastructure.postgres.outbox.erasure import FORMER_IDENTIFIERS, PENDING

_SECONDS = 1_800
"""Limit of an erasure."""
_LARGE_READS = f"SET LOCAL enable_seqscan = on; SET LOCAL statement_timeout = '{_SECONDS}s'"

_DUE = "SELECT user_id FROM erasures WHERE erased_at IS NULL AND due_at <= $1 ORDER BY due_at, user_id LIMIT $2"
_LOCK = """
SELECT u.uuid FROM users u JOIN erasures e ON e.user_id = u.id
WHERE u.id = $1 AND e.erased_at IS NULL AND NOT u.is_active FOR UPDATE
"""
_AHEAD = {
    "bookings": """
        SELECT b.id FROM bookings b JOIN events e ON e.id = b.event_id
        WHERE b.user_id = $1 AND b.status = 'confirmed' AND e.starts_at > $2 ORDER BY b.id LIMIT $3""",
    "appointments": """
        SELECT id FROM coaching_bookings
        WHERE (client_id = $1 OR coach_id = $1) AND status IN ('pending', 'confirmed') AND starts_at > $2
        ORDER BY id LIMIT $3""",
    "events": """
        SELECT id FROM events
        WHERE facilitator_id = $1 AND status = 'active' AND hidden_at IS NULL AND ends_at > $2 ORDER BY id LIMIT $3""",
    "invitations": """
        SELECT i.id FROM invitations i JOIN users u ON u.email = i.email
        WHERE u.id = $1 AND i.status = 'pending' AND i.expires_at > $2 ORDER BY i.id LIMIT $3""",
}
_IDENTIFIERS = """
SELECT name, email, phone FROM users WHERE id = $1
UNION ALL
SELECT NULL, email, NULL FROM account_tokens WHERE user_id = $1
"""
_OF_OTHERS = "SELECT email FROM users WHERE email = ANY ($1) AND id <> $2"


class PostgresErasureStore:
    def __init__(self, database: Database, statements: Sequence[str], new_trail: NewTrail) -> None:
        """`statements`: those of all packages, in the order in which they lock."""
        self._database = database
        self._statements = statements
        self._new_trail = new_trail

    async def list_due(self, now: datetime, *, limit: int) -> Sequence[UserId]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DUE, now, limit)
        return [UserId(row["user_id"]) for row in rows]

    async def find_ahead(self, user_id: UserId, now: datetime, *, limit: int) -> Ahead:
        async with self._database.connection() as connection:
            found = {
                kind: [row["id"] for row in await connection.fetch(statement, user_id, now, limit)]
                for kind, statement in _AHEAD.items()
            }
        return Ahead(
            bookings=[BookingId(each) for each in found["bookings"]],
            appointments=[AppointmentId(each) for each in found["appointments"]],
            events=[EventId(each) for each in found["events"]],
            invitations=[InvitationId(each) for each in found["invitations"]],
        )

    async def has_pending_messages(self, user_id: UserId) -> bool:
        async with self._database.connection() as connection:
            email = await connection.fetchval("SELECT email FROM users WHERE id = $1", user_id)
            statement, values = bound(PENDING, {"user_id": user_id, "addresses": [email]})
            return bool(await connection.fetchval(statement, *values))

    async def find_identifiers(self, user_id: UserId) -> Identifiers:
        async with self._database.snapshot(_SECONDS) as connection:
            await connection.execute(_LARGE_READS)
            statement, values = bound(FORMER_IDENTIFIERS, {"user_id": user_id})
            rows = [*await connection.fetch(_IDENTIFIERS, user_id)]
            former = await connection.fetch(statement, *values, timeout=_SECONDS)
            addresses = {row["email"] for row in (*rows, *former)} - {None}
            others = await connection.fetch(_OF_OTHERS, list(addresses), user_id)
        names = {row["name"] for row in (*rows, *former)} | {row["phone"] for row in rows}
        return Identifiers(names=sorted(names - {None}), addresses=sorted(addresses - {row["email"] for row in others}))

    async def erase(self, user_id: UserId, identifiers: Identifiers) -> bool:
        async with self._database.connection_for(_SECONDS) as connection, connection.transaction():
            await connection.execute(_LARGE_READS)
            uuid = await connection.fetchval(_LOCK, user_id)
            if uuid is None:
                return False
            await run(connection, self._statements, values_of(user_id, uuid, identifiers))
            trail = self._new_trail()
            trail.record(AuditAction.ACCOUNT_ERASED, account(user_id))
            await write_on(connection, trail)
        return True


def values_of(user_id: UserId, uuid: UUID, identifiers: Identifiers) -> dict[str, Any]:
    """The parameters of the statements."""
    return {
        "user_id": user_id,
        "name": ERASED_NAME,
        "email": erased_email(uuid),
        "owner": owner_of(user_id),
        "addresses": list(identifiers.addresses),
        "address_likes": [f"%{_escaped(address)}%" for address in identifiers.addresses],
        "address_pattern": identifiers.address_pattern(),
        "name_pattern": identifiers.name_pattern(),
    }


def _escaped(text: str) -> str:
    """The text for LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
