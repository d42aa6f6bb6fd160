"""Webhooks of payment gateways: stored when they arrive, applied by the worker."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from application.idempotency import SAYS_THE_SAME
from application.outbox.ports import WakeUps
from application.payments.disputes import DisputeOutcome, SettleDispute
from application.payments.ports.gateways import GatewayEvent, Gateways
from application.payments.refunds import Refunds
from application.payments.settlement import Settled, SettlePayment
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.errors import Errors
from domain.payments import (
    DisputeUpdate,
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    RefundUpdate,
)


@use_case
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
                await work.messages.enqueue_webhook(gateway, event.id)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.notify()
        return event


@use_case
class ApplyWebhook:
    """Applies a stored webhook, in the worker."""

    open_work: OpenUnitOfWork
    settle_payment: SettlePayment
    refunds: Refunds
    settle_dispute: SettleDispute
    clock: Clock

    async def __call__(self, gateway: str, event_id: str) -> str:
        async with self.open_work() as work:
            report, arrived_at = await work.gateway_events.report(gateway, event_id)
        match report:
            case GatewayUpdate():
                outcome: str = await self.settle_payment(gateway, report, arrived_at=arrived_at)
            case RefundUpdate():
                await self._settle_first(gateway, report.payment, arrived_at)
                outcome = await self.refunds.settle_update(gateway, report)
            case DisputeUpdate():
                await self._settle_first(gateway, report.payment, arrived_at)
                outcome = await self.settle_dispute(gateway, report)
            case _:
                outcome = Settled.NO_CHANGE
        if outcome == DisputeOutcome.WAITS:
            return outcome
        async with self.open_work() as work:
            await work.gateway_events.record_result(gateway, event_id, outcome, self.clock.now())
            await work.commit()
        return outcome

    async def _settle_first(self, gateway: str, payment: GatewayUpdate | None, arrived_at: datetime) -> None:
        """Applies the update on the payment that a webhook about its refund or its dispute contains."""
        if payment is not None:
            await self.settle_payment(gateway, payment, arrived_at=arrived_at)
