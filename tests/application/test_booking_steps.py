"""Random steps of clients, facilitators, gateway and worker over adapters in memory. After each step no event is
oversold and every amount is accounted for; at the end every received payment is a paid booking or a refund."""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from application.payments.payables import Payable
from application.payments.settlement import Settled, SettlePayment
from application.unit_of_work import UnitOfWork
from domain.accounts import Role, User
from domain.bookings import BookingStatus
from domain.errors import DomainError
from domain.events import Event, EventStatus
from domain.ids import BookingId, BookingRef
from domain.invitations import InvitationStatus
from domain.payments import OFFLINE, UNPAID, GatewayUpdate, Payment, PaymentStatus, PaymentUpdate
from tests.application.booking_application import BookingApplication
from tests.support.memory.gateway import Behaviour, Order
from tests.support.memory.rows import bookings_in, events_in, payments_in, refunds_in

T = TypeVar("T")
ANY = st.integers(0, 10**6)
PEOPLE, CAPACITY = 4, 2


class BookingSteps(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.app = BookingApplication(reminder_offsets=())
        self.updates: list[GatewayUpdate] = []
        self.people: list[User] = []
        self.events: list[Event] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def attempt(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """A request that may be refused."""
        with suppress(DomainError):
            self.run(coroutine)

    @initialize()
    def begin(self) -> None:
        self.facilitator = self.run(self.app.person(Role.FACILITATOR))
        self.people = [self.run(self.app.person()) for _ in range(PEOPLE)]
        self.events = [self.run(self.app.event(self.facilitator, capacity=CAPACITY)) for _ in range(2)]

    def booking_id(self, which: int) -> BookingId:
        bookings = bookings_in(self.app.store.tables)
        return bookings[which % len(bookings)].id

    def order(self, which: int) -> Order:
        orders = list(self.app.gateway.orders.values())
        return orders[which % len(orders)]

    def has_bookings(self) -> bool:
        return bool(self.app.store.tables.of("bookings"))

    def has_orders(self) -> bool:
        return bool(self.app.gateway.orders)

    # Clients

    @rule(event=ANY, person=ANY)
    def book(self, event: int, person: int) -> None:
        self.attempt(self.app.book(self.events[event % 2], self.people[person % PEOPLE]))

    @precondition(has_bookings)
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        booking_id = self.booking_id(which)
        self.attempt(self.app.cancel_booking(self.app.owner(booking_id), booking_id))

    @precondition(has_bookings)
    @rule(which=ANY)
    def ask_for_the_link(self, which: int) -> None:
        self.attempt(self.app.open_checkout.for_payable(BookingRef(self.booking_id(which))))

    @precondition(has_orders)
    @rule(which=ANY, is_paid=st.booleans())
    def try_to_pay(self, which: int, is_paid: bool) -> None:
        order = self.order(which)
        if not order.is_closed and order.state is not PaymentUpdate.RECEIVED:
            act = self.app.gateway.pay if is_paid else self.app.gateway.decline
            self.updates.append(act(order.payment_id))

    @precondition(has_orders)
    @rule(which=ANY)
    def pay_with_update(self, which: int) -> None:
        """The update on the payment arrives immediately."""
        self.try_to_pay(which, is_paid=True)
        if self.updates:
            self.run(self.app.settle("gateway", self.updates[-1]))

    # The facilitator

    @precondition(has_bookings)
    @rule(which=ANY)
    def cancel_participant(self, which: int) -> None:
        self.attempt(self.app.cancel_participant(self.facilitator, self.booking_id(which)))

    @precondition(has_bookings)
    @rule(which=ANY, amount=st.sampled_from([None, 1, 30, 100]))
    def refund(self, which: int, amount: int | None) -> None:
        given = None if amount is None else Decimal(amount)
        self.attempt(self.app.refund_booking(self.facilitator, self.booking_id(which), given))

    @precondition(has_bookings)
    @rule(which=ANY)
    def receive_on_site(self, which: int) -> None:
        payable = BookingRef(self.booking_id(which))
        self.attempt(self.app.record_offline.by_facilitator(self.facilitator, payable))

    @rule(event=ANY, person=ANY)
    def invite(self, event: int, person: int) -> None:
        email = self.people[person % PEOPLE].email
        self.attempt(self.app.invite(self.facilitator, self.events[event % 2].id, name="Guest", email=email))

    @rule(which=ANY, is_confirmed=st.booleans())
    def answer(self, which: int, is_confirmed: bool) -> None:
        invitations = list(self.app.store.tables.of("invitations"))
        if invitations:
            token = self.app.tokens.token(invitations[which % len(invitations)])
            self.attempt(self.app.answer.confirm(token) if is_confirmed else self.app.answer.decline(token))

    @rule(event=ANY, capacity=st.integers(1, 3))
    def change_capacity(self, event: int, capacity: int) -> None:
        event_id = self.events[event % 2].id
        self.attempt(
            self.app.update_event(self.facilitator, event_id, lambda old: self.app.changed(old, capacity=capacity))
        )

    @rule(event=ANY, dice=st.integers(0, 9))
    def cancel_event(self, event: int, dice: int) -> None:
        if dice == 0:
            self.attempt(self.app.cancel_event(self.facilitator, self.events[event % 2].id))

    # The gateway and the worker

    @rule(behaviour=st.sampled_from([Behaviour.ACCEPTS, *Behaviour]))
    def gateway_behaves(self, behaviour: Behaviour) -> None:
        # A refused job goes to the dead letters, where an operator decides.
        self.app.gateway.behaviour = Behaviour.ACCEPTS if behaviour is Behaviour.REFUSES else behaviour

    @precondition(lambda self: self.updates)
    @rule(which=ANY)
    def update_arrives(self, which: int) -> None:
        """Late, repeatedly, and in any order."""
        self.run(self.app.settle("gateway", self.updates[which % len(self.updates)]))

    @rule(minutes=st.sampled_from([1, 31, 31, 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.app.clock.advance(timedelta(minutes=minutes))

    @rule()
    def worker_runs(self) -> None:
        self.run(self.periodic_tasks())

    async def periodic_tasks(self) -> None:
        await self.app.work()
        await self.app.expire_holds()
        await self.app.expire_invitations()
        await self.app.reconcile()
        await self.app.complete_bookings()

    # Invariants

    @invariant()
    def no_event_is_oversold(self) -> None:
        tables = self.app.store.tables
        for event in events_in(tables):
            bookings = [each for each in bookings_in(tables) if each.event_id == event.id]
            live = [each for each in bookings if each.status is not BookingStatus.CANCELLED]
            invited = [
                each
                for each in tables.of("invitations").values()
                if (each.event_id, each.status) == (event.id, InvitationStatus.PENDING)
            ]
            assert event.booked == len(live) + len(invited) <= event.details.capacity
            assert len({each.user_id for each in live}) == len(live)
            assert event.status is EventStatus.ACTIVE or event.booked == 0

    @invariant()
    def refunds_are_those_of_their_payments(self) -> None:
        tables = self.app.store.tables
        for payment in self.payments():
            requested = [row.refund.amount.amount for row in refunds_in(tables) if row.refund.payment_id == payment.id]
            assert payment.refunded.amount == sum(requested) <= payment.price.amount
            assert (payment.status is PaymentStatus.REFUNDED) == (payment.refunded == payment.price)

    @invariant()
    def received_payment_is_a_paid_booking_or_a_refund(self) -> None:
        for payment in self.payments():
            assert isinstance(payment.payable, BookingRef)
            if payment.status is PaymentStatus.COMPLETED:
                booking = self.app.booking(payment.payable.id)
                assert booking.status is not BookingStatus.CANCELLED
                assert booking.payment_status is PaymentStatus.COMPLETED

    @invariant()
    def booking_is_paid_at_most_once(self) -> None:
        paid = [payment.payable for payment in self.payments() if payment.status is PaymentStatus.COMPLETED]
        assert len(paid) == len(set(paid))

    def payments(self) -> list[Payment]:
        return [row.payment for row in payments_in(self.app.store.tables)]

    def teardown(self) -> None:
        try:
            if self.events:
                self.everything_is_settled()
        finally:
            self.runner.close()

    def everything_is_settled(self) -> None:
        """The gateway is available, all updates arrive, and the worker runs."""
        self.app.gateway.behaviour = Behaviour.ACCEPTS
        for order in self.app.gateway.orders.values():
            self.run(self.app.settle("gateway", self.app.gateway.update(order.payment_id)))
        for _ in range(3):
            self.app.clock.advance(timedelta(hours=2))
            self.run(self.periodic_tasks())
        self.no_event_is_oversold()
        self.refunds_are_those_of_their_payments()
        self.received_payment_is_a_paid_booking_or_a_refund()
        assert all(row.refund.succeeded for row in refunds_in(self.app.store.tables))
        for payment in self.payments():
            if payment.gateway == OFFLINE:
                continue
            paid = self.app.gateway.orders.get(payment.id)
            is_received = paid is not None and paid.state is PaymentUpdate.RECEIVED
            assert (payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}) == is_received
            given = [each.amount.amount for each in self.app.gateway.refunds.values() if each.payment.id == payment.id]
            assert sum(given) == payment.refunded.amount


FEW, MANY = 12, 1_000
EXAMPLES = settings(max_examples=MANY if os.environ.get("LONG_RUN") else FEW, stateful_step_count=40, deadline=None)


def test_amounts_and_seats_are_right_after_any_steps() -> None:
    run_state_machine_as_test(BookingSteps, settings=EXAMPLES)


async def _kept(
    self: SettlePayment, work: UnitOfWork, payable: Payable, payment: Payment, report: GatewayUpdate
) -> Settled:
    received = payment.received(order_id=report.order_id, gateway_id=report.gateway_id)
    await work.payments.save(received, received_at=self.clock.now())
    if payable.payment_status in UNPAID and not payable.is_cancelled:
        await payable.pay(payment.price)
    return Settled.RECEIVED


def test_invariants_show_late_payments_that_are_not_refunded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: settlement without the rules for late and second payments."""
    monkeypatch.setattr(SettlePayment, "_receive", _kept)
    steps = BookingSteps()
    steps.begin()
    steps.book(0, 0)
    steps.time_passes(31)
    steps.run(steps.app.expire_holds())
    steps.try_to_pay(0, is_paid=True)
    steps.received_payment_is_a_paid_booking_or_a_refund()
    steps.update_arrives(0)
    with pytest.raises(AssertionError):
        steps.received_payment_is_a_paid_booking_or_a_refund()
    with pytest.raises(AssertionError):
        steps.teardown()
