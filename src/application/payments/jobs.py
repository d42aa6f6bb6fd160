"""Payment jobs: outbox messages for gateways and stored webhooks, with retries and ordering keys."""

from uuid import UUID

from application.payments.checkout import CloseCheckout
from application.payments.disputes import SettleDispute
from application.payments.ports.gateways import GatewayRefused
from application.payments.refunds import Refunds
from application.payments.webhooks import ApplyWebhook
from application.use_cases import use_case
from domain.disputes import PaymentDisputed
from domain.errors import NotFound
from domain.outbox import Delivered, Failed, Message, MessageType, Outcome
from domain.payments import GatewayUnavailable, PaymentId
from domain.refunds import RefundId


@use_case
class PaymentJobs:
    """Runs payment jobs: sends requested refunds, closes checkouts, applies webhooks. A job is retried while its
    gateway is unavailable, and a refund while the gateway refuses it because of a dispute. A job that the gateway
    refuses otherwise goes to the dead letters."""

    refunds: Refunds
    close_checkout: CloseCheckout
    apply_gateway_event: ApplyWebhook
    settle_dispute: SettleDispute

    async def deliver(self, message: Message) -> Outcome:
        try:
            return Delivered(await self._run(message))
        except GatewayUnavailable as error:
            return Failed(error.message)
        except (GatewayRefused, NotFound) as error:
            return Failed(error.message, permanent=True)

    async def _run(self, message: Message) -> str:
        about = message.payload
        match message.message_type:
            case MessageType.REFUND_REQUESTED:
                return await self._refund(RefundId(UUID(about["refund_id"])))
            case MessageType.CHECKOUT_ENDED:
                await self.close_checkout(PaymentId(UUID(about["payment_id"])))
                return "checkout closed"
            case MessageType.GATEWAY_EVENT:
                return await self.apply_gateway_event(about["gateway"], about["event_id"])
        raise GatewayRefused(f"{message.message_type} is not a payment job")

    async def _refund(self, refund_id: RefundId) -> str:
        try:
            return await self.refunds.pay(refund_id)
        except PaymentDisputed:
            await self.settle_dispute.look_up(refund_id)
            raise GatewayUnavailable("The gateway makes no refund while the payment is disputed") from None
