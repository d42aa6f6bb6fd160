"""Webhooks of payment gateways: stored when they arrive, applied by the worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from application.idempotency import SAYS_THE_SAME
from application.outbox.ports import WakeUps
from application.payments.ports.gateways import GatewayEvent, Gateways
from application.payments.refunds import Refunds
from application.payments.settlement import Settled, SettlePayment
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.errors import Errors
from domain.payments import (
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    RefundUpdate,
)


@dataclass(frozen=True, slots=True)
class ReceiveWebhook:
    """Receives a gateway's webhook: verifies it and stores it once by its id. The worker applies it."""

    raises: ClassVar[Errors] = (InvalidSignature, GatewayUnavailable)

    gateways: Gateways
    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, gateway: str, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        event = self.gateways.named(gateway).read_webhook(body, headers)
        async with self.open_work() as work:
            if await work.gateway_events.add(gateway, event, self.clock.now()) and event.report is not None:
                await work.messages.enqueue_webhook(gateway, event)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.notify()
        return event


@dataclass(frozen=True, slots=True)
class ApplyWebhook:
    """Applies a stored webhook, in the worker."""

    open_work: OpenUnitOfWork
    settle_payment: SettlePayment
    refunds: Refunds
    clock: Clock

    async def __call__(self, gateway: str, event_id: str) -> str:
        async with self.open_work() as work:
            report, arrived_at = await work.gateway_events.report(gateway, event_id)
        match report:
            case GatewayUpdate():
                outcome: str = await self.settle_payment(gateway, report, arrived_at=arrived_at)
            case RefundUpdate():
                if report.payment is not None:
                    await self.settle_payment(gateway, report.payment, arrived_at=arrived_at)
                outcome = await self.refunds.settle_update(gateway, report)
            case _:
                outcome = Settled.NO_CHANGE
        async with self.open_work() as work:
            await work.gateway_events.record_result(gateway, event_id, outcome, self.clock.now())
            await work.commit()
        return outcome
