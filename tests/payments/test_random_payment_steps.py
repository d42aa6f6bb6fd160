"""A long random sequence of operations on payments, for seats and appointments, with a gateway that fails in
many ways: at the end our records and the gateway's agree to the minor unit. What adapters in memory can show,
`tests/application/test_booking_steps.py` does with many more steps.

`CONVENE_WALK_STEPS` makes it longer, `CONVENE_WALK_SEED` another one; `CONVENE_WALK_STORIES` lets hypothesis try more.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from application.bookings.reservation import NewBooking
from domain.accounts import User
from domain.errors import DomainError
from domain.events import EventId
from domain.ids import AppointmentId
from tests.support.app_harness import AppHarness, NewSession, Sold, order_of, ref_of
from tests.support.appointment_harness import AppointmentHarness
from tests.support.local_gateway import Webhook
from tests.support.process_harness import LONG_RUN

STEPS = int(os.environ.get("CONVENE_WALK_STEPS") or (450 if LONG_RUN else 0))
A_FEW = {"INR": 220, "JPY": 40, "KWD": 40}
"""Steps of a usual run. The longest has each kind of step, and ends as soon as it has had them all."""
FEWEST = 80
SEED = int(os.environ.get("CONVENE_WALK_SEED", "20261120"))
STORIES = int(os.environ.get("CONVENE_WALK_STORIES") or (8 if LONG_RUN else 2))
PRICES = {"INR": "30.55", "JPY": "501", "KWD": "1.235"}


@dataclass
class Walk:
    harness: AppHarness
    currency: str
    luck: random.Random
    people: list[User]
    events: list[EventId] = field(default_factory=list)
    coaches: list[User] = field(default_factory=list)
    coach_of: dict[AppointmentId, User] = field(default_factory=dict)
    bookings: list[tuple[User, Sold]] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    @property
    def appointment_harness(self) -> AppointmentHarness:
        return AppointmentHarness(self.harness)

    async def begins(self) -> None:
        for _ in range(4):
            await self.offer()
        for policy in ([(24, 100)], [(0, 45)]):
            self.coaches.append(await self.appointment_harness.coach(PRICES[self.currency], self.currency, policy))
        while not self.bookings:
            await self.book()

    async def step(self, step: str) -> None:
        try:
            await getattr(self, step)()
            self.done[step] += 1
        except DomainError as refused:
            self.done[f"{step}: {refused.code}"] += 1

    def a_booking(self) -> tuple[User, Sold]:
        """Rather a young one."""
        return self.bookings[-1 - min(int(self.luck.expovariate(0.15)), len(self.bookings) - 1)]

    async def offer(self) -> None:
        policy = self.luck.choice([((0, 100),), ((24, 50),), ((0, 33),)])
        self.events.append(
            await self.harness.event(
                capacity=self.luck.randrange(1, 4), price=PRICES[self.currency], currency=self.currency, policy=policy
            )
        )

    async def book(self) -> None:
        person = self.luck.choice(self.people)
        gateway = self.luck.choice(["till"] * 9 + ["offline"])
        new = await self.harness.book(person, self.luck.choice(self.events[-4:]), gateway=gateway)
        if gateway == "till":
            self.bookings.append((person, new))

    async def book_time(self) -> None:
        person, coach = self.luck.choice(self.people), self.luck.choice(self.coaches)
        hour, minutes = self.luck.randrange(4), self.luck.choice([20, 50])
        gateway = self.luck.choice(["till"] * 9 + ["offline"])
        new = await self.appointment_harness.book(person, coach, hour, minutes, gateway=gateway)
        self.coach_of[new.reserved.id] = coach
        if gateway == "till":
            self.bookings.append((person, new))

    async def move(self) -> None:
        person, new = self.a_booking()
        if isinstance(new, NewSession):
            await self.appointment_harness.move(person, new, self.luck.randrange(4))

    async def pay(self) -> None:
        await self._decide("paid")

    async def decline(self) -> None:
        await self._decide("declined")

    async def _decide(self, state: str) -> None:
        _, new = self.a_booking()
        if order_of(new) not in self.harness.local_gateway.orders:
            return  # without a checkout it cannot be paid
        webhook = self.harness.local_gateway.pay(order_of(new), state)
        if webhook is None or self.luck.random() < 0.15:
            return  # lost
        self.webhooks.append(webhook)
        for _ in range(self.luck.choice([0, 1, 1, 1, 2])):  # late, in time, doubled
            await self.harness.take(webhook)

    async def repeat_webhook(self) -> None:
        """A webhook that is late, or comes once more."""
        if self.webhooks:
            await self.harness.take(self.luck.choice(self.webhooks))

    async def ask_for_the_link(self) -> None:
        person, new = self.a_booking()
        await self.harness.worker.money.open_checkout.for_user(person, ref_of(new))

    async def pay_on_the_spot(self) -> None:
        _, new = self.a_booking()
        seller = self.coach_of[new.reserved.id] if isinstance(new, NewSession) else self.harness.facilitator
        await self.harness.worker.money.record_offline_payment.by_facilitator(seller, ref_of(new))

    async def cancel(self) -> None:
        person, new = self.a_booking()
        if isinstance(new, NewSession):
            await self.appointment_harness.cancel(self.luck.choice([person, self.coach_of[new.reserved.id]]), new)
        else:
            await self.harness.cancel(person, new)

    async def refund(self) -> None:
        """By the facilitator: a part, or what is left."""
        _, new = self.a_booking()
        if isinstance(new, NewBooking):
            ask = self.harness.worker.money.refund_booking
            await ask(self.harness.facilitator, new.reserved.id, self.luck.choice([None, Decimal(1), Decimal(7)]))

    async def cancel_event(self) -> None:
        await self.harness.cancel_event(self.luck.choice(self.events[-6:]))
        await self.offer()

    async def expire(self) -> None:
        await self.harness.minutes_pass(self.luck.choice([5, 31]))
        await asyncio.gather(*(worker.money.expire_holds() for worker in self.harness.workers))
        await asyncio.gather(*(self.appointment_harness.expire(worker) for worker in self.harness.workers))

    async def reconcile(self) -> None:
        await asyncio.gather(*(worker.money.reconcile() for worker in self.harness.workers))

    async def work(self) -> None:
        await asyncio.gather(*(worker.run() for worker in self.harness.workers))

    async def misbehave(self) -> None:
        """The gateway is unavailable, or loses its answers, or recovers."""
        local_gateway = self.harness.local_gateway
        local_gateway.unavailable = local_gateway.lose_answers = False
        match self.luck.randrange(4):
            case 0:
                local_gateway.unavailable = True
            case 1:
                local_gateway.lose_answers = True

    async def has_all(self) -> bool:
        """Whether each kind of step succeeded, and webhooks had each effect."""
        if not all(self.done[step] for step in WEIGHTS):
            return False
        settled = await self.harness.records.fetch("SELECT DISTINCT outcome FROM gateway_events")
        return {row["outcome"] for row in settled} >= {"received", "failed", "old_news"}

    async def ends(self) -> None:
        """The gateway is well again, all is looked up and done."""
        self.harness.local_gateway.unavailable = self.harness.local_gateway.lose_answers = False
        for _ in range(4):
            await self.harness.minutes_pass(90)
            await self.expire()
            await self.reconcile()
            await self.harness.until_dry()


WEIGHTS = {
    "offer": 2,
    "book": 16,
    "book_time": 14,
    "move": 3,
    "pay": 18,
    "decline": 4,
    "repeat_webhook": 6,
    "ask_for_the_link": 4,
    "pay_on_the_spot": 2,
    "cancel": 8,
    "cancel_event": 3,
    "expire": 5,
    "reconcile": 4,
    "work": 12,
    "misbehave": 6,
    "refund": 4,
}
STEPS_AND_WEIGHTS = [step for step, weight in WEIGHTS.items() for _ in range(weight)]


# Takes 5 s with INR: fewer steps have not each kind among them.
@pytest.mark.parametrize("currency", PRICES)
async def test_after_random_operations_our_records_match_the_gateway(harness: AppHarness, currency: str) -> None:
    walk = Walk(harness, currency, random.Random(f"{SEED} {currency}"), await harness.people(12))
    await walk.begins()
    steps = STEPS or A_FEW[currency]
    for number in range(steps):
        await walk.step(walk.luck.choice(STEPS_AND_WEIGHTS))
        if not STEPS and number >= FEWEST and await walk.has_all():
            break
    await walk.ends()

    assert await harness.wrongs() == []
    assert await harness.mismatches() == []
    assert {status for _, status in await harness.jobs()} == {"delivered"}
    assert await harness.records.fetchval("SELECT count(*) FROM refunds WHERE status <> 'processed'") == 0
    orders = harness.local_gateway.orders.values()
    assert await harness.books(currency) == sum(order.captured - order.refunded for order in orders)
    assert all(order.refunded <= order.captured for order in orders)
    if steps < A_FEW["INR"]:
        return
    assert await walk.has_all(), walk.done


async def test_no_order_of_operations_by_hypothesis_breaks_the_invariants(harness: AppHarness) -> None:
    """The same steps, in the orders that hypothesis chooses. Shrinking a failure would take minutes: remove `phases`
    to find its cause."""
    loop = asyncio.get_running_loop()
    people = await harness.people(6)

    class Stories(RuleBasedStateMachine):
        @initialize(currency=st.sampled_from(sorted(PRICES)), luck=st.integers(0, 1000))
        def begin(self, currency: str, luck: int) -> None:
            self.walk = Walk(harness, currency, random.Random(luck), people)
            self.run(self.walk.begins())

        @rule(step=st.sampled_from(STEPS_AND_WEIGHTS))
        def go_on(self, step: str) -> None:
            self.run(self.walk.step(step))

        def teardown(self) -> None:
            self.run(self.walk.ends())
            assert self.run(harness.wrongs()) == []
            assert self.run(harness.mismatches()) == []

        def run(self, part: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(part, loop).result()

    tries = settings(
        max_examples=STORIES,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
    )
    await asyncio.to_thread(run_state_machine_as_test, Stories, settings=tries)
