"""Random steps of payments: what a gateway, its clients and the worker do, whatever is paid for."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.disputes import DisputeStatus
from domain.errors import DomainError
from domain.money import Money
from domain.payments import OFFLINE, DisputeUpdate, GatewayUpdate, Payment, PaymentId, PaymentStatus, PaymentUpdate
from tests.application.booking_application import BookingApplication
from tests.support.memory.gateway import Behaviour, Order
from tests.support.memory.rows import payments_in, refunds_in

T = TypeVar("T")
App = TypeVar("App", bound=BookingApplication)
Steps = TypeVar("Steps", bound="PaymentSteps[Any]")
ANY = st.integers(0, 10**6)


class PaymentSteps(RuleBasedStateMachine, Generic[App]):
    """A subclass has the steps of what is paid for, its invariants, and the periodic tasks of the worker."""

    def __init__(self, app: App) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.app = app
        self.updates: list[GatewayUpdate] = []
        self.dispute_updates: list[DisputeUpdate] = []
        self.refunded_there: dict[PaymentId, list[Decimal]] = {}
        """Amounts of refunds that were made in the gateway's dashboard."""
        self.has_begun = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._run(coroutine)
        finally:
            self._run(self.app.refresh())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def attempt(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """A request that may be refused."""
        with suppress(DomainError):
            self.run(coroutine)

    @abstractmethod
    async def periodic_tasks(self) -> None:
        """The tasks of a worker that are due without a message."""

    def order(self, which: int) -> Order:
        orders = list(self.app.gateway.orders.values())
        return orders[which % len(orders)]

    def payments(self) -> list[Payment]:
        return [row.payment for row in payments_in(self.app.store.tables)]

    def has_orders(self) -> bool:
        return bool(self.app.gateway.orders)

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

    @rule(behaviour=st.sampled_from([Behaviour.ACCEPTS, *Behaviour]))
    def gateway_behaves(self, behaviour: Behaviour) -> None:
        # A refused job goes to the dead letters, where an operator decides.
        self.app.gateway.behaviour = Behaviour.ACCEPTS if behaviour is Behaviour.REFUSES else behaviour

    @precondition(lambda self: self.updates)
    @rule(which=ANY)
    def update_arrives(self, which: int) -> None:
        """Late, repeatedly, and in any order."""
        self.run(self.app.settle("gateway", self.updates[which % len(self.updates)]))

    @precondition(has_orders)
    @rule(which=ANY, status=st.sampled_from(DisputeStatus), is_inquiry=st.booleans(), amount=st.sampled_from([40, 100]))
    def bank_disputes(self, which: int, status: DisputeStatus, is_inquiry: bool, amount: int) -> None:
        """The payer's bank opens a dispute of a received payment, makes a chargeback of an inquiry, or decides it. What
        was refunded before is not disputed."""
        order, gateway = self.order(which), self.app.gateway
        if order.state is not PaymentUpdate.RECEIVED or self.refunded_there_or_here(order.payment_id):
            return
        known = gateway.disputes.get(order.payment_id, [])
        if known:
            amount, is_inquiry = int(known[0].amount.amount), is_inquiry and known[0].is_inquiry
            if known[0].status is not DisputeStatus.OPEN:
                return
        if status is DisputeStatus.LOST:
            is_inquiry = False
        money = Money(Decimal(amount), order.price.currency)
        self.dispute_updates.append(gateway.dispute(order.payment_id, status, amount=money, is_inquiry=is_inquiry))

    def refunded_there_or_here(self, payment_id: PaymentId) -> bool:
        made = any(each.payment.id == payment_id for each in self.app.gateway.refunds.values())
        return made or payment_id in self.refunded_there

    @precondition(lambda self: self.dispute_updates)
    @rule(which=ANY)
    def dispute_update_arrives(self, which: int) -> None:
        """Late, repeatedly, in any order, and before the payment's own update."""
        self.run(self.app.receives(self.dispute_updates[which % len(self.dispute_updates)]))

    @rule(minutes=st.sampled_from([1, 31, 31, 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.run(self.app.time_passes(timedelta(minutes=minutes)))

    @rule()
    def worker_runs(self) -> None:
        self.run(self.periodic_tasks())

    @invariant()
    def refunds_are_those_of_their_payments(self) -> None:
        tables = self.app.store.tables
        for payment in self.payments():
            refunds = [row.refund for row in refunds_in(tables) if row.refund.payment_id == payment.id]
            requested = [refund.amount.amount for refund in refunds if refund.ended_by is None]
            assert payment.refunded.amount == sum(requested)
            assert payment.returned <= payment.price.amount
            assert (payment.status is PaymentStatus.REFUNDED) == (payment.returned == payment.price.amount)

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        paid = [payment.payable for payment in self.payments() if payment.status is PaymentStatus.COMPLETED]
        assert len(paid) == len(set(paid))

    def teardown(self) -> None:
        try:
            if self.has_begun:
                self.everything_is_settled()
        finally:
            self.runner.close()

    def everything_is_settled(self) -> None:
        """The gateway is available, disputes are decided, all updates arrive, and the worker runs."""
        self.app.gateway.behaviour = Behaviour.ACCEPTS
        for number, order in enumerate(self.app.gateway.orders.values()):
            if order.payment_id in self.app.gateway.disputes:
                status = DisputeStatus.LOST if number % 2 else DisputeStatus.WON
                self.bank_disputes(number, status, is_inquiry=False, amount=100)
        for update in self.dispute_updates:
            self.run(self.app.receives(update))
        for order in self.app.gateway.orders.values():
            self.run(self.app.settle("gateway", self.app.gateway.update(order.payment_id)))
        for _ in range(3):
            self.time_passes(120)
            self.run(self.periodic_tasks())
        for each in self.invariants:
            each.function(self)
        refunds = [row.refund for row in refunds_in(self.app.store.tables)]
        assert all(refund.succeeded or refund.ended_by is not None for refund in refunds)
        for payment in self.payments():
            if payment.gateway != OFFLINE:
                self.payment_is_that_of_the_gateway(payment)

    def payment_is_that_of_the_gateway(self, payment: Payment) -> None:
        order = self.app.gateway.orders.get(payment.id)
        is_received = order is not None and order.state is PaymentUpdate.RECEIVED
        assert (payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}) == is_received
        refunds = self.app.gateway.refunds.values()
        given = [each.amount.amount for each in refunds if each.payment.id == payment.id]
        assert sum(given + self.refunded_there.get(payment.id, [])) == payment.refunded.amount
        disputes = self.app.gateway.disputes.get(payment.id, [])
        disputed = payment.with_disputes(disputes)
        assert (payment.dispute, payment.charged_back) == (disputed.dispute, disputed.charged_back)
        assert payment.dispute is not DisputeStatus.OPEN


def replay(machine: Callable[[], Steps], kept: Callable[[Steps], None]) -> None:
    """Steps that once led to a wrong state, as hypothesis prints them."""
    state = machine()
    try:
        kept(state)
        for each in state.invariants:
            each.function(state)
    finally:
        state.teardown()
