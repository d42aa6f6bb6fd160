"""Connected calendars: their encrypted tokens, and the entries that were created in them."""

from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.calendars.ports import CalendarJob, Connection, ConnectionView, Forgotten, Placed
from domain.accounts import UserId
from domain.appointments import AppointmentStatus
from domain.calendars import CalendarUnavailable, ConnectionId, ConnectionStatus, Entry, Provider, entry_key
from domain.ids import AppointmentId
from domain.time import Interval
from infrastructure.auth.token_encryption import SealBroken, SecretBox
from infrastructure.postgres.engine import Database
from infrastructure.postgres.reencryption import SealedColumn

_log = structlog.get_logger()

_JOB = """
SELECT b.id, b.status, b.sequence, b.starts_at, b.ends_at, b.notes, b.meeting_link, b.coach_id = :user_id AS is_coach,
       b.coach_id = :user_id AND NOT EXISTS (
           SELECT FROM calendar_connections other
           WHERE other.user_id = :user_id AND other.status = 'active' AND other.id < :connection_id) AS hosts,
       client.name AS client_name, coach.name AS coach_name, coalesce(own.timezone, 'UTC') AS timezone,
       e.entry_id, e.sequence AS put_sequence, e.meeting_link AS put_link, c.connected_at
FROM coaching_bookings b JOIN users client ON client.id = b.client_id JOIN users coach ON coach.id = b.coach_id
     JOIN users own ON own.id = :user_id
     LEFT JOIN calendar_connections c ON c.id = :connection_id
     LEFT JOIN calendar_entries e ON e.booking_id = b.id AND e.connection_id = c.id
WHERE b.id = :booking_id AND :user_id IN (b.client_id, b.coach_id)
"""
_LONGEST_ERROR = 500

REVOKE = "DELETE FROM calendar_connections WHERE user_id = :user_id"
"""The stored data of a calendar is deleted with its connection."""


class Tokens(msgspec.Struct, frozen=True):
    access_token: str
    refresh_token: str


def place(connection_id: ConnectionId) -> str:
    """The place of this connection's tokens, which their encryption authenticates."""
    return f"calendar_connections:{connection_id}"


TOKENS = SealedColumn(
    page="SELECT id, tokens AS sealed FROM calendar_connections WHERE id > $1 ORDER BY id LIMIT $2",
    reseal="""
        UPDATE calendar_connections c SET tokens = fresh.tokens
        FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS fresh(id, was, tokens)
        WHERE c.id = fresh.id AND c.tokens = fresh.was
        RETURNING c.id""",
    place=lambda connection_id: place(ConnectionId(connection_id)),
)


class PostgresConnections:
    def __init__(self, session: AsyncSession, box: SecretBox) -> None:
        self._session = session
        self._box = box

    async def keep(
        self, user_id: UserId, provider: Provider, access_token: str, refresh_token: str, expires_at: datetime
    ) -> ConnectionId:
        # The tokens are encrypted for their row, so its id must be known first.
        known = await self._session.scalar(
            text(
                "SELECT coalesce((SELECT id FROM calendar_connections WHERE user_id = :u AND provider = :p), uuidv7())"
            ),
            {"u": user_id, "p": provider},
        )
        connection_id = ConnectionId(known)
        await self._session.execute(
            text("""
                INSERT INTO calendar_connections (id, user_id, provider, status, tokens, expires_at, connected_at)
                VALUES (:id, :user_id, :provider, 'active', :tokens, :expires_at, now())
                ON CONFLICT (user_id, provider) DO UPDATE SET
                    status = 'active', tokens = excluded.tokens, expires_at = excluded.expires_at,
                    connected_at = excluded.connected_at, busy_read_at = NULL, busy_due_at = now(),
                    refreshing_until = NULL, last_error = NULL"""),
            {
                "id": connection_id,
                "user_id": user_id,
                "provider": provider,
                "tokens": self._sealed(connection_id, access_token, refresh_token),
                "expires_at": expires_at,
            },
        )
        # The calendar may be of another account, or its owner may have removed entries, so all are created again.
        await self._session.execute(
            text("UPDATE calendar_entries SET sequence = -1 WHERE connection_id = :id"), {"id": connection_id}
        )
        return connection_id

    async def find(self, user_id: UserId, provider: Provider) -> Connection | None:
        return await self._find("user_id = :user_id AND provider = :provider", user_id=user_id, provider=provider)

    async def find_locked(self, connection_id: ConnectionId) -> Connection | None:
        return await self._find("id = :id FOR UPDATE", id=connection_id)

    async def _find(self, which: str, **values: Any) -> Connection | None:
        statement = text(f"SELECT * FROM calendar_connections WHERE {which}")  # noqa: S608 (composed of constants)
        row = (await self._session.execute(statement, values)).mappings().first()
        return self._connection(row) if row else None

    async def lease_refresh(self, connection_id: ConnectionId, until: datetime | None) -> None:
        await self._session.execute(
            text("UPDATE calendar_connections SET refreshing_until = :until WHERE id = :id"),
            {"id": connection_id, "until": until},
        )

    async def keep_tokens(
        self, connection_id: ConnectionId, access_token: str, refresh_token: str, expires_at: datetime
    ) -> None:
        await self._session.execute(
            text("""UPDATE calendar_connections
                    SET tokens = :tokens, expires_at = :expires_at, refreshing_until = NULL WHERE id = :id"""),
            {
                "id": connection_id,
                "tokens": self._sealed(connection_id, access_token, refresh_token),
                "expires_at": expires_at,
            },
        )

    async def give_up(self, connection_id: ConnectionId, why: str) -> None:
        await self._session.execute(
            text("""UPDATE calendar_connections
                    SET status = 'reconnect', last_error = :why, refreshing_until = NULL WHERE id = :id"""),
            {"id": connection_id, "why": why[:_LONGEST_ERROR]},
        )

    async def forget(self, user_id: UserId, provider: Provider) -> Forgotten | None:
        statement = text("DELETE FROM calendar_connections WHERE user_id = :u AND provider = :p RETURNING *")
        row = (await self._session.execute(statement, {"u": user_id, "p": provider})).mappings().first()
        if row is None:
            return None
        try:
            return Forgotten(self._connection(row).refresh_token)
        except CalendarUnavailable:
            return Forgotten(None)

    async def find_job(
        self, booking_id: AppointmentId, user_id: UserId, connection_id: ConnectionId | None
    ) -> CalendarJob | None:
        values = {"booking_id": booking_id, "user_id": user_id, "connection_id": connection_id}
        row = (await self._session.execute(text(_JOB), values)).mappings().first()
        return _job(row, user_id) if row else None

    async def keep_entry(self, connection_id: ConnectionId, job: CalendarJob, placed: Placed, now: datetime) -> None:
        await self._session.execute(
            text("""
                INSERT INTO calendar_entries
                    (connection_id, booking_id, entry_id, starts_at, ends_at, meeting_link, sequence, put_at)
                SELECT id, :booking_id, :entry_id, CAST(:starts_at AS timestamptz), CAST(:ends_at AS timestamptz),
                       :link, :sequence, CAST(:now AS timestamptz)
                FROM calendar_connections WHERE id = :connection_id AND connected_at = :connected_at
                ON CONFLICT (connection_id, booking_id) DO UPDATE SET
                    entry_id = excluded.entry_id, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
                    meeting_link = excluded.meeting_link, sequence = excluded.sequence, put_at = excluded.put_at"""),
            {
                "connection_id": connection_id,
                "booking_id": job.booking_id,
                "entry_id": placed.entry_id,
                "starts_at": job.entry.session.starts_at,
                "ends_at": job.entry.session.ends_at,
                "link": placed.link,
                "sequence": job.sequence,
                "now": now,
                "connected_at": job.connected_at,
            },
        )

    async def find_entries(self, user_id: UserId, provider: Provider, *, limit: int) -> list[AppointmentId]:
        rows = await self._session.scalars(
            text("""
                SELECT e.booking_id FROM calendar_entries e JOIN calendar_connections c ON c.id = e.connection_id
                WHERE c.user_id = :u AND c.provider = :p ORDER BY e.booking_id LIMIT :limit"""),
            {"u": user_id, "p": provider, "limit": limit},
        )
        return [AppointmentId(row) for row in rows]

    async def forget_entry(self, connection_id: ConnectionId, booking_id: AppointmentId) -> None:
        await self._session.execute(
            text("DELETE FROM calendar_entries WHERE connection_id = :c AND booking_id = :b"),
            {"c": connection_id, "b": booking_id},
        )

    def _sealed(self, connection_id: ConnectionId, access_token: str, refresh_token: str) -> bytes:
        return self._box.seal(msgspec.json.encode(Tokens(access_token, refresh_token)), place(connection_id))

    def _connection(self, row: RowMapping) -> Connection:
        connection_id = ConnectionId(row["id"])
        try:
            tokens = msgspec.json.decode(self._box.open(row["tokens"], place(connection_id)), type=Tokens)
        except SealBroken as error:
            # A key that was removed too early may be restored, so the connection is kept.
            _log.error("calendar.tokens_sealed", connection_id=str(connection_id), error=str(error))
            raise CalendarUnavailable("The tokens of this calendar cannot be decrypted now", retry_after=60) from None
        return Connection(
            id=connection_id,
            user_id=UserId(row["user_id"]),
            provider=Provider(row["provider"]),
            status=ConnectionStatus(row["status"]),
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=row["expires_at"],
            refreshing_until=row["refreshing_until"],
        )


class PostgresConnectionQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_of(self, user_id: UserId) -> list[ConnectionView]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """SELECT provider, status, connected_at, busy_read_at FROM calendar_connections
                   WHERE user_id = $1 ORDER BY provider""",
                user_id,
            )
        return [
            ConnectionView(
                Provider(row["provider"]), ConnectionStatus(row["status"]), row["connected_at"], row["busy_read_at"]
            )
            for row in rows
        ]


def _job(row: RowMapping, user_id: UserId) -> CalendarJob:
    booking_id = AppointmentId(row["id"])
    other = row["client_name"] if row["is_coach"] else row["coach_name"]
    return CalendarJob(
        booking_id=booking_id,
        status=AppointmentStatus(row["status"]),
        sequence=row["sequence"],
        entry=Entry(
            key=entry_key(booking_id, user_id),
            title=f"Coaching: {other}",
            text=row["notes"] or "",
            session=Interval(row["starts_at"], row["ends_at"]),
            timezone=row["timezone"],
            link=row["meeting_link"],
            hosts=row["hosts"],
        ),
        entry_id=row["entry_id"],
        put_sequence=row["put_sequence"],
        put_link=row["put_link"],
        connected_at=row["connected_at"],
    )
