"""Writes the entries of a calendar feed as iCalendar."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from domain.calendar_feed import EntryKind, FeedEntry
from infrastructure.icalendar import components
from servicekit.text import without_invisible

_UIDS: Mapping[EntryKind, Callable[[str, str], str]] = {
    EntryKind.PLACE: lambda number, host: components.booking_uid(int(number), host),
    EntryKind.SESSION: lambda uuid, host: components.appointment_uid(UUID(uuid), host),
    EntryKind.EVENT: lambda number, host: components.event_uid(int(number), host),
}
_SAMPLE_IDS = {EntryKind.PLACE: "1", EntryKind.SESSION: str(UUID(int=1)), EntryKind.EVENT: "1"}
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_SAMPLE = ("title", "text", "reference", _MOMENT, _MOMENT, "location", "https://link.example/", True, 1, _MOMENT)


class IcsWriter:
    """`public_url` is the address of the deployment; its host is part of the UIDs of entries without a stored UID, as
    in invitations."""

    def __init__(self, public_url: str) -> None:
        self._host = components.uid_host(public_url)

        sample = [FeedEntry(kind, id_, *_SAMPLE) for kind, id_ in _SAMPLE_IDS.items()]
        self.format = hashlib.sha256(self._write(sample).encode()).hexdigest()

    async def write(self, entries: Sequence[FeedEntry]) -> str:
        """Writes in a thread, because a long feed with long texts takes tenths of a second."""
        return await asyncio.to_thread(self._write, entries)

    def _write(self, entries: Sequence[FeedEntry]) -> str:
        return components.feed("Convene bookings", [self._entry(entry) for entry in entries])

    def _entry(self, entry: FeedEntry) -> components.Entry:
        """Without organizer and attendees, so that a program which imports it sends no e-mails."""
        return components.Entry(
            uid=entry.uid or _UIDS[entry.kind](entry.id, self._host),
            sequence=entry.sequence,
            stamp=entry.written_at,
            starts_at=entry.starts_at,
            ends_at=entry.ends_at,
            status="TENTATIVE" if entry.is_tentative else "CONFIRMED",
            summary=without_invisible(entry.title),
            description=components.described(
                without_invisible(entry.text or ""), entry.link, without_invisible(entry.reference)
            ),
            location=without_invisible(entry.location or "") or None,
            url=entry.link,
        )
