"""Events and reviews in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from domain.accounts import UserId
from domain.audit import AuditTrail
from domain.audit_effects import record_event
from domain.bookings import BookingStatus, CancelReason
from domain.event_effects import EFFECTS
from domain.events import Event, EventChange, EventChanged, EventDetails, EventId, EventNotFound, EventStatus
from domain.ids import BookingId
from domain.reviews import AlreadyReviewed, Review, ReviewId
from infrastructure.postgres.domain_events import WrittenEvents
from tests.support.memory.accounts import ProfileRow
from tests.support.memory.bookings import (
    MemoryBookings,
    MemoryInvitations,
    change_seats,
    save_event_row,
    with_active_facilitator,
)
from tests.support.memory.change_mails import MemoryChangeMails
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.payments import MemoryRefunds
from tests.support.memory.reminders import MemoryReminders
from tests.support.memory.rows import ConstraintViolated, bookings_of, event_in, events_in, user_in
from tests.support.memory.store import Transaction


class MemoryEvents:
    """`add`, `save` and `complete_ended` also write the effects of the change."""

    def __init__(
        self,
        transaction: Transaction,
        messages: MemoryMessages,
        reminders: MemoryReminders,
        bookings: MemoryBookings,
        invitations: MemoryInvitations,
        refunds: MemoryRefunds,
        change_mails: MemoryChangeMails,
        audit: AuditTrail,
    ) -> None:
        self._transaction = transaction
        self._messages = messages
        self._reminders = reminders
        self._bookings = bookings
        self._invitations = invitations
        self._refunds = refunds
        self._change_mails = change_mails
        self._audit = audit
        self._written = WrittenEvents()

    async def add(self, facilitator_id: UserId, details: EventDetails, now: datetime) -> Event:
        user_in(self._transaction.tables, facilitator_id)
        event = Event(
            id=EventId(self._transaction.store.next_id("events")),
            facilitator_id=facilitator_id,
            details=details,
            booked=0,
            status=EventStatus.ACTIVE,
            revision=0,
            version=1,
            created_at=now,
        ).created()
        save_event_row(self._transaction, event)
        for change in self._written.take(event):
            await self._write_effects(change)
        return event

    async def get(self, event_id: EventId) -> Event:
        event = await self.get_including_deleted(event_id)
        if event.deleted_at is not None:
            raise EventNotFound
        return event

    async def get_including_deleted(self, event_id: EventId) -> Event:
        if event_id not in self._transaction.tables.of("events"):
            raise EventNotFound
        return with_active_facilitator(self._transaction.tables, event_in(self._transaction.tables, event_id))

    async def set_facilitator_active(self, facilitator_id: UserId, *, active: bool) -> None:
        for event in events_in(self._transaction.tables):
            if event.facilitator_id == facilitator_id:
                save_event_row(self._transaction, replace(event, facilitator_active=active))

    async def save(self, event: Event) -> None:
        changes = self._written.take(event)
        stored = event_in(self._transaction.tables, event.id)
        save_event_row(self._transaction, replace(event, facilitator_active=stored.facilitator_active))
        for change in changes:
            await self._write_effects(change)

    async def complete_ended(self, now: datetime, *, limit: int) -> int:
        completed = self._mark_completed(now, limit)
        change = EFFECTS[EventChange.COMPLETED].bookings
        if completed and change is not None:
            await self._bookings.change_with_events(completed, change, now)
        return len(completed)

    def _mark_completed(self, now: datetime, limit: int) -> Sequence[EventId]:
        tables = self._transaction.tables
        completed_at = tables.of("completed_events")

        def has_held_seats(event: Event) -> bool:
            bookings = bookings_of(tables, event.id)
            return any(each.status is BookingStatus.CONFIRMED and each.hold_until is not None for each in bookings)

        ended = [event for event in events_in(tables) if event.is_over(now) and event.id not in completed_at]
        due = [event for event in ended if not has_held_seats(event)]
        chosen = [event.id for event in sorted(due, key=lambda event: event.details.interval.ends_at)][:limit]
        completed_at.update(dict.fromkeys(chosen, now))
        return chosen

    async def release_seat(self, event_id: EventId) -> None:
        change_seats(self._transaction, event_id, -1)

    async def occupy_seat(self, event_id: EventId) -> None:
        change_seats(self._transaction, event_id, 1)

    async def _write_effects(self, event: EventChanged) -> None:
        # `keeps_policy` concerns bookings without a stored policy, which only older versions have made.
        effects, event_id = EFFECTS[event.change], event.after.id
        refunded: Sequence[BookingId] = ()
        record_event(self._audit, event)
        if effects.payments:
            await self._messages.enqueue_checkout_closes_of(event_id)
            reason = CancelReason.EVENT_CANCELLED
            refunded = await self._refunds.add_for_event(event_id, reason=reason, by=event.by, now=event.at)
        if effects.message is not None:
            await self._messages.enqueue_for_event(effects.message, event_id)
        if effects.bookings is not None:
            await self._bookings.change_with_events(
                [event_id], effects.bookings, event.at, by=event.by, refunded=refunded
            )
        if effects.start:
            await self._bookings.shorten_holds(event_id, event.after.details.interval.starts_at)
            await self._reminders.align_event(event_id)
        if effects.participants:
            await self._change_mails.add_for_event(event)
        if effects.invitations:
            await self._invitations.withdraw_of_event(event_id, event.at)


class MemoryReviews:
    """A review also changes the rating of the facilitator, whose profile is created if there is none."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, review: Review, *, facilitator_id: UserId) -> ReviewId:
        tables = self._transaction.tables
        if review.event_id not in tables.of("events"):
            raise ConstraintViolated(f"there is no event {review.event_id}")
        user_in(tables, review.user_id)
        reviews, profiles = tables.of("reviews"), tables.of("facilitator_profiles")
        if any((each.event_id, each.user_id) == (review.event_id, review.user_id) for each in reviews.values()):
            raise AlreadyReviewed
        review_id = ReviewId(self._transaction.store.next_id("reviews"))
        reviews[review_id] = review
        profile = profiles.get(facilitator_id) or ProfileRow(None, None)
        profiles[facilitator_id] = replace(
            profile, rating_sum=profile.rating_sum + review.rating, rating_count=profile.rating_count + 1
        )
        return review_id
