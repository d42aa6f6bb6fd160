"""Stripe's entities, and the updates that follow from them. Amounts are in Stripe's minor units, which are not always
ISO 4217's (https://docs.stripe.com/currencies)."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from application.payments.ports.gateways import GatewayRefused
from domain.disputes import Dispute, DisputeStatus
from domain.money import Money, exponent
from domain.payments import DisputeUpdate, GatewayUpdate, PaymentId, PaymentUpdate, RefundUpdate

DECIMALS = {
    # Without decimals at Stripe, though the ariary has two in ISO 4217.
    "MGA": 0,
    # Without decimals in ISO 4217, but with two at Stripe that must be 00, for its older clients.
    "ISK": 2,
    "UGX": 2,
}
NOT_TAKEN = frozenset({"CLF", "IQD", "LYD", "UYI", "UYW"})
"""Currencies without two decimals in ISO 4217 for which Stripe documents no rule."""


INQUIRIES = frozenset({"warning_needs_response", "warning_under_review", "warning_closed"})
"""Statuses of a dispute as long as the bank only inquires: no money is withdrawn, and the charge can be refunded."""

_DISPUTES = {
    "warning_needs_response": DisputeStatus.OPEN,
    "warning_under_review": DisputeStatus.OPEN,
    "needs_response": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    # Neither took money: an inquiry that did not become a chargeback, and a dispute that Stripe's products prevented
    # (the refund by which they do has its own events).
    "warning_closed": DisputeStatus.WON,
    "prevented": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}


class Charge(msgspec.Struct, frozen=True):
    amount_refunded: int = 0
    disputed: bool = False


class Intent(msgspec.Struct, frozen=True):
    id: str
    status: str
    currency: str
    amount_received: int = 0
    latest_charge: str | Charge | None = None
    metadata: dict[str, str] | None = None


class Session(msgspec.Struct, frozen=True):
    """A Checkout Session. `payment_intent` is only included on request, and only its id in a webhook."""

    id: str
    status: str | None = None
    payment_status: str = "unpaid"
    amount_total: int | None = None
    currency: str | None = None
    url: str | None = None
    payment_intent: str | Intent | None = None
    metadata: dict[str, str] | None = None

    @property
    def intent(self) -> Intent | None:
        return self.payment_intent if isinstance(self.payment_intent, Intent) else None

    @property
    def intent_id(self) -> str | None:
        return self.payment_intent.id if isinstance(self.payment_intent, Intent) else self.payment_intent

    @property
    def payment_id(self) -> PaymentId | None:
        return _payment_id(self.metadata)


class Refund(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str
    status: str | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def refund_id(self) -> UUID | None:
        return _uuid(self.metadata, "refund_id")


class DisputeEntity(msgspec.Struct, frozen=True):
    """https://docs.stripe.com/api/disputes/object"""

    id: str
    status: str
    amount: int
    currency: str
    payment_intent: str | None = None
    reason: str | None = None


class _Refunds(msgspec.Struct, frozen=True):
    data: list[Refund] = []


class _RefundedCharge(msgspec.Struct, frozen=True):
    """Only versions of the API before 2022-11-15 include its refunds, the newest first."""

    refunds: _Refunds | None = None


class _Data(msgspec.Struct, frozen=True):
    object: dict[str, Any]


class Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: _Data


def untaken(amount: Money) -> dict[str, str]:
    """The reason why Stripe cannot charge the amount, by field; empty if it can."""
    currency = amount.currency
    if currency in NOT_TAKEN:
        return {"currency": f"Stripe does not take {currency}"}
    decimals = _decimals(currency)
    units = amount.amount.scaleb(decimals)
    if units != int(units):
        return {"price": f"Stripe takes {currency} without decimals only, not {amount}"}
    if decimals == 3 and units % 10:
        return {"price": f"Stripe takes {currency} with two decimals only, not {amount}"}
    return {}


def minor_units(amount: Money) -> int:
    """The amount in Stripe's minor units. Raises `GatewayRefused` if Stripe cannot charge it."""
    for why in untaken(amount).values():
        raise GatewayRefused(why)
    return int(amount.amount.scaleb(_decimals(amount.currency)))


def money(units: int, currency: str) -> Money:
    """The amount in Stripe's minor units as `Money`. Raises `Invalid` for an unknown currency."""
    code = currency.upper()
    return Money(Decimal(units).scaleb(-_decimals(code)), code)


def refunded(intent: Intent | None, currency: str) -> Money:
    """The refunded amount, including pending refunds."""
    if intent is None or not isinstance(intent.latest_charge, Charge):
        return money(0, currency)
    return money(intent.latest_charge.amount_refunded, intent.currency)


def update_of(session: Session) -> GatewayUpdate:
    if session.payment_status in {"paid", "no_payment_required"}:
        amount = money(session.amount_total or 0, session.currency or "")
        return GatewayUpdate(session.id, PaymentUpdate.RECEIVED, session.payment_id, session.intent_id, amount)
    return GatewayUpdate(
        session.id, PaymentUpdate.FAILED if _has_failed(session) else PaymentUpdate.OPEN, session.payment_id
    )


def is_disputed(intent: Intent | None) -> bool:
    return intent is not None and isinstance(intent.latest_charge, Charge) and intent.latest_charge.disputed


def dispute_of(dispute: DisputeEntity) -> Dispute | None:
    """Returns None for a status that is not known."""
    status = _DISPUTES.get(dispute.status)
    if status is None:
        return None
    amount = money(dispute.amount, dispute.currency)
    return Dispute(dispute.id, amount, status, dispute.status in INQUIRIES, dispute.reason)


def read(event: Event) -> GatewayUpdate | RefundUpdate | DisputeUpdate | None:
    """Returns None for an event that is not about one of our payments, or changes nothing. A dispute names the payment
    intent only; whether it is one of ours is looked up later."""
    about = event.data.object
    if event.type.startswith("charge.dispute."):
        return _of_dispute(msgspec.convert(about, DisputeEntity))
    return _of_payment(event.type, about)


def _of_payment(kind: str, about: dict[str, Any]) -> GatewayUpdate | RefundUpdate | None:
    """Only the intent reports a declined card; the session stays open for another attempt."""
    match kind.rsplit(".", 1):
        case ["checkout.session", "completed" | "async_payment_succeeded"]:
            session = msgspec.convert(about, Session)
            return update_of(session) if session.payment_id else None
        case ["checkout.session", "async_payment_failed" | "expired"]:
            session = msgspec.convert(about, Session)
            return GatewayUpdate(session.id, PaymentUpdate.FAILED, session.payment_id) if session.payment_id else None
        case ["payment_intent", "payment_failed"]:
            payment_id = _payment_id(msgspec.convert(about, Intent).metadata)
            return GatewayUpdate(None, PaymentUpdate.FAILED, payment_id) if payment_id else None
        case ["refund", "created" | "updated" | "failed"] | ["charge.refund", "updated"]:
            return _of_refund(msgspec.convert(about, Refund))
        case ["charge", "refunded"]:
            refunds = msgspec.convert(about, _RefundedCharge).refunds
            return _of_refund(refunds.data[0]) if refunds and refunds.data else None
    return None


def _of_dispute(entity: DisputeEntity) -> DisputeUpdate | None:
    dispute = dispute_of(entity)
    if entity.payment_intent is None or dispute is None:
        return None
    return DisputeUpdate(dispute, entity.payment_intent)


def _of_refund(refund: Refund) -> RefundUpdate | None:
    if refund.payment_intent is None or refund.status not in {"succeeded", "failed", "canceled"}:
        return None
    return RefundUpdate(
        gateway_refund_id=refund.id,
        gateway_id=refund.payment_intent,
        amount=money(refund.amount, refund.currency),
        succeeded=refund.status == "succeeded",
        refund_id=refund.refund_id,
    )


def _has_failed(session: Session) -> bool:
    """Whether the session ended without a payment: it expired, or a delayed payment failed."""
    if session.status == "expired":
        return True
    given_up = {"requires_payment_method", "canceled"}
    return session.status == "complete" and session.intent is not None and session.intent.status in given_up


def _decimals(currency: str) -> int:
    return DECIMALS.get(currency, exponent(currency))


def _payment_id(metadata: dict[str, str] | None) -> PaymentId | None:
    found = _uuid(metadata, "payment_id")
    return PaymentId(found) if found else None


def _uuid(metadata: dict[str, str] | None, name: str) -> UUID | None:
    try:
        return UUID((metadata or {}).get(name, ""))
    except ValueError:
        return None
