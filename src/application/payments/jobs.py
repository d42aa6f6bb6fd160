"""What we owe payment gateways and what they told us, as messages: the outbox brings them, with retries and lanes."""

from dataclasses import dataclass
from uuid import UUID

from application.payments.checkout import AbandonCheckout
from application.payments.ports.gateways import GatewayRefused
from application.payments.refunds import Refunds
from application.payments.webhooks import ApplyGatewayEvent
from domain.errors import NotFound
from domain.outbox import Delivered, Fact, Failed, Message, Outcome
from domain.payments import GatewayUnavailable, PaymentId
from domain.refunds import RefundId


@dataclass(frozen=True, slots=True)
class PaymentErrands:
    """A courier: pays promised refunds, closes checkouts, applies webhooks. A gateway that is away is asked again; what
    it refuses goes to the dead letters, where an operator sees it."""

    refunds: Refunds
    abandon_checkout: AbandonCheckout
    apply_gateway_event: ApplyGatewayEvent

    async def deliver(self, message: Message) -> Outcome:
        try:
            return Delivered(await self._run(message))
        except GatewayUnavailable as error:
            return Failed(error.sentence)
        except (GatewayRefused, NotFound) as error:
            return Failed(error.sentence, permanent=True)

    async def _run(self, message: Message) -> str:
        about = message.snapshot
        match message.fact:
            case Fact.REFUND_PROMISED:
                await self.refunds.pay(RefundId(UUID(about["refund_id"])))
                return "refund handed in"
            case Fact.CHECKOUT_ENDED:
                await self.abandon_checkout(PaymentId(UUID(about["payment_id"])))
                return "checkout closed"
            case Fact.GATEWAY_EVENT:
                return await self.apply_gateway_event(about["gateway"], about["event_id"])
        raise GatewayRefused(f"{message.fact} is no errand")
