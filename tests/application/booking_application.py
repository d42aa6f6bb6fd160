"""The use cases of events, bookings and payments over adapters in memory."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import uuid4

from application.bookings.cancellation import CancelBooking, CancelParticipant
from application.bookings.completion import CompleteBookings
from application.bookings.invitations import (
    AnswerInvitation,
    ExpireInvitations,
    InviteParticipant,
    ListInvitations,
    WithdrawInvitation,
)
from application.bookings.ports import BookingQueries, InvitationQueries, SeatInventory
from application.bookings.reservation import BookSeat, NewBooking
from application.events.management import CancelEvent, CreateEvent, DeleteEvent, UpdateEvent
from application.events.participant_messages import WriteToParticipants
from application.events.ports import EventQueries, ReviewQueries
from application.events.queries import ShowEvent
from application.events.reviews import ListReviews, ShowEventInDetail, WriteReview
from application.idempotency import CLAIM, Claim, Made
from application.notifications.change_mails import QueueChangeMails
from application.payments.callbacks import ConfirmPayment, ReportPaymentFailure
from application.payments.checkout import CloseCheckout, OpenCheckout
from application.payments.disputes import SettleDispute
from application.payments.hold_expiry import ExpireHolds
from application.payments.jobs import PaymentJobs
from application.payments.offline import RecordOfflinePayment
from application.payments.ports.gateways import GatewayEvent
from application.payments.ports.records import Checkouts, PaymentQueries, StoredUpdate
from application.payments.reconciliation import Reconcile
from application.payments.refunds import RefundBooking, Refunds, ShowCancellation
from application.payments.settlement import SettlePayment
from application.payments.webhooks import ApplyWebhook, ReceiveWebhook
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import Role, User, UserId
from domain.bookings import Booking
from domain.checkout_return import ReturnUrls
from domain.events import Event, EventDetails, EventId
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.outbox import Delivered, Destination, Failed, Message, MessageId, MessageType, Outcome
from domain.payments import OFFLINE, Payment, PaymentId
from domain.time import Interval
from infrastructure.auth.invitation_tokens import MacInvitationTokens
from tests.support.memory.bookings import MemorySeatInventory
from tests.support.memory.claims import OutboxRow
from tests.support.memory.gateway import MemoryGateway, MemoryGateways
from tests.support.memory.payment_queries import MemoryPaymentQueries
from tests.support.memory.queries import (
    MemoryBookingQueries,
    MemoryCheckouts,
    MemoryEventQueries,
    MemoryInvitationQueries,
    MemoryReviewQueries,
)
from tests.support.memory.rate_limits import MemoryLimits
from tests.support.memory.rows import (
    StoredMismatch,
    StoredPayment,
    StoredRefund,
    bookings_of,
    messages_in,
    payments_of,
    refunds_in,
)
from tests.support.memory.store import CountedWakeUps, SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

HOLD = timedelta(minutes=30)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RETURN_URL = "https://front-end.example/paid"

T = TypeVar("T")


class BookingApplication:
    """Every person, event and booking is made through the use cases, except accounts."""

    open_work: OpenUnitOfWork
    events: EventQueries
    bookings: BookingQueries
    invitations: InvitationQueries
    reviews: ReviewQueries
    payments: PaymentQueries
    checkouts: Checkouts
    seats: SeatInventory

    def __init__(
        self,
        *,
        gateway: str = "gateway",
        reminder_offsets: tuple[timedelta, ...] = (DAY, HOUR),
        change_mail_window: timedelta = timedelta(0),
    ) -> None:
        self.store, self.clock, self.wake_ups = Store(), SettableClock(), CountedWakeUps()
        self.gateway = MemoryGateway(gateway, holds_seats=gateway != OFFLINE)
        self.other_gateway = MemoryGateway("other")
        self.gateways = MemoryGateways(self.gateway, self.other_gateway)
        self.limits = MemoryLimits(self.clock)
        self.tokens = MacInvitationTokens(b"a key")
        self.made: list[Made | None] = []
        """The result of each commit, which a repeated request with the same idempotency key returns."""
        self._finished_jobs: set[MessageId] = set()
        self._people = 0
        self._change_mail_window = change_mail_window
        self._choose_adapters(reminder_offsets)
        self._make_use_cases()

    def _choose_adapters(self, reminder_offsets: tuple[timedelta, ...]) -> None:
        open_work = MemoryUnitsOfWork(
            self.store, self.clock, reminder_offsets=reminder_offsets, change_mail_window=self._change_mail_window
        )
        self.open_work, self.made = open_work, open_work.results
        self.events = MemoryEventQueries(self.store)
        self.bookings = MemoryBookingQueries(self.store)
        self.invitations = MemoryInvitationQueries(self.store)
        self.reviews = MemoryReviewQueries(self.store)
        self.payments = MemoryPaymentQueries(self.store, self.clock)
        self.checkouts = MemoryCheckouts(self.store, self.clock)
        self.seats = MemorySeatInventory(
            self.store, self.clock, gateway=self.gateway.name, reminder_offsets=reminder_offsets
        )

    def _make_use_cases(self) -> None:
        shared = (self.wake_ups, self.clock)
        self.create_event = CreateEvent(self.open_work, self.gateway, self.events, *shared)
        self.update_event = UpdateEvent(self.open_work, self.gateway, self.events, *shared)
        self.cancel_event = CancelEvent(self.open_work, *shared)
        self.delete_event = DeleteEvent(self.open_work, *shared)
        self.refunds = Refunds(self.open_work, self.gateways, *shared)
        self.settle = SettlePayment(self.open_work, self.refunds, *shared)
        self.open_checkout = OpenCheckout(
            self.gateways, self.payments, self.checkouts, ReturnUrls(allowed=frozenset({RETURN_URL}))
        )
        self.close_checkout = CloseCheckout(self.open_work, self.gateways, self.settle)
        self.book_seat = BookSeat(self.seats, self.open_checkout, self.gateway, HOLD, *shared, request_id=lambda: None)
        self.cancel_booking = CancelBooking(self.open_work, self.refunds, *shared)
        self.cancel_participant = CancelParticipant(self.open_work, self.refunds, *shared)
        self.show_cancellation = ShowCancellation(self.open_work, self.clock)
        self.refund_booking = RefundBooking(self.open_work, self.refunds, self.wake_ups)
        self.complete_bookings = CompleteBookings(self.open_work, *shared)
        self.expire_holds = ExpireHolds(self.open_work, self.payments, *shared)
        self.receive_webhook = ReceiveWebhook(self.gateways, self.open_work, *shared)
        self.settle_dispute = SettleDispute(self.open_work, self.gateways, *shared)
        self.apply_webhook = ApplyWebhook(self.open_work, self.settle, self.refunds, self.settle_dispute, self.clock)
        self.jobs = PaymentJobs(self.refunds, self.close_checkout, self.apply_webhook, self.settle_dispute)
        self.confirm_payment = ConfirmPayment(self.open_work, self.gateway, self.settle, self.payments)
        self.report_failure = ReportPaymentFailure(self.open_work, self.gateways, self.settle, self.payments)
        self.record_offline = RecordOfflinePayment(self.open_work, *shared)
        self.reconcile = Reconcile(
            self.open_work,
            self.payments,
            self.checkouts,
            self.gateways,
            self.open_checkout,
            self.close_checkout,
            self.settle,
        )
        self.invite = InviteParticipant(self.open_work, self.limits, *shared)
        self.answer = AnswerInvitation(self.open_work, self.invitations, self.tokens, *shared)
        self.withdraw = WithdrawInvitation(self.open_work, self.clock)
        self.list_invitations = ListInvitations(self.events, self.invitations)
        self.expire_invitations = ExpireInvitations(self.open_work, self.clock)
        self.write_review = WriteReview(self.open_work, self.events, self.clock)
        self.show_event = ShowEvent(self.events)
        self.list_reviews = ListReviews(self.show_event, self.reviews)
        self.show_event_in_detail = ShowEventInDetail(self.show_event, self.events, self.reviews)
        self.queue_change_mails = QueueChangeMails(self.open_work, *shared)
        self.write_to_participants = WriteToParticipants(self.open_work, self.limits, self.wake_ups)

    async def person(self, role: Role = Role.USER, *, email: str | None = None) -> User:
        self._people += 1
        name = f"Person {self._people}"
        email = email or f"person{self._people}@example.com"
        async with self.open_work() as work:
            user = await work.users.add(email=email, name=name, role=role, password_hash="hash", now=self.clock.now())
            await work.commit()
        await self._is_mailed_without_limit(user)
        return user

    async def _is_mailed_without_limit(self, user: User) -> None:
        """So that the CRM mails facilitators, as usual."""
        self.store.tables.of("limited_accounts").pop(user.id)

    async def time_passes(self, by: timedelta) -> None:
        self.clock.advance(by)

    async def refresh(self) -> None:
        """For adapters that keep nothing in `store`: reads their tables into it."""

    def deactivate(self, user: User) -> None:
        self.replace(replace(user, is_active=False))

    def replace(self, user: User) -> None:
        self.store.tables.of("users")[user.id] = user

    def details(self, **changes: Any) -> EventDetails:
        """An event of one hour that starts in seven days and costs 100 INR, with ten seats."""
        starts_at = self.clock.now() + changes.pop("starts_in", 7 * DAY)
        usual: dict[str, Any] = {
            "title": "Yoga",
            "interval": Interval(starts_at, starts_at + changes.pop("lasts", HOUR)),
            "capacity": 10,
            "price": inr(100),
        }
        return EventDetails(**usual | changes)

    @staticmethod
    def changed(details: EventDetails, **changes: Any) -> EventDetails:
        return replace(details, **changes)

    async def event(self, facilitator: User | None = None, **changes: Any) -> Event:
        """A facilitator is made where none is given."""
        facilitator = facilitator or await self.person(Role.FACILITATOR)
        view = await self.create_event(facilitator, self.details(**changes))
        await self.refresh()
        return self.stored_event(view.id)

    async def book(self, event: Event, user: User | None = None) -> NewBooking:
        user = user or await self.person()
        return await self.book_seat(user, event.id, None)

    async def paid(self, event: Event, user: User | None = None) -> BookingId:
        """A booking that was paid at the gateway."""
        booking = await self.book(event, user)
        await self.settle(self.gateway.name, self.gateway.pay(self.payment_id(booking.reserved.id)))
        return booking.reserved.id

    def user(self, user_id: UserId) -> User:
        user: User = self.store.tables.of("users")[user_id]
        return user

    def stored_event(self, event_id: EventId) -> Event:
        event: Event = self.store.tables.of("events")[event_id]
        return event

    def facilitator(self, event: Event) -> User:
        return self.user(event.facilitator_id)

    def booking(self, booking_id: BookingId) -> Booking:
        booking: Booking = self.store.tables.of("bookings")[booking_id]
        return booking

    def owner(self, booking_id: BookingId) -> User:
        return self.user(self.booking(booking_id).user_id)

    def bookings_of(self, event: Event) -> list[Booking]:
        return bookings_of(self.store.tables, event.id)

    def payment(self, booking_id: BookingId) -> Payment:
        """The latest payment of the booking."""
        return self.payments_of(booking_id)[-1].payment

    def payments_of(self, booking_id: BookingId) -> list[StoredPayment]:
        return payments_of(self.store.tables, BookingRef(booking_id))

    def payment_id(self, booking_id: BookingId) -> PaymentId:
        return self.payment(booking_id).id

    def stored_refunds(self) -> list[StoredRefund]:
        return refunds_in(self.store.tables)

    def refunded(self) -> list[tuple[Money, str]]:
        """Amount and reason of every refund."""
        return [(row.refund.amount, row.refund.reason) for row in self.stored_refunds()]

    def messages(self, *types: MessageType) -> list[OutboxRow]:
        return [each for each in messages_in(self.store.tables) if not types or each.message_type in types]

    def sent(self, message_type: MessageType) -> list[tuple[str, Destination]]:
        """Ordering key and destination of each message of that type."""
        return [(each.ordering_key, each.destination) for each in self.messages(message_type)]

    def stored_mismatches(self) -> list[StoredMismatch]:
        return list(self.store.tables.of("mismatches").values())

    def mismatches(self) -> list[str]:
        return [row.why for row in self.stored_mismatches()]

    async def receives(self, update: StoredUpdate, *, event_id: str | None = None) -> None:
        """A webhook of the gateway arrives, and the worker runs."""
        event = GatewayEvent(event_id or f"event-{uuid4()}", "kind", update, {})
        self.gateway.webhooks[event.id.encode()] = event
        await self.receive_webhook(self.gateway.name, event.id.encode(), {"signature": "valid"})
        await self.work()

    async def work(self) -> list[Outcome]:
        """Runs each payment job once that is new or has failed for a time."""
        due = [job for job in await self._payment_jobs() if job.id not in self._finished_jobs]
        outcomes = [await self.jobs.deliver(job) for job in due]
        for job, outcome in zip(due, outcomes, strict=True):
            if not isinstance(outcome, Failed) or outcome.permanent:
                self._finished_jobs.add(job.id)
        return outcomes

    async def _payment_jobs(self) -> list[Message]:
        jobs = [each for each in self.messages() if each.destination is Destination.PAYMENTS]
        return [self._message(job) for job in jobs]

    def _message(self, job: OutboxRow) -> Message:
        return Message(
            id=job.id,
            destination=job.destination,
            ordering_key=job.ordering_key,
            message_type=MessageType(job.message_type),
            payload=dict(job.payload),
            attempt=1,
            occurred_at=self.clock.now(),
            request_id=None,
        )

    async def repeated(self, request: Callable[[], Awaitable[T]]) -> tuple[T, T]:
        """The results of a request and of its repetition with the same idempotency key, after a crash before the
        answer. Asserts that the repetition writes nothing."""
        first = await request()
        before = self.store.tables
        token = CLAIM.set(Claim("user:1", "key", uuid4(), json.dumps(self.made[-1])))
        try:
            second = await request()
        finally:
            CLAIM.reset(token)
        assert self.store.tables == before
        return first, second


def inr(amount: int | str) -> Money:
    return Money(Decimal(amount), "INR")


def delivered(outcomes: list[Outcome]) -> bool:
    return bool(outcomes) and all(isinstance(outcome, Delivered) for outcome in outcomes)
