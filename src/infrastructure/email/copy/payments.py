"""Copy about payments and refunds in all mails."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from domain.outbox import MessageType
from domain.payments import OFFLINE
from infrastructure.delivery.payloads import MoneyPayload, PaymentPayload
from servicekit.local_times import instant

_GATEWAYS = {"stripe": "Stripe", "razorpay": "Razorpay", "sandbox": "the sandbox, where no money moves"}
_PRICE = {
    "pending": "{price}, to be paid",
    "completed": "{price}, paid",
    "refunded": "{price}, refunded",
    "failed": "{price}, the payment failed",
    "not_required": "Free of charge",
}
BY_GATEWAY = " It can take some days until your bank shows it."

CANCEL_FOR_FULL_REFUND = " If this does not suit you, you can cancel before the start and receive a full refund."

WHERE_TO_ASK = " The link to pay is where you booked."
"""Used in mails without a payment link."""


def price(status: str, amount: Decimal, currency: str) -> str:
    return _PRICE[status].format(price=f"{amount:,f} {currency}")


def is_paid_offline(payment: PaymentPayload | None) -> bool:
    """Whether it was paid on site, where the refund is made as well."""
    return payment is not None and payment.gateway == OFFLINE


def payment_details(
    message_type: MessageType,
    money: MoneyPayload,
    payment: PaymentPayload | None,
    occurred_at: datetime,
    zone: ZoneInfo,
) -> dict[str, str | None]:
    gateway = payment and _GATEWAYS.get(payment.gateway, payment.gateway)
    number = f"{payment.id} at {gateway}" if payment and payment.id else None
    match message_type:
        case MessageType.PAYMENT_COMPLETED:
            received_at = payment.received_at if payment and payment.received_at else occurred_at
            return {
                "Paid": f"{money}{', on the spot' if is_paid_offline(payment) else ''}",
                "Paid on": instant(received_at, zone),
                "Payment": number,
            }
        case MessageType.BOOKING_REFUNDED:
            return {"Given back": str(money), "Given back on": instant(occurred_at, zone), "Payment": number}
        case MessageType.DISPUTE_OPENED | MessageType.DISPUTE_WON | MessageType.DISPUTE_LOST:
            return {"Disputed": str(money), "Payment": number}
    return {"To pay": str(money)}
